"""Where the features of a frozen encoder are kept, and what is said if a GPU is too small to compute them."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from configs.schema import Config, Data, Train
from dataset.features import computing
from dataset.features.frozen import _base_folder
from utils.errors import UserError


@pytest.mark.parametrize(
    ("features_dir", "writable", "folder", "lines"),
    [("", True, "data", 0), ("", False, "run/features", 1), ("kept", True, "kept", 0), ("kept", False, "kept", 0)],
)
def test_features_lie_beside_the_dataset_or_in_the_run_if_it_is_read_only(
    monkeypatch, features_dir, writable, folder, lines
):
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    config = Config(data=Data(root="data", features_dir=features_dir), train=Train(run_dir="run"))
    log: list[str] = []
    assert _base_folder(config, SimpleNamespace(folder=Path("data/train")), log.append) == Path(folder)
    assert len(log) == lines and all("data/train can't be written" in line for line in log)


@pytest.mark.parametrize(("device", "batch_size", "images"), [("cpu", 8, 64), ("cuda", 8, 8), ("cuda:1", 128, 64)])
def test_a_gpu_encodes_no_more_images_at_a_time_than_a_step_has_clips(device, batch_size, images):
    assert computing.images_at_once(Config(train=Train(batch_size=batch_size)), device) == images


def test_features_that_need_too_much_gpu_memory_are_one_sentence(tmp_path, monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    frames = torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8)
    batch = {"errors": [], "indices": torch.tensor([0]), "frames": frames, "sounds": [], "frame_times": [[0.0]]}
    monkeypatch.setattr(computing, "_decode", lambda *_: iter([batch]))
    monkeypatch.setattr(computing, "images_at_once", lambda *_: 8)
    clips = type("Clips", (list,), {"ids": ["a"], "folder": tmp_path})(["a"])
    with pytest.raises(
        UserError, match=r"encoder doesn't fit into the GPU's memory: lower --train\.batch_size below 8"
    ):
        computing.write_features(tmp_path, Config(), clips, full, "cpu", lambda *_: None)
