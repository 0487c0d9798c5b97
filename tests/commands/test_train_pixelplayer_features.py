"""PixelPlayer on kept features of a frozen encoder, its masks from the AVC branch's embedding, as a user runs it."""

import json
import os

import pytest
import timm
import torch
from helpers import make_dataset
from kill_and_resume import compare, train_command
from training import lines

import eval as evaluation
import train_PixelPlayer
from utils import checkpoint

SETTINGS = {
    "data.frame_size": 64, "data.resize_size": 64, "data.frame_step": 0.1, "data.feature_frames": 2,
    "data.feature_views": 3, "mix.samples": 8159, "mix.n_fft": 510, "mix.hop": 255, "mix.freq_bins": 32,
    "model.width": 4, "model.dim": 8, "model.sound_width": 4, "model.num_channels": 4, "model.unet_depth": 3,
    "train.batch_size": 4, "train.epochs": 3, "train.workers": 0, "train.log_every": 1, "train.validate_every": 3,
    "train.avc_warmup": 0.5, "train.max_minutes": 0, "train.precision": "fp32", "train.save_every": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=16, val=6, test=6, boxes=False)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder's weights in a file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return {"model.vision": "test_resnet", "model.vision_weights": file}


def train(data, run_dir, settings, *words):
    """Train in this process; returns last.pt."""
    words = train_command(data, run_dir, settings, *words, config="configs/few_clips_PixelPlayer.py")
    train_PixelPlayer.main(words[2:])
    return checkpoint.load(run_dir / "last.pt")


def test_it_trains_on_features_without_reading_videos_and_is_evaluated(data, encoder, tmp_path):
    settings = SETTINGS | encoder
    whole = train(data, tmp_path / "whole", settings)
    log = lines(tmp_path / "whole", "train")
    assert len(log) == whole["step"] == 12 and all("avc_accuracy" in line for line in log)
    assert [line["step"] for line in log if "loss_masks" in line] == list(range(7, 13))
    prefix, given = "frames.body.net.", torch.load(encoder["model.vision_weights"], weights_only=True)
    frozen = {name.removeprefix(prefix): value for name, value in whole["model"].items() if name.startswith(prefix)}
    assert len(frozen) > 10 and all(torch.equal(value, given[name]) for name, value in frozen.items())

    # The same again, from the features that are there, with unreadable training videos.
    for path in (data / "train/video").iterdir():
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    train(data, tmp_path / "again", settings)
    assert compare(tmp_path / "whole", tmp_path / "again") == []

    words = ["--checkpoint", str(tmp_path / "whole/best.pt"), "--out", str(tmp_path / "eval")]
    evaluation.main([*words, "--tasks", "separation"])
    measures = json.loads((tmp_path / "eval/metrics.json").read_text())["separation"]
    assert measures["pairs"] == 6 and 0 <= measures["swap_consistency"] <= 1
