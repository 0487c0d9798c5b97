"""Clips that can't be read stop a training or an evaluation with their name, or are left out on request."""

import json
import shutil

import pytest
from kill_and_resume import command, train_command
from training import SETTINGS, lines, one_sentence


@pytest.fixture(scope="module")
def broken(data, tmp_path_factory):
    """The dataset with a truncated video in each split, and a test clip without its sound."""
    root = shutil.copytree(data, tmp_path_factory.mktemp("broken") / "clips")
    for split in ("train", "val", "test"):
        video = root / split / "video" / f"{split}_0002.mp4"
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (root / "test" / "audio" / "test_0005.wav").unlink()
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_clip_stops_training_with_its_name(workers, broken, tmp_path, script):
    done = script(train_command(broken, tmp_path, SETTINGS | {"train.workers": workers}))
    assert one_sentence(done, "train_0002", "--data.on_error skip")


def test_broken_clips_are_left_out_counted_and_listed_on_request(broken, tmp_path, script):
    """Also where one is alone in its batch, and once only however often they are met."""
    settings = SETTINGS | {"data.on_error": "skip", "train.epochs": 3, "train.validate_every": 1, "eval.batch_size": 1}
    (broken / "train" / "video" / "stray.mp4").write_bytes(b"no sound goes with it")
    for epochs in (3, 4):
        settings["train.epochs"] = epochs
        done = script(train_command(broken, tmp_path, settings, *(["--resume"] if epochs == 4 else [])))
        assert done.returncode == 0, done.stderr
        skipped = lines(tmp_path, "skipped")
        assert sorted(line["clip"] for line in skipped) == ["stray", "train_0002", "val_0002"]
        assert all(line["clip"] in line["reason"] for line in skipped)
    (broken / "train" / "video" / "stray.mp4").unlink()
    assert {line["pairs"] for line in lines(tmp_path, "val")} == {49}  # 7 of 8 clips

    done = script(command("eval.py", {"checkpoint": tmp_path / "last.pt", "tasks": "avc"}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "eval_test" / "metrics.json").read_text())
    assert (metrics["clips"], metrics["skipped"], metrics["avc"]["pairs"]) == (8, 2, 64)
    assert metrics["skipped_clips"].keys() == {"test_0002", "test_0005"}

    done = script(command("eval.py", {"checkpoint": tmp_path / "last.pt", "data.on_error": "stop"}))
    assert one_sentence(done, "test_0005", "no audio")


def test_a_split_in_which_no_clip_can_be_read_is_named(data, whole, tmp_path, script):
    root = shutil.copytree(data, tmp_path / "clips")
    for split in ("val", "test"):
        for video in (root / split / "video").iterdir():
            video.write_bytes(b"")
    skip = {"data.on_error": "skip", "train.epochs": 1}
    done = script(train_command(root, tmp_path / "run", SETTINGS | skip))
    assert done.returncode == 2 and f"error: {root / 'val'}" in done.stderr and "Traceback" not in done.stderr
    done = script(command("eval.py", {"checkpoint": whole[0] / "best.pt", "data.root": root, "data.on_error": "skip"}))
    assert one_sentence(done, root / "test")
