"""Where the features of a frozen encoder are kept."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.schema import Config, Data, Train
from dataset.features.frozen import _base_folder


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
