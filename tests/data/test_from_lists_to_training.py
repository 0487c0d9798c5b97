"""The commands of the README, one after the other: lists, selection, download, check, split, training."""

import json
from pathlib import Path

import pytest
from downloads import run
from helpers import numbered, tone, write_json, write_video
from media_server import MediaServer

from dataset.reading.clips import Clips

KINDS = {"/m/07y_7": 330.0, "/m/026t6": 880.0}  # mid: pitch of its sound
TREE = [
    {"id": "/m/04szw", "name": "Musical instrument", "child_ids": list(KINDS)},
    {"id": "/m/07y_7", "name": "Violin, fiddle", "child_ids": []},
    {"id": "/m/026t6", "name": "Drum", "child_ids": []},
    {"id": "/m/09x0r", "name": "Speech", "child_ids": []},
]


@pytest.fixture
def lists(tmp_path):
    """A folder as download_metadata.py leaves it, of four classes, and a list of 15 videos, three of them of speech."""
    infos = tmp_path / "infos"
    infos.mkdir()
    write_json(infos / "ontology.json", TREE)
    names = [f'{k},{entry["id"]},"{entry["name"]}"' for k, entry in enumerate(TREE)]
    (infos / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *names]) + "\n")
    mids = [*list(KINDS) * 6, *["/m/09x0r"] * 3]
    rows = [f'-vid{k:07d}, 0.520, 2.620, "{mid}"' for k, mid in enumerate(mids)]
    (infos / "genres.txt").write_text("Musical instrument\n")
    (infos / "list.csv").write_text("\n".join(["# YTID, start_seconds, end_seconds, positive_labels", *rows]) + "\n")
    return infos


@pytest.mark.slow
def test_from_lists_to_a_trained_net(lists, tmp_path):
    films = {}
    for k in range(12):
        path, pitch = tmp_path / "film.mp4", list(KINDS.values())[k % 2]
        write_video(path, [numbered(n) for n in range(75)], sound=tone(3, 16000, pitch))
        films[f"-vid{k:07d}"] = path.read_bytes()
    chosen, clips, root = lists / "chosen.csv", tmp_path / "clips", tmp_path / "root"

    words = ["--csv", lists / "list.csv", "--infos", lists, "--genres", lists / "genres.txt", "--out", chosen]
    said = run("data/select_data_by_genre.py", *words)
    assert "kept 12 of 15" in said
    with MediaServer(b"") as site:
        site.films = films
        words = ["--csv", chosen, "--out", clips, "--url", site.url, "--sleep", 0, "--height", 48]
        assert "12 of 12 clips exist in" in run("data/download_video_audio.py", *words)
        assert set(site.requests) == set(films)  # nobody asked for speech
    assert "12 of 12 clips are ok" in run("data/check_data.py", clips)
    run("data/train_val_split_small.py", clips, root, "--val", 0.25, "--test", 0.25)
    splits = {split: Clips(root, split) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in splits.items()} == {"train": 6, "val": 3, "test": 3}
    for found in splits.values():
        for clip, labels in zip(found.ids, found.labels, strict=True):
            assert labels == [list(KINDS)[int(clip[-7:]) % 2]]
        with found.open(0) as clip:
            assert clip.sound_seconds == pytest.approx(2.1, abs=0.01)

    settings = {"epochs": 1, "batch_size": 2, "workers": 0, "run_dir": tmp_path / "run"}
    words = [word for name, value in settings.items() for word in (f"--train.{name}", value)]
    run("train_AVENet.py", "--config", "configs/demo_AVENet.py", "--data.root", root, "--model.width", 4, *words)
    run("eval.py", "--checkpoint", tmp_path / "run/best.pt")
    measured = json.loads(Path(tmp_path / "run/eval_test/metrics.json").read_text())
    assert measured["clips"] == 3 and measured["skipped"] == 0
