"""eval.py --benchmark on made-up folders: which clips count, and what is said of the others."""

import csv
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import small_checkpoint, tone, write_json, write_sound
from PIL import Image

import eval as script
from evaluation.measures.registry import undeclared
from utils.errors import UserError

NAMES = ("dog_cat_1_dog", "dog_cat_1_cat", "pig_cow_2_pig", "pig_cow_2_cow", "hen_3_hen")
CLIPS = dict(aaaaaaaaaa1_000010="dog", bbbbbbbbbb2_000020="cat", cccccccccc3_000030="cow", dddddddddd4_000040="pig")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    settings = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 64, "train.precision": "fp32"}
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt", **settings)


def add_files(root, k, frame, wav, seed=None):
    """A picture of noise, the same for the same seed, and a tone of a pitch of its own."""
    for file in (frame, wav):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(k if seed is None else seed).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(root / frame)
    write_sound(root / wav, tone(5, 16000, 200 + 70 * k), 16000)


def evaluate(path, root, out, benchmark, *words):
    places = ["--checkpoint", str(path), "--data.root", str(root), "--out", str(out), "--benchmark", benchmark]
    metrics = script.main([*places, "--train.workers", "0", "--pictures", "1", *words])
    assert undeclared(json.loads((out / "metrics.json").read_text())) == []
    rows = list(csv.DictReader((out / "localization.csv").open()))
    return metrics, rows


