"""A start from data in parts, as on a GPU: each net as in one part, within what batch norm's batches change; memory."""

import copy
import re

import pytest
import torch
from torch import nn

from configs.schema import Train
from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.l3net import L3Net
from models.pixelplayer import PixelPlayer
from utils.data_start import start_from_data, start_in_parts
from utils.errors import UserError
from utils.memory import explain_gpu_memory

CPU = torch.device("cpu")
CLIPS = 48
NETS = {
    "AVENet": lambda: AVENet(8, 16), "AVOLNet": lambda: AVOLNet(8, 16), "L3Net": lambda: L3Net(8, 16),
    "PixelPlayer": lambda: PixelPlayer(4, 8, sound_width=8, unet_depth=3),
}  # fmt: skip


def inputs_of(name):
    torch.manual_seed(1)
    level = torch.rand(CLIPS, 1, 1, 1)  # clips differ
    frames, sounds = torch.randn(CLIPS, 3, 32, 32) + 3 * level, torch.randn(CLIPS, 1, 32, 32) + 3 * level
    frames = frames[:, None] if name == "PixelPlayer" else frames
    return {"frames": frames, "sounds": sounds, "seeds": torch.arange(CLIPS), "errors": []}


def prepare(batch):
    return batch["frames"], batch["sounds"]


def encoders_of(name):
    return ("frames.body", "sounds") if name == "PixelPlayer" else ("vision", "audio")


def new_net(name, fixed):
    """A net in training mode; with `fixed` its encoders' batch norm doesn't depend on the batch."""
    torch.manual_seed(0)
    net = NETS[name]()
    net.fixed_statistics = encoders_of(name) if fixed else ()
    return net.train()


def started(name, clips, fixed=False):
    net = new_net(name, fixed)
    encoders = [net.get_submodule(one) for one in encoders_of(name)]
    with torch.no_grad():
        start_in_parts(net.data_dependent_init, inputs_of(name), prepare, encoders, CPU, clips)
    assert not any("forward" in vars(encoder) for encoder in encoders)  # as before
    return net.state_dict()


def started_whole(name, fixed=False):
    net = new_net(name, fixed)
    with torch.no_grad():
        start_from_data(net.data_dependent_init, inputs_of(name), prepare, [], CPU, Train())
    return net.state_dict()


def largest_error(found, expected):
    """Of the weights, relative to the largest one of each."""
    names = [name for name in expected if "running" not in name and "batches" not in name]
    pairs = [(found[one], expected[one]) for one in names]
    return max(((one - other).abs().max() / other.abs().max().clamp(min=0.1)).item() for one, other in pairs)


@pytest.mark.parametrize("name", NETS)
def test_one_part_is_the_whole_and_several_are_where_batch_norm_allows(name):
    assert largest_error(started(name, CLIPS), started_whole(name)) == 0
    assert largest_error(started(name, 16, fixed=True), started_whole(name, fixed=True)) < 1e-4
    assert 0 < largest_error(started(name, 16), started_whole(name)) < 0.7  # its statistics are of 16 clips, not of 48


def test_no_part_is_larger_than_asked_for():
    sizes = []

    class Net(nn.Module):
        def forward(self, rows):
            sizes.append(len(rows))
            return rows

    def prepared(batch):
        sizes.append(len(batch["frames"]))
        return (batch["frames"],)

    net, seen = Net(), []
    batch = {"frames": torch.arange(10.0), "sounds": torch.arange(20.0), "seeds": torch.arange(10)}
    start_in_parts(lambda rows: seen.append(net(rows)), batch, prepared, [net], CPU, 4)
    assert max(sizes) == 4 and len(sizes) == 6 and torch.equal(seen[0], batch["frames"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_start_that_is_too_large_for_the_gpu_is_one_sentence(error, monkeypatch):
    def full(*_):
        raise error

    monkeypatch.setattr("utils.data_start.start_in_parts", full)
    message = "the start from data doesn't fit into the GPU's memory: lower --train.batch_size (128)"
    with pytest.raises(UserError, match=re.escape(message)):
        start_from_data(lambda: None, {}, prepare, [], torch.device("cuda"), Train())


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), ValueError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as found, explain_gpu_memory("a batch", "lower it"):
        raise copy.copy(error)
    assert not isinstance(found.value, UserError)
