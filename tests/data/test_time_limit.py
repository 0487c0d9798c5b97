"""A file on which a decoder hangs costs itself, and no more than its time limit."""

import csv

import hanging
import pytest
from helpers import make_clip, write_genres

from data import build_shards, check_data, train_val_split_small
from data.checking.kept_results import keep_results
from dataset.making.clips import import_steps
from dataset.making.split_folders import find_splits
from dataset.reading.limits import reading_limit
from dataset.reading.shards import ShardedClips
from utils.errors import UserError

LIMIT = 2.0  # seconds; other clips take a tenth of it


@pytest.fixture
def root(tmp_path):
    for clip in ("a", hanging.NAME, "z"):
        make_clip(tmp_path / "set" / "train", clip)
    write_genres(tmp_path / "set" / "train")
    return tmp_path / "set"


def test_check_data_leaves_a_hanging_clip_out(root, monkeypatch):
    monkeypatch.setattr(check_data, "check_clip", hanging.check)
    splits = find_splits(root)
    with keep_results(root / "check.results.jsonl", LIMIT, splits) as results:
        check_data.check_clips(splits, 1, LIMIT, results)
        kinds = {clip: result.kind for (_, clip), result in results.items()}
        assert kinds == {"a": "ok", "hangs": "time limit", "z": "ok"}
        assert results["train", "hangs"].message.startswith("takes longer than ")


def test_a_split_leaves_a_hanging_clip_out(root, tmp_path, monkeypatch):
    monkeypatch.setattr(import_steps, "prepare_clip", hanging.prepare)
    words = [root / "train", tmp_path / "out", "--workers", 1, "--time_limit", LIMIT, "--val", 0, "--test", 0]
    train_val_split_small.main([str(word) for word in words])
    with open(tmp_path / "out" / "left_out.csv", encoding="utf-8") as file:
        assert any(row[0] == "hangs" and "time limit" in row for row in csv.reader(file))
    assert sorted(path.stem for path in (tmp_path / "out" / "train" / "video").iterdir()) == ["a", "z"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_shards_name_or_leave_out_a_hanging_clip(root, tmp_path, monkeypatch, on_error):
    monkeypatch.setattr(build_shards, "build_shard", hanging.build)
    settings = {"fps": 5.0, "size": 64, "square": False, "quality": 90, "rate": 8000, "clips": 8}

    def build():
        return build_shards.build(root, tmp_path / "shards", settings, 1, on_error, LIMIT)

    if on_error == "stop":
        with pytest.raises(UserError, match=r"hangs\.mp4 takes longer than \d s to read: fix or remove clip hangs"):
            build()
        return
    (entry,) = build()["train"]
    assert entry["ids"] == ["a", "z"] and "takes longer than" in entry["skipped"]["hangs"]
    assert ShardedClips(tmp_path / "shards", "train", "skip").ids == ["a", "z"]


def test_large_files_may_take_longer(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.truncate(100_000_000)
    assert reading_limit(60, tmp_path / "x", tmp_path / "missing") == 60 + 20 * 100
