"""The demo's test sets: each sound is its instrument's, each mask is what was drawn, in the benchmarks' layouts."""

import colorsys
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from scipy.ndimage import distance_transform_edt

from data.demo_clips import duets, masked_clips, scene
from data.demo_clips.classes import CLASSES, WORDS
from data.demo_clips.frames import render_frames, render_masks
from data.demo_clips.pen import hsv
from data.demo_clips.scene import draw_sounding_scene
from data.demo_clips.test_sets import are_test_sets_complete, make_test_sets
from dataset.reading.benchmarks.avsbench import AVSBenchMS3, AVSBenchS4
from dataset.reading.benchmarks.sound_pairs import IS3

SETTINGS = {"test": 50, "seed": 0, "sample_rate": 16000}  # 15 pictures of duets, 2 clips of each part of AVSBench
NOTES = [300 * 1.25**k for k in range(len(CLASSES))]  # Hz


def make_folders(root):
    for kind in ("images", "audio_wav", "gt_segmentation"):
        (root / "duets" / kind).mkdir(parents=True)


def sine(hz):
    """A voice that plays this note alone."""
    return lambda rng, rate: lambda pitch, seconds, force: np.sin(2 * np.pi * hz * np.arange(seconds * rate) / rate)


def square(hue):
    """A drawing of this hue."""
    return lambda pen, rng: pen.box(0, 0, 1, 0.8, hsv(hue, 1, 0.9), 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The test sets, in which each class has a note of its own."""
    root = tmp_path_factory.mktemp("demo")
    plain = [one._replace(voice=sine(hz)) for one, hz in zip(CLASSES, NOTES, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        for module in (duets, masked_clips):
            patch.setattr(module, "CLASSES", plain)
        make_folders(root)
        for k in range(15):
            duets.make_duet(k, root, 0, 16000)
        for part in ("s4", "ms3"):
            for k in range(2):
                masked_clips.make_masked_clip(part, k, root, 0, 16000)
    make_test_sets(root, SETTINGS, 1)  # the tables
    return root


def heard(wav):
    """The words of the classes whose note is loud in a file."""
    samples, rate = soundfile.read(wav)
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    levels = np.array([power[np.abs(hz / note - 1) < 0.05].sum() for note in NOTES])
    return {word for word, level in zip(WORDS, levels, strict=True) if level > 0.05 * levels.max()}


def entries(root):
    return json.loads((root / "duets" / "IS3_annotation.json").read_text())


def pixels(path):
    return np.array(Image.open(path))


def test_words_are_single_and_differ():
    assert len(set(WORDS)) == 12 and all(word.isalpha() for word in WORDS)


def test_each_class_sounds_equally_often_and_pairs_differ():
    pairs = [duets.pair_of(k) for k in range(132)]
    assert len(set(pairs)) == 132 and all(a != b for a, b in pairs)
    assert np.bincount(np.ravel(pairs[:60])).tolist() == [10] * 12


def test_a_duet_has_two_sounds_each_of_its_class(root):
    found = entries(root)
    assert len(found) == 30 and len({entry["audio"] for entry in found}) == 30
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first["class"] != second["class"]
        pictures = [(root / "duets" / entry["image"]).read_bytes() for entry in (first, second)]
        assert pictures[0] == pictures[1]
        for entry in (first, second):
            wav = root / "duets" / entry["audio"]
            assert heard(wav) == {entry["class"]} and soundfile.info(wav).duration == 2


def test_a_mask_is_of_the_instrument_that_sounds(tmp_path, monkeypatch):
    hues = np.arange(12) / 12
    squares = [one._replace(draw=square(hue)) for one, hue in zip(CLASSES, hues, strict=True)]
    monkeypatch.setattr(scene, "CLASSES", squares)
    make_folders(tmp_path)
    for entry in [entry for k in range(6) for entry in duets.make_duet(k, tmp_path, 0, 16000)]:
        image = Path(entry["image"])
        mask = pixels(tmp_path / "duets" / "gt_segmentation" / f"{image.stem}.png") > 0
        color = np.median(pixels(tmp_path / "duets" / image)[mask], axis=0) / 255
        away = (colorsys.rgb_to_hsv(*color)[0] - hues + 0.5) % 1 - 0.5
        assert WORDS[int(np.abs(away).argmin())] == entry["class"]


def test_a_duets_box_surrounds_its_mask(root):
    found = entries(root)
    for pair in zip(found[::2], found[1::2], strict=True):
        names = [Path(entry["image"]).stem for entry in pair]
        masks = [pixels(root / "duets" / "gt_segmentation" / f"{name}.png") for name in names]
        smaller = min(np.count_nonzero(mask) for mask in masks)
        assert np.count_nonzero(masks[0] & masks[1]) < 0.2 * smaller  # one may hide a part of the other
        for entry, mask in zip(pair, masks, strict=True):
            assert set(np.unique(mask)) == {0, 255}
            assert mask.shape == pixels(root / "duets" / entry["image"]).shape[:2]
            y, x = np.nonzero(mask)
            around = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
            assert entry["gt_box"] == pytest.approx(around * 224 / (mask.shape[::-1] * 2), abs=0.51)


@pytest.mark.parametrize("labels", [[k, (k + 5) % 12] for k in range(0, 12, 3)])
def test_a_mask_is_what_the_instrument_changes_in_the_picture(labels):
    shown = draw_sounding_scene(np.random.default_rng(labels), labels, "a")
    times = np.array([0.0, 1.3])
    both = list(render_frames(shown, np.random.default_rng(1), times))
    # Without the last one, which is drawn last: all else is the same.
    alone = list(render_frames(shown._replace(objects=shown.objects[:1]), np.random.default_rng(1), times))
    for with_it, without, masks in zip(both, alone, render_masks(shown, times), strict=True):
        change = np.abs(np.array(with_it, int) - np.array(without, int)).max(2)
        mask = np.array(masks[1]) > 0
        assert mask.sum() > 300
        assert np.mean(change[mask] > 8) > 0.97
        away = distance_transform_edt(~mask)
        assert change[away > 3.5].max() <= 40 and change[away > 9].max() == 0  # its shadow
    # The first one's mask has what the second one covers, too.
    hidden = shown._replace(objects=[shown.objects[0], shown.objects[0]])
    assert all(a.tobytes() == b.tobytes() for a, b in render_masks(hidden, times))


def test_duets_are_read_as_is3(root):
    benchmark = IS3(root / "duets")
    assert len(benchmark) == 30 and not benchmark.dropped and not benchmark.failures
    pictures = [row.picture for row in benchmark.rows]
    assert len(set(pictures)) == 15 and all(pictures.count(picture) == 2 for picture in pictures)
    for k, row in enumerate(benchmark.rows):
        assert heard(row.wav) == set(row.classes)
        mask = Image.open(root / "duets" / "gt_segmentation" / f"{row.wav.stem}.png").resize((224, 224))
        inside = benchmark.truth(k, 224) > 0
        assert np.array(mask)[~inside].sum() < 0.02 * np.array(mask).sum()  # pixels, by the box's rounding
        assert 0.1 < (np.array(mask)[inside] > 0).mean() < 1


def test_masked_clips_are_read_as_avsbench(root):
    one, several = AVSBenchS4(root / "masks"), AVSBenchMS3(root / "masks")
    assert len(one) == len(several) == 10  # two clips of five frames
    for benchmark, parts in ((one, 1), (several, 2)):
        for k, row in enumerate(benchmark.rows):
            assert heard(row.wav) == set(row.picture.split("_")[:-1]) and len(heard(row.wav)) == parts
            assert soundfile.info(row.wav).duration == 5
            assert pixels(row.frame).shape[:2] == pixels(row.annotation).shape
            assert 0.01 < benchmark.truth(k, 64).mean() < 0.5
    assert one.rows[0].classes == ("guitar",)


def test_what_is_missing_is_made_again(tmp_path):
    few = SETTINGS | {"test": 10}
    make_test_sets(tmp_path, few, 1)
    assert are_test_sets_complete(tmp_path, few) and not are_test_sets_complete(tmp_path, few | {"test": 20})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    lost = [sorted(tmp_path.rglob(name))[0] for name in ("*.jpg", "*.wav", "gt_masks/**/*.png", "*.csv", "*.json")]
    for path in lost:
        path.unlink()
        assert not are_test_sets_complete(tmp_path, few)
        path.write_bytes(before[path])
    for path in lost:
        path.unlink()
    make_test_sets(tmp_path, few, 1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
