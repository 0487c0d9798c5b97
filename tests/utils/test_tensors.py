"""Files of tensors: what can't be a weight is refused by its name, and NaN is told before it is used."""

import os
import re

import pytest
import torch

from models import build_net
from models.avenet import AVENet
from models.size import activation_bytes, check_memory, input_shapes
from utils import checkpoint, files
from utils.checkpoint import FORM, RESUME_FORM, check_content
from utils.config import CONFIG_VERSION, load_config, override
from utils.errors import UserError
from utils.optimizers import restore_optimizers
from utils.tensors import check_finite, fits, load_tensors, tensor_problem, to_host

WEIGHT = torch.arange(6.0).view(2, 3)
UNFIT = {
    "sparse": WEIGHT.to_sparse(),
    "meta": WEIGHT.to("meta"),
    "complex": WEIGHT.to(torch.complex64),
    "bool": WEIGHT.bool(),
    "eight bits": WEIGHT.to(torch.int8),
    "expanded": torch.zeros(1).expand(2, 3),
    "terabytes": torch.zeros(1).expand(10**12),
    "a number": 1.0,
    "nothing": None,
    "a list": WEIGHT.tolist(),
}
FIT = {
    "double": WEIGHT.double(),
    "half": WEIGHT.half(),
    "bfloat16": WEIGHT.bfloat16(),
    "strided": WEIGHT.T.contiguous().T,
}


class OnGPU(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True


def test_tensors_come_to_the_host_together_as_they_are():
    values = [torch.randn(2, 3), torch.randn(4), torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)]
    for tensors in (values, [value.as_subclass(OnGPU) for value in values], values[:1]):
        for found, expected in zip(to_host(*tensors), values, strict=False):
            assert found.shape == expected.shape and (found == expected).all()


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT)
def test_a_value_that_cannot_be_a_weight_is_refused(value, tmp_path):
    assert tensor_problem(value) and not fits(value, WEIGHT)
    model = AVENet(2, dim=8)
    weights = model.state_dict() | {"fc3.weight": value}
    with pytest.raises(UserError, match=r"best\.pt is damaged: its weight fc3\.weight "):
        checkpoint.load_weights(model, weights, "best.pt")


@pytest.mark.parametrize("value", FIT.values(), ids=FIT)
def test_weights_of_any_precision_are_taken(value):
    assert not tensor_problem(value) and fits(value, WEIGHT)


def test_whole_numbers_are_no_weights_and_weights_no_counts():
    assert not fits(WEIGHT.long(), WEIGHT) and not fits(torch.tensor(1.0), torch.tensor(1))
    assert fits(torch.tensor(3, dtype=torch.int32), torch.tensor(1)) and not fits(WEIGHT[:1], WEIGHT)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_nan_weights_are_counted_and_the_first_is_named(bad):
    weights = {"a": WEIGHT, "b.weight": WEIGHT.clone(), "c": WEIGHT.clone(), "count": torch.tensor(3)}
    check_finite(weights, "best.pt")
    weights["b.weight"][1, 1], weights["c"][:] = bad, bad
    with pytest.raises(UserError, match=r"^best\.pt holds NaN or infinity in 2 of 4 tensors, the first is b\.weight"):
        check_finite(weights, "best.pt")
    with pytest.raises(UserError, match=r"bn\.running_var holds negative variances"):
        check_finite({"bn.running_var": -WEIGHT}, "best.pt")


