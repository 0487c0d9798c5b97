"""The training steps: which heads they train, and on whose sounds. The losses are tested where they are measured."""

from types import SimpleNamespace

import pytest
import torch

from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.losses import avc_loss, make_avc_step
from utils.health import health_metrics


def batch(count=6, gather=None):
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn(count, 3, 32, 32, generator=draw)
    return {"frames": frames, "sounds": torch.randn(count, 1, 48, 32, generator=draw), "gather": gather}


def transform(batch):
    return batch["frames"], batch["sounds"]


def net(kind):
    torch.manual_seed(0)
    model = kind(width=4, dim=16)
    model.data_dependent_init(*transform(batch(32)))
    return model.eval()


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_a_step_gives_the_loss_of_all_pairs_and_health_metrics(negatives):
    model = net(AVENet)
    loss, metrics = make_avc_step(transform, negatives)(model, batch())
    v, a, logits = model(*transform(batch()))
    wanted, accuracy = avc_loss(logits, negatives)
    torch.testing.assert_close(loss, wanted)
    assert metrics["accuracy"] == accuracy
    health = health_metrics(v, a, logits, model.logit_scale())
    assert metrics.keys() == {"accuracy", *health}
    torch.testing.assert_close({name: metrics[name] for name in health}, health)


@pytest.mark.parametrize("heads", [1, 2])
def test_the_first_auxiliary_heads_share_the_weight_of_the_auxiliary_loss(heads):
    model = net(AVOLNet)
    loss, _ = make_avc_step(transform, "all", 0.3, heads)(model, batch())
    main, *aux = (avc_loss(logits)[0] for logits in model.forward_with_aux(*transform(batch()))[2:])
    torch.testing.assert_close(loss, 0.7 * main + 0.3 * sum(aux[:heads]) / heads)


def test_without_a_weight_the_auxiliary_heads_are_left_out(monkeypatch):
    model = net(AVOLNet)
    monkeypatch.setattr(model, "forward_with_aux", None)
    loss, _ = make_avc_step(transform)(model, batch())
    torch.testing.assert_close(loss, avc_loss(model(*transform(batch()))[2])[0])


def test_sounds_of_other_processes_are_negatives_and_count_in_no_metric():
    """The sounds of two processes: this one's clips are rows 4 to 9."""
    model, others = net(AVENet), torch.nn.functional.normalize(torch.randn(4, 16), dim=1)

    class Gather(SimpleNamespace):
        def __call__(self, values):
            return torch.cat([others, values])

    step = make_avc_step(transform)
    loss, metrics = step(model, batch(gather=Gather(first=4)))
    v, a, _ = model(*transform(batch()))
    torch.testing.assert_close(loss, avc_loss(model.pair_logits(v, torch.cat([others, a])), first=4)[0])
    alone = step(model, batch())[1]
    for name in ("cosine_gap", "logit_std", "cosine_sounds"):
        torch.testing.assert_close(metrics[name], alone[name])