@pytest.fixture
def is3(tmp_path):
    root, rng, entries = tmp_path / "is3", np.random.default_rng(4), []
    for k, name in enumerate(NAMES):
        add_files(root, k, f"images/{name}.jpg", f"audio_wav/{name}.wav", seed=k // 2)
        x, y = rng.integers(0, 100, 2).tolist()
        entries.append({"image": f"{name}.jpg", "audio": f"{name}.wav", "gt_box": [x, y, x + 124, y + 124]})
    write_json(root / "IS3_annotation.json", entries)
    return root


@pytest.fixture
def vggss(tmp_path):
    root, entries = tmp_path / "vggss", []
    for k, (clip, name) in enumerate(CLIPS.items()):
        add_files(root, k, f"frames/{clip}.jpg", f"audio/{clip}.wav")
        box = [0.1, 0.1, 0.9, 0.9] if k else [-2e16, 0, 0, 0]
        entries.append({"file": clip, "class": name, "bbox": [box]})
    write_json(root / "vggss.json", entries)
    return root


def test_a_picture_counts_if_every_one_of_its_sounds_is_found(path, is3, tmp_path):
    metrics, rows = evaluate(path, is3, tmp_path / "out", "is3")
    found = metrics["localization"]
    assert [row["id"] for row in rows] == sorted(NAMES)
    pictures = {}
    for row in rows:
        pictures.setdefault(row["id"].rsplit("_", 1)[0], []).append(float(row["ciou"]))
    assert len({row["picture"] for row in rows}) == 3
    worst = [min(values) for values in pictures.values() if len(values) > 1]
    assert found["several_sounds"] == len(worst) == 2
    assert found["iiou"] == np.mean([value >= 0.5 for value in worst])
    heights = [np.mean([value >= k / 20 - 1e-9 for value in worst]) for k in range(21)]
    assert found["iauc"] == pytest.approx(np.trapezoid(heights, dx=0.05), rel=1e-6)
    assert found["failures"] == 0 and found["size"] == 224 and "masks" not in metrics


def test_pictures_of_one_sound_each_are_no_measure_of_several(path, is3, tmp_path):
    (tmp_path / "list.txt").write_text(f"{NAMES[0]}\n{NAMES[2]}\n{NAMES[4]}\n")
    metrics, rows = evaluate(path, is3, tmp_path / "out", "is3", "--ids", str(tmp_path / "list.txt"))
    assert [row["id"] for row in rows] == [NAMES[0], NAMES[2], NAMES[4]]  # in the order of the list
    assert metrics["localization"]["several_sounds"] == 0 and "iiou" not in metrics["localization"]
    assert any("no picture has several sounds" in note for note in metrics["notes"])


def test_a_clip_without_a_valid_box_is_a_failure_of_every_map(path, vggss, tmp_path):
    metrics, rows = evaluate(path, vggss, tmp_path / "out", "vggss")
    found, first = metrics["localization"], rows[0]
    assert metrics["clips"] == found["frames"] == 4 and found["failures"] == 1 and metrics["skipped"] == 0
    assert first["id"] == min(CLIPS) and {float(first[key]) for key in first if key.startswith("ciou")} == {0.0}
    assert found["ciou@0.5_centre"] == found["ciou@0.5_ceiling"] == 0.75  # of three clips out of four
    assert found["ciou"] == pytest.approx(np.mean([float(row["ciou"]) for row in rows]), rel=1e-6)
    sizes = {name: found[f"{name}_objects"] for name in ("small", "medium", "large", "huge")}
    assert sizes == {"small": 0, "medium": 0, "large": 0, "huge": 3}
    assert any("1 of 4 clips (aaaaaaaaaa1_000010) have no box that lies in the frame" in n for n in metrics["notes"])


@pytest.mark.parametrize("form", ["{}", "{},a class", "{}.mp4,a class"])
def test_a_list_chooses_the_clips_of_a_benchmark(path, vggss, tmp_path, form, capsys):
    wanted = [list(CLIPS)[2], list(CLIPS)[1], "xxxxxxxxxx9_000001"]
    (tmp_path / "vggss_heard_test.csv").write_text("".join(f"{form.format(clip)}\n" for clip in wanted))
    (vggss / "audio" / f"{list(CLIPS)[3]}.wav").unlink()  # is not on the list, so nobody misses it
    words = ("--ids", str(tmp_path / "vggss_heard_test.csv"))
    metrics, rows = evaluate(path, vggss, tmp_path / "out", "vggss", *words)
    assert [row["id"] for row in rows] == wanted[:2] and metrics["localization"]["failures"] == 0
    assert metrics["ids"]["clips"] == 3 and metrics["ids"]["missing"] == 1
    assert any("only the clips of the list vggss_heard_test.csv are measured" in note for note in metrics["notes"])
    assert "lacks 1 of the 3 clips" in capsys.readouterr().err
    (tmp_path / "none.csv").write_text("xxxxxxxxxx9_000001\n")
    with pytest.raises(UserError, match=r"has none of the clips of .*none.csv"):
        evaluate(path, vggss, tmp_path / "out", "vggss", "--ids", str(tmp_path / "none.csv"))


def table(monkeypatch, rows):
    """Take the place of the package vggsounder: {clip: {class: modality}}."""
    videos = [
        SimpleNamespace(video_id=clip, labels=list(own), modalities=list(own.values())) for clip, own in rows.items()
    ]
    monkeypatch.setitem(sys.modules, "vggsounder", SimpleNamespace(VGGSounder=lambda: videos))


def test_clips_whose_class_is_audible_and_visible_can_be_chosen(path, vggss, tmp_path, monkeypatch):
    a, b, c, d = CLIPS
    table(monkeypatch, {a: {"dog": "AV"}, b: {"cat": "A", "dog": "AV"}, d: {"pig": "AV", "cow": "A"}, "other": {}})
    metrics, rows = evaluate(path, vggss, tmp_path / "out", "vggss", "--audible_and_visible")
    assert [row["id"] for row in rows] == [a, d]
    assert metrics["audible_and_visible"] == {"clips": 4, "listed": 3, "kept": 2}
    said = "of 4 clips 3 are in vggsounder's table, and the annotated class of 2 is audible and visible"
    assert any(said in note for note in metrics["notes"])
    table(monkeypatch, {c: {"cow": "V"}})
    with pytest.raises(UserError, match="no clip whose class vggsounder's table calls audible and visible"):
        evaluate(path, vggss, tmp_path / "out", "vggss", "--audible_and_visible")
    monkeypatch.setitem(sys.modules, "vggsounder", None)
    with pytest.raises(UserError, match=r"--audible_and_visible needs .* pip install vggsounder"):
        evaluate(path, vggss, tmp_path / "out", "vggss", "--audible_and_visible")
    with pytest.raises(UserError, match="--audible_and_visible chooses clips of VGG-SS: add --benchmark vggss"):
        evaluate(path, vggss, tmp_path / "out", "flickr", "--audible_and_visible")


def test_avsbench_is_measured_by_masks_and_as_regions(path, tmp_path):
    root = tmp_path / "s4"
    for k, video in enumerate(("a", "b", "c")):
        for j in range(1, 6):
            picture = f"s4_data/visual_frames/test/dog/{video}/{video}_{j}.png"
            add_files(root, k, picture, f"s4_data/audio_wav/test/dog/{video}.wav", seed=10 * k + j)
            mask = root / f"s4_data/gt_masks/test/dog/{video}/{video}_{j}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((224, 224), np.uint8)
            pixels[: 160 * (video != "c"), 40:] = 255
            Image.fromarray(pixels).save(mask)
    (root / "s4_meta_data.csv").write_text("name,category,split\na,dog,test\nb,dog,test\nc,dog,test\n")
    metrics, rows = evaluate(path, root, tmp_path / "out", "avsbench_s4")
    assert [row["id"] for row in rows] == [f"{video}_{j}" for video in "ab" for j in range(1, 6)]
    assert metrics["localization"]["frames"] == 10 and metrics["localization"]["several_sounds"] == 0
    masks = list(csv.DictReader((tmp_path / "out" / "masks.csv").open()))
    assert len(masks) == metrics["masks"]["frames"] == 15 and metrics["masks"]["empty_masks"] == 5
    assert metrics["masks"]["miou"] == pytest.approx(np.mean([float(row["iou"]) for row in masks]), rel=1e-6)
    assert metrics["masks"]["max_f"] == pytest.approx(np.mean([float(row["f"]) for row in masks[:10]]), rel=1e-6)
    area = 160 * 184 / 224**2
    assert metrics["masks"]["miou_whole"] == pytest.approx(area * 2 / 3, rel=1e-6)  # nothing of the empty frames
    assert metrics["masks"]["miou_ceiling"] > 0.9
    assert any("in 5 frames nothing sounds" in note for note in metrics["notes"])
    assert "offscreen" not in metrics["negative_sounds"]  # all are of one class
    assert any("for 10 frames no clip has other labels" in note for note in metrics["notes"])
