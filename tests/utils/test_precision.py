"""Precision by what the hardware has, and fp16 with a scaled loss; GPUs are pretended, fp16 itself runs on the CPU."""

import copy

import pytest
import torch
from torch import nn
from toy_training import Toy, batch_of, batches, config, lines, outcome, same, step, toy, train

from utils import checkpoint, distributed
from utils.errors import UserError
from utils.muon import Muon
from utils.precision import LossScaler, autocast, resolve_precision
from utils.training import _check_precision

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def card(monkeypatch):
    """Pretends a GPU: (name, whether it has hardware for bf16). Every NVIDIA GPU emulates it."""

    def pretend(name, has_bf16):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has_bf16
        )
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)

    return pretend


@pytest.mark.parametrize(("name", "has_bf16", "auto"), [("Tesla T4", False, "fp16"), ("NVIDIA A100", True, "bf16")])
def test_auto_is_bf16_on_a_gpu_with_hardware_for_it_else_fp16(card, name, has_bf16, auto):
    card(name, has_bf16)
    assert resolve_precision(CUDA, "auto") == auto
    assert [resolve_precision(CUDA, kind) for kind in ("fp16", "fp32")] == ["fp16", "fp32"]
    if has_bf16:
        assert resolve_precision(CUDA, "bf16") == "bf16"
        return
    with pytest.raises(UserError, match=r"train\.precision is bf16, for which Tesla T4.*--train\.precision auto"):
        resolve_precision(CUDA, "bf16")
    with pytest.raises(UserError, match="Tesla T4"), autocast(CUDA, "bf16"):
        pass


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", "arm_bf16", None])
def test_auto_on_a_cpu_is_bf16_with_instructions_for_it_else_fp32(monkeypatch, feature):
    features = {"avx512_fp16": True, **({feature: True} if feature else {})}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert resolve_precision(CPU, "auto") == ("bf16" if feature else "fp32")
    assert resolve_precision(CPU, "bf16") == "bf16" and resolve_precision(CPU, "fp16") == "fp16"


@pytest.mark.parametrize("able", [True, False])
def test_torch_without_a_list_of_capabilities_is_asked_in_its_own_way(monkeypatch, able):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    assert resolve_precision(CPU, "auto") == ("bf16" if able else "fp32")


def test_autocast_computes_in_fp16():
    with autocast(CPU, "fp16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float16


def test_processes_whose_auto_differs_are_refused(card, monkeypatch):
    card("Tesla T4", False)
    monkeypatch.setattr(distributed, "all_gather_object", lambda own: [own, ("bf16", "NVIDIA A100")])
    with pytest.raises(UserError, match=r"Tesla T4 \(fp16\) and NVIDIA A100 \(bf16\).*--train\.precision fp16"):
        _check_precision(CUDA, "auto")
    monkeypatch.setattr(distributed, "all_gather_object", lambda own: [own, ("fp16", "RTX 2080")])
    _check_precision(CUDA, "auto")


# --------------------------------------------------------------------------------------------------- the scaled loss


def two_optimizers(model):
    """Muon for a matrix with four dimensions, Adam for the rest."""
    convolution, rest = model[0].weight, [model[0].bias, *model[2].parameters()]
    adam = torch.optim.Adam([{"params": rest, "lr_scale": 1.0}], lr=0.1, fused=True)
    return [adam, Muon([{"params": [convolution], "lr_scale": 1.0, "lr": 0.1}])]


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 2), nn.Flatten(0, 2), nn.Linear(1, 1))


def test_gradients_that_overflow_in_one_optimizer_skip_the_step_of_all():
    model = small_net()
    optimizers = two_optimizers(model)
    scaler = LossScaler(CPU, "fp16", optimizers)
    before, scale = copy.deepcopy(model.state_dict()), scaler.scale
    scaler.backward(model(torch.ones(1, 1, 2, 2)).sum())
    model[0].weight.grad[0] = torch.inf
    assert not scaler.step()
    assert same(model.state_dict(), before) and scaler.scale == scale / 2 and not scaler.exhausted
    for optimizer in optimizers:
        optimizer.zero_grad()
    scaler.backward(model(torch.ones(1, 1, 2, 2)).sum())
    assert scaler.step()
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_scaled_step_is_the_plain_step():
    one, other = small_net(), small_net()
    for model, precision in ((one, "fp16"), (other, "fp32")):
        optimizers = two_optimizers(model)
        scaler = LossScaler(CPU, precision, optimizers)
        assert scaler.enabled == (precision == "fp16") and bool(scaler.state_dict()) == scaler.enabled
        for _ in range(3):
            scaler.backward(model(torch.ones(2, 1, 2, 2)).square().mean())
            assert scaler.step() or precision == "fp32"
            for optimizer in optimizers:
                optimizer.zero_grad()
    for name, value in one.state_dict().items():  # the scale is a power of 2: nothing is rounded
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-6, atol=0)


