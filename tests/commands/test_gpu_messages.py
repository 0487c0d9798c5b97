"""What scripts say that get a trained net: too little memory on a GPU, an Apple GPU. They run as a user runs them."""

import runpy
import sys
import threading

import pytest
import torch
from helpers import make_dataset, small_checkpoint

from models import build_net
from models.avenet import AVENet
from models.pixelplayer import PixelPlayer
from utils import checkpoint
from utils.config import CONFIG_VERSION, load_config, override, to_dict

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB")
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
PIXELS = {"model.width": 4, "model.sound_width": 4, "model.num_channels": 4, "data.frame_size": 32}


@pytest.fixture(scope="module")
def ave(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("ave") / "best.pt", **{"train.precision": "fp32"})


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    config = override(load_config("configs/demo_PixelPlayer.py"), PIXELS)
    weights = build_net(config.model).state_dict()
    content = {"config": to_dict(config), "config_version": CONFIG_VERSION, "model": weights}
    path = tmp_path_factory.mktemp("pixels") / "best.pt"
    checkpoint.save(path, content | {"ema": None, "step": 0, "metrics": {}})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=0, val=0, test=3)


@pytest.fixture
def script(monkeypatch, capfd):
    """Runs a script: (exit code, stderr)."""

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        for place, hook in ((sys, "stdout"), (sys, "stderr"), (sys, "unraisablehook"), (threading, "excepthook")):
            monkeypatch.setattr(place, hook, getattr(place, hook))
        try:
            runpy.run_path(name, run_name="__main__")
            code = 0
        except SystemExit as error:
            code = error.code
        return code, capfd.readouterr().err

    return run


def raise_error(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("error", [FULL, CUBLAS])
@pytest.mark.parametrize("name", ["eval.py", "embed.py"])
def test_a_net_that_embeds_with_too_little_gpu_memory(ave, data, script, monkeypatch, tmp_path, name, error):
    monkeypatch.setattr(AVENet, "embed_sounds", raise_error(error))
    words = {
        "eval.py": ["--data.root", data, "--data.resize_size", 36, "--train.workers", 0, "--out", tmp_path / "out"],
        "embed.py": ["--input", data / "test/audio", "--out", tmp_path / "all", "--threads", 1],
    }[name]
    code, said = script(name, "--checkpoint", ave, *words)
    (message,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 1 and "Traceback" not in said
    assert message.startswith("error: the GPU's memory is short: lower --eval.batch_size, end other programs")


def test_a_separation_with_too_little_gpu_memory(pixels, data, script, monkeypatch, tmp_path):
    monkeypatch.setattr(PixelPlayer, "sound_maps", raise_error(FULL))
    code, said = script("separate.py", "--checkpoint", pixels, *of_clip(data), "--out", tmp_path / "out")
    message = "error: the GPU's memory is short: end other programs that use it, or set CUDA_VISIBLE_DEVICES=-1"
    assert code == 1 and message in said and "Traceback" not in said


@pytest.mark.parametrize("name", ["eval.py", "embed.py", "separate.py"])
def test_apples_gpu_is_not_used_which_is_said_once(ave, pixels, data, script, monkeypatch, tmp_path, name):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    checkpoint, *words = {
        "eval.py": [ave, "--data.root", data, "--data.resize_size", 36, "--train.workers", 0, "--tasks", "avc",
                    "--out", tmp_path / "out"],
        "embed.py": [ave, "--input", data / "test/audio", "--out", tmp_path / "all", "--threads", 1],
        "separate.py": [pixels, *of_clip(data), "--at", "0.5,0.5", "--out", tmp_path / "out"],
    }[name]  # fmt: skip
    code, said = script(name, "--checkpoint", checkpoint, *words)
    assert code == 0, said
    assert said.count("warning: the CPU is used: Apple's GPU (MPS) is not supported") == 1


def of_clip(data):
    video = min((data / "test/video").glob("*.mp4"))
    return ["--video", video, "--sound", data / f"test/audio/{video.stem}.wav"]
