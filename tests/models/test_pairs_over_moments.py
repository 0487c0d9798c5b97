"""data.moments in training: logits are means over aligned moments, by a loop over clips and moments."""

import pytest
import torch
from helpers import relative_error

from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.losses import avc_loss, make_avc_step
from models.moments import GatherMoments, mean_over_moments
from utils.errors import UserError

CLIPS, MOMENTS, EXTRA = 5, 3, 2


def by_hand(scores, clips, others, moments):
    """scores[m * clips + i, m * others + j], averaged over m."""
    out = torch.zeros(clips, others)
    for i in range(clips):
        for j in range(others):
            for m in range(moments):
                out[i, j] += scores[m * clips + i, m * others + j] / moments
    return out


@pytest.mark.parametrize("others", [CLIPS, 7])
@pytest.mark.parametrize("extra", [0, EXTRA])
def test_scores_are_averaged_over_aligned_moments(others, extra):
    scores = torch.randn(MOMENTS * CLIPS, MOMENTS * others + extra, generator=torch.manual_seed(0))
    found = mean_over_moments(scores, MOMENTS, extra)
    assert found.shape == (CLIPS, others + extra)
    assert relative_error(found[:, :others], by_hand(scores, CLIPS, others, MOMENTS)) < 1e-6
    for k in range(extra):  # silence is compared with every moment
        mean = sum(scores[m * CLIPS : (m + 1) * CLIPS, MOMENTS * others + k] for m in range(MOMENTS)) / MOMENTS
        assert relative_error(found[:, others + k], mean) < 1e-6
    assert mean_over_moments(scores, 1, extra) is scores


class TwoProcesses:
    """The rows of this process's clips, then those of the other's 2 clips."""

    first = 0

    def __init__(self, other):
        self.other = other

    def __call__(self, values):
        return torch.cat([values, self.other])


def test_rows_of_other_processes_come_moment_by_moment():
    mine = torch.arange(MOMENTS * CLIPS, dtype=torch.float32).view(-1, 1)  # row m * CLIPS + i
    other = torch.arange(2.0 * MOMENTS).view(2, MOMENTS, 1) + 100  # clip i, moment m
    found = GatherMoments(TwoProcesses(other), MOMENTS)(mine)
    wanted = [
        row
        for m in range(MOMENTS)
        for row in [*(m * CLIPS + i for i in range(CLIPS)), *(100 + i * MOMENTS + m for i in range(2))]
    ]
    assert found.view(-1).tolist() == wanted


class Transform:
    def __init__(self):
        random = torch.manual_seed(1)
        self.frames = torch.randn(MOMENTS * CLIPS, 3, 32, 32, generator=random)
        self.sounds = torch.randn(MOMENTS * CLIPS, 1, 32, 32, generator=random)

    def __call__(self, batch):
        return self.frames, self.sounds

    def silence_and_noise(self, batch, count):
        return torch.zeros(count, 1, 32, 32)


@pytest.mark.parametrize("net", [AVENet, AVOLNet])
def test_the_loss_is_that_of_the_mean_logits(net):
    torch.manual_seed(0)
    model, transform = net(width=2, dim=8).eval(), Transform()
    loss, metrics = make_avc_step(transform, moments=MOMENTS)(model, {"gather": None})
    pairs = model.pair_logits(model.embed_frames(transform.frames), model.embed_sounds(transform.sounds))
    wanted, accuracy = avc_loss(by_hand(pairs.detach(), CLIPS, CLIPS, MOMENTS))
    assert relative_error(loss, wanted) < 1e-5 and metrics["accuracy"] == accuracy
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize(
    ("net", "settings"),
    [
        (AVENet, dict(kind="infonce")),
        (AVOLNet, dict(kind="max_infonce", silence=0.4)),
        (AVOLNet, dict(aux_loss_weight=0.5, silence=0.4)),
    ],
)
def test_every_loss_takes_moments(net, settings):
    """With the same frames and sounds at every moment it is the loss of one moment."""
    torch.manual_seed(0)
    model, transform = net(width=2, dim=8).eval(), Transform()
    transform.frames, transform.sounds = (
        part[:CLIPS].repeat(MOMENTS, 1, 1, 1) for part in (transform.frames, transform.sounds)
    )
    many, metrics = make_avc_step(transform, **settings, moments=MOMENTS)(model, {"gather": None})
    transform.frames, transform.sounds = transform.frames[:CLIPS], transform.sounds[:CLIPS]
    one, single = make_avc_step(transform, **settings)(model, {"gather": None})
    assert relative_error(many, one) < 1e-5 and metrics.keys() == single.keys()
    for key, value in single.items():
        assert metrics[key].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-4), key


class Recorded:
    """Two processes one after the other: the first run notes what each gathers, the second one gets both."""

    def __init__(self, first):
        self.first, self.given, self.others = first, [], None

    def __call__(self, values):
        self.given.append(values)
        other = values if self.others is None else self.others[len(self.given) - 1]
        return torch.cat([other, values] if self.first else [values, other])


@pytest.mark.parametrize("settings", [{}, dict(kind="infonce")])
def test_two_processes_have_the_loss_of_one(settings):
    """The mean of the losses of 2 and 2 clips, each compared with all 4, is that of a batch of 4."""
    torch.manual_seed(0)
    model, whole = AVENet(width=2, dim=8).eval(), Transform()
    rows = [m * CLIPS + clip for m in range(MOMENTS) for clip in range(4)]
    whole.frames, whole.sounds = whole.frames[rows], whole.sounds[rows]
    step, losses, given = make_avc_step(whole, **settings, moments=MOMENTS), [], None
    expected = step(model, {"gather": None})[0]
    for _ in range(2):
        gathers, losses = [Recorded(0), Recorded(2)], []
        for rank, gather in enumerate(gathers):
            gather.others = given[1 - rank] if given else None
            part = Transform()
            mine = [m * 4 + clip for m in range(MOMENTS) for clip in (2 * rank, 2 * rank + 1)]
            part.frames, part.sounds = whole.frames[mine], whole.sounds[mine]
            losses.append(make_avc_step(part, **settings, moments=MOMENTS)(model, {"gather": gather})[0])
        given = [gather.given for gather in gathers]
    assert relative_error(sum(losses) / 2, expected) < 1e-5


def test_moments_take_memory(monkeypatch):
    from configs.schema import Config, Data
    from models import size

    monkeypatch.setattr(size, "available_memory", lambda device: 8e9)
    size.check_memory(Config(), torch.device("cpu"), 64)
    with pytest.raises(UserError, match=r"lower train\.batch_size, data\.moments, data\.frame_size or model\.width"):
        size.check_memory(Config(Data(moments=16)), torch.device("cpu"), 64)
    with pytest.raises(UserError, match=r"lower train\.batch_size, data\.seconds, data\.frame_size or model\.width"):
        size.check_memory(Config(Data(seconds=60)), torch.device("cpu"), 64)