def test_small_gradients_survive_in_fp16(tmp_path):
    """Without a scale, gradients below 6e-8 are 0 in fp16."""

    def tiny(model, batch):
        loss, _ = step(model, batch)
        return loss * 1e-9, {}

    model, _ = train(config(tmp_path, precision="fp16"), toy(), step=tiny)
    assert not torch.equal(model.first.weight, toy().first.weight)


def overflows_at(*numbers):
    """A step whose gradients, not its loss, overflow in these batches."""

    def overflowing(model, batch):
        loss, metrics = step(model, batch)
        loss = loss / 1000  # so small that nothing else overflows
        return _Overflow.apply(loss) if batch["number"] in numbers else loss, metrics

    return overflowing


class _Overflow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, torch.inf)


def test_skipped_updates_are_counted_and_are_no_error(tmp_path):
    train(config(tmp_path, precision="fp16", log_every=4), step=overflows_at(1, 2, 6))
    logged = lines(tmp_path, "train")
    assert [line["overflows"] for line in logged] == [0.5, 0.25, 0.0]
    assert [line["loss_scale"] for line in logged] == [2.0**14, 2.0**13, 2.0**13]
    train(config(tmp_path / "plain"), step=step)
    assert all({"overflows", "loss_scale"}.isdisjoint(line) for line in lines(tmp_path / "plain", "train"))


def test_gradients_that_overflow_at_any_scale_end_the_training(tmp_path):
    with pytest.raises(UserError, match=r"not finite at step 40: lower --train\.lr, or try --train\.precision fp32"):
        train(config(tmp_path, epochs=9, precision="fp16", log_every=40, save_every=99), steps_per_epoch=90,
              step=overflows_at(*range(90)))  # fmt: skip


def test_a_batch_norm_that_is_not_finite_ends_the_training(tmp_path):
    """In fp16 a single activation that overflows spoils the statistics for good, while the loss is well again."""

    def spoiling(model, batch):
        with torch.no_grad():
            model.norm.running_mean += torch.inf if batch["number"] == 2 else 0
        return step(model, batch)

    with pytest.raises(UserError, match=r"not finite at step 3"):
        train(config(tmp_path, log_every=3), step=spoiling)


def test_a_run_in_fp16_resumes_bit_for_bit(tmp_path):
    settings = {"precision": "fp16", "save_every": 2, "log_every": 3, "ema": 0.9}
    numbers = (1, 4, 5)
    train(config(tmp_path / "whole", **settings), step=overflows_at(*numbers))
    for killed_at in (3, 5, 7):

        def dies(model, batch, killed_at=killed_at):
            if batch["number"] == killed_at:
                raise RuntimeError("killed")
            return overflows_at(*numbers)(model, batch)

        folder = tmp_path / f"killed{killed_at}"
        with pytest.raises(RuntimeError, match="killed"):
            train(config(folder, **settings), step=dies)
        train(config(folder, **settings), Toy(), resume=True, step=overflows_at(*numbers))
        assert same(outcome(folder), outcome(tmp_path / "whole"))
        stored = [checkpoint.load(path / "run/last.pt")["scaler"] for path in (folder, tmp_path / "whole")]
        assert stored[0] == stored[1] and stored[0]["scale"] == 2.0**13


@pytest.mark.parametrize(
    "damage",
    [{"scale": float("nan")}, {"scale": -1.0}, {"scale": float("inf")}, {"_growth_tracker": 0.5}, {"scale": None}],
)
def test_a_damaged_scale_is_one_sentence(tmp_path, damage):
    train(config(tmp_path, precision="fp16", epochs=1))
    content = checkpoint.load(tmp_path / "run/last.pt")
    content.pop("format")
    checkpoint.save(tmp_path / "run/last.pt", content | {"scaler": content["scaler"] | damage})
    with pytest.raises(UserError, match=r"last\.pt is damaged: its scaler"):
        train(config(tmp_path, precision="fp16"), resume=True)


def test_a_run_of_before_the_scale_was_kept_resumes(tmp_path):
    train(config(tmp_path, epochs=1))
    content = checkpoint.load(tmp_path / "run/last.pt")
    checkpoint.save(tmp_path / "run/last.pt", {k: v for k, v in content.items() if k not in ("format", "scaler")})
    train(config(tmp_path), resume=True, batches=batches)
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 12 and len(batch_of(0)["y"]) == 6