def test_a_net_with_nan_weights_is_not_loaded(tmp_path):
    model, other = AVENet(2, dim=8), AVENet(2, dim=8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other.vision_fc1.weight.data[0] = torch.nan
    with pytest.raises(UserError, match=r"holds NaN or infinity in 1 of \d+ tensors, the first is vision_fc1\.weight"):
        checkpoint.load_weights(model, other.state_dict(), "best.pt")
    content = {"model": other.state_dict(), "ema": None, "config": {}, "step": 1}
    checkpoint.save(tmp_path / "best.pt", content)
    with pytest.raises(UserError, match=r"best\.pt holds NaN"):
        checkpoint.init_from(model, tmp_path / "best.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# -------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def others(tmp_path):
    """Paths that are no file, and what is said of each; links to devices, so that nothing can harm the devices."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("zero", "null"):
        (tmp_path / name).symlink_to(f"/dev/{name}")
    (tmp_path / "folder").mkdir()
    reasons = {"pipe": "pipe", "zero": "device", "null": "device", "folder": "Is a directory", "a\0b": "no file"}
    return [(tmp_path / name, reason) for name, reason in reasons.items()]


def test_what_is_no_file_is_not_opened(others):
    """Opening a pipe waits forever, reading /dev/zero never ends."""
    for path, reason in others:
        with pytest.raises(OSError, match=reason):
            files.read_text(path)
        with pytest.raises(OSError, match=reason):
            load_tensors(path, "checkpoint", "use another one")
        with pytest.raises(UserError, match="there is no checkpoint"):
            checkpoint.load(path)


def test_what_is_no_file_is_not_replaced(others, tmp_path):
    """Root could replace /dev/null itself, for all that runs on the machine."""
    for path, reason in others[:4]:
        with pytest.raises(OSError, match=reason):
            files.write_text(path, "x")
        assert path.is_symlink() or not path.is_file()
    for path in ("", "/"):
        with pytest.raises(IsADirectoryError):
            files.write_text(path, "x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    files.write_text(tmp_path / "dangling", "x")
    assert (tmp_path / "dangling").read_text() == "x" and not list(tmp_path.glob(".*.tmp"))


def test_a_text_may_begin_with_a_byte_order_mark_and_not_be_huge(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_text(path) == "[1]"
    with open(path, "wb") as file:
        file.truncate(files.MAX_FILE + 1)
    with pytest.raises(OSError, match="MB, more than"):
        files.read_text(path)


def test_a_checkpoint_of_a_newer_version_says_so(tmp_path):
    for extra in ({"format": checkpoint.FORMAT + 1}, {"config_version": CONFIG_VERSION + 1}):
        checkpoint.save(tmp_path / "x.pt", {"step": 1} | extra)
        with pytest.raises(UserError, match=r"newer version of this repository .*: update the repository"):
            checkpoint.load(tmp_path / "x.pt")
    checkpoint.save(tmp_path / "x.pt", {"config_version": "4"})
    with pytest.raises(UserError, match="no valid config_version"):
        checkpoint.load(tmp_path / "x.pt")


GOOD = {
    "model": {}, "ema": None, "config": {}, "step": 3, "metrics": {"auc": 0.5, "step": 3}, "optimizer": [{}],
    "seconds": 1.5, "best": {}, "highest": float("-inf"), "sums": {"loss": torch.tensor(1.0)}, "summed": {"loss": 2},
    "last_validation": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("key", [*FORM, *RESUME_FORM])
def test_a_key_of_another_type_is_named(key):
    check_content(GOOD, "x.pt")
    check_content(GOOD, "x.pt", RESUME_FORM)
    allowed = {"model": {1: 2}, "ema": {1: 2}, "config": {1: 2}, "highest": 10**400}
    for bad in ("x", 10**400, [1], True, torch.ones(2), b"", {1: 2}):
        if type(bad) is not type(allowed.get(key)):
            with pytest.raises(UserError, match=rf"x\.pt is damaged: its {key} is not what training writes"):
                check_content(GOOD | {key: bad}, "x.pt", FORM | RESUME_FORM)


STATES = {
    "nothing": lambda state: {},
    "a text": lambda state: {0: "x"},
    "of no weight": lambda state: {9: state[0]},
    "a mean missing": lambda state: {0: {k: v for k, v in state[0].items() if k != "exp_avg"}},
    "another shape": lambda state: {0: state[0] | {"exp_avg": torch.zeros(7)}},
    "terabytes": lambda state: {0: state[0] | {"exp_avg": torch.zeros(1).expand(10**12)}},
    "NaN": lambda state: {0: state[0] | {"exp_avg": state[0]["exp_avg"] * torch.nan}},
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_a_broken_state_of_an_optimizer_is_refused_and_a_good_one_restored(change):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.ones(3)
    optimizer.step()
    stored = optimizer.state_dict()
    again = torch.optim.Adam([weight], lr=0.2, weight_decay=0.25)
    broken = change(stored["state"])
    if broken:
        with pytest.raises(UserError, match=r"last\.pt is damaged: the state of its optimizer Adam"):
            restore_optimizers([again], [{"state": broken}], "last.pt")
    restore_optimizers([again], [stored], "last.pt")
    assert torch.equal(again.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg"])
    assert again.param_groups[0]["weight_decay"] == 0.25  # the settings', not the file's
    with pytest.raises(UserError, match=re.escape("has 2 optimizers, not 1")):
        restore_optimizers([again], [stored, stored], "last.pt")


# --------------------------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("name", ["demo_AVENet", "demo_AVENet_MF", "demo_AVENet_OF", "demo_PixelPlayer"])
def test_a_net_that_does_not_fit_into_memory_is_refused_before_it_is_built(name, monkeypatch):
    config, device = load_config(f"configs/{name}.py"), torch.device("cpu")
    weights = 4 * sum(weight.numel() for weight in build_net(config.model, config.data.flow_fields).parameters())
    for available, batch, names in (
        (weights - 1, 0, "model.width"), (weights, 0, ""), (9 * weights, 100_000, "train.batch_size"),
    ):  # fmt: skip
        monkeypatch.setattr("models.size.available_memory", lambda device, available=available: available)
        try:
            check_memory(config, device, batch)
            message = ""
        except UserError as error:
            message = str(error)
        assert names in message and bool(names) == bool(message)
    huge = override(config, {"model.width": 2048})
    monkeypatch.setattr("models.size.available_memory", lambda device: 10**10)
    with pytest.raises(UserError, match=r"lower model\.width"):
        check_memory(huge, device)


def test_the_size_of_a_step_is_below_what_autograd_keeps():
    """A lower bound in half precision, against the tensors that a real step in float32 saves."""
    config = load_config("configs/demo_AVENet.py")
    net, kept = build_net(config.model), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    frames, spectrogram = (torch.randn(2, *shape) for shape in input_shapes(config))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = net(frames, spectrogram)
    real = (sum(kept.values()) - sum(weight.nbytes for weight in net.parameters())) / 2
    with torch.device("meta"):
        bound = activation_bytes(build_net(config.model), *input_shapes(config))
    assert len(outputs) == 3 and 0.4 * real < bound < 0.6 * real
