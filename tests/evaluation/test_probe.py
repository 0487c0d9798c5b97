"""The linear probe: finds what is linear, nothing in noise, and folders of classes in folds."""

import csv
import json

import numpy as np
import pytest
from helpers import make_dataset, small_checkpoint, tone, write_sound
from sklearn.metrics import average_precision_score

import eval
from evaluation.measures import probe
from evaluation.measures.probe import PROBE
from evaluation.measures.registry import undeclared
from evaluation.report import text_table
from utils.errors import UserError


def clusters(count, classes, dims, apart, seed):
    """(N, D) features of classes that lie `apart`, in deviations, from each other; N class names."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((classes, dims)) * apart / np.sqrt(2)
    kind = random.integers(0, classes, count)
    # Features differ in scale and place by orders of magnitude, which standardising undoes.
    features = (centres[kind] + random.standard_normal((count, dims))) * 10.0 ** np.arange(dims) - 3
    return features, [f"class {k}" for k in kind]


def test_classes_apart_are_found_and_noise_gets_what_chance_gets():
    for apart, low, high in ((3.0, 0.95, 1.0), (0.0, 0.15, 0.4)):
        train, test = clusters(300, 4, 6, apart, 0), clusters(400, 4, 6, apart, 1)
        found = probe.linear_probe(train[0], [[k] for k in train[1]], test[0], [[k] for k in test[1]])
        for name in ("top1", "map"):
            assert low <= found[name] <= high and found["chance"][name] == pytest.approx(0.25, abs=0.05)
    assert (found["classes"], found["dims"], found["top1_clips"]) == (4, 6, 400)


def test_clips_of_several_classes_count_for_each_of_them():
    random = np.random.default_rng(0)
    truth = random.random((500, 3)) < 0.4
    features = truth @ random.standard_normal((3, 8)) * 3 + random.standard_normal((500, 8))
    labels = [[f"c{k}" for k in np.flatnonzero(row)] for row in truth]
    found = probe.linear_probe(features[:300], labels[:300], features[300:], labels[300:])
    share = 0.4 / (1 - 0.6**3)  # of the clips with any class: of the others none is known to be absent
    assert found["map"] > 0.85 and found["chance"]["map"] == pytest.approx(share, abs=0.08)
    assert found["top1_clips"] == sum(len(one) == 1 for one in labels[300:])


def test_map_is_scikit_learns():
    random = np.random.default_rng(0)
    scores, truth = random.standard_normal((60, 5)), random.random((60, 5)) < 0.3
    expected = np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in range(5)])
    predictions = probe.Predictions(scores, truth, truth.sum(1) == 1, 0)
    assert predictions.mean_average_precision[0] == pytest.approx(expected, abs=1e-12)


def test_the_third_set_chooses_the_regularisation():
    train, test = clusters(60, 2, 40, 1.0, 0), clusters(200, 2, 40, 1.0, 1)
    names = [[k] for k in test[1]]
    backwards = [["class 1" if k == "class 0" else "class 0"] for k in test[1]]
    chosen = [
        probe.linear_probe(train[0], [[k] for k in train[1]], test[0], names, (test[0], labels))["strength"]
        for labels in (names, backwards)
    ]
    assert chosen[0] != chosen[1]


def test_folds_share_no_file_and_the_spread_is_over_them():
    features, labels = clusters(100, 4, 6, 2.0, 0)
    folds = probe.assign_folds(labels)
    assert np.array_equal(folds, probe.assign_folds(labels)) and np.bincount(folds).tolist() == [20] * 5
    found = probe.cross_validate(features, labels, folds)
    assert 0.5 < found["top1"] < 1 and 0 < found["top1_spread"] < 0.3
    with pytest.raises(UserError, match="5 readable files or more: class b has 1"):
        probe.assign_folds(["a"] * 6 + ["b"])


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt")


def test_of_a_split_each_modality_has_its_measures_beside_chance_and_a_fresh_net(net, tmp_path):
    root = make_dataset(tmp_path / "data", train=24, val=6, test=6, classes=3)
    words = ["--checkpoint", net, "--data.root", root, "--out", tmp_path / "out", "--tasks", "probe", "--untrained"]
    eval.main([*map(str, words), "--train.workers", "0"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    found = metrics["probe"]
    assert undeclared(metrics) == []
    assert (found["train_clips"], found["test_clips"]) == (24, 6)
    for rows in (found, found["untrained"]):
        for side in ("audio", "vision"):
            one = rows[side]
            assert one["classes"] == 3 and one["dims"] == 32
            assert 0 <= one["top1"] <= 1 and one["chance"]["map"] < one["map"] <= 1  # colours and pitches are plain
    lines = text_table.section_lines(PROBE, found, "AVENet")
    for side in ("audio", "vision"):
        (row,) = (k for k, line in enumerate(lines) if line.split()[0] == side)
        assert lines[row].split()[-2:] == [f"{found[side][name]:.3f}" for name in ("map", "top1")]
        errors = [f"{found[side][name + '_error']:.3f}" for name in ("map", "top1")]
        assert lines[row + 1].split() == ["±", "standard", "error", *errors]
        assert lines[row + 2].split() == ["chance", *(f"{found[side]['chance'][name]:.3f}" for name in ("map", "top1"))]
    fresh = [line.split()[1:] for line in lines if line.split()[0] == "untrained"]
    assert fresh == [
        [f"{found['untrained'][side][name]:.3f}" for side in ("audio", "vision")] for name in ("map", "top1")
    ]


@pytest.fixture
def sounds(tmp_path):
    """Two classes of six sounds each in ESC-50's layout, and the rows of its list."""
    rows = []
    for kind, name in enumerate(("hum", "hiss")):
        for k in range(6):
            wave = tone(1.6, 8000, 200 + 20 * k) if kind == 0 else np.random.default_rng(k).uniform(-0.3, 0.3, 12800)
            write_sound(tmp_path / "esc" / "audio" / f"{k}-{kind}.wav", wave, 8000)
            rows.append({"filename": f"{k}-{kind}.wav", "fold": k % 3 + 1, "target": kind, "category": name})
    return tmp_path / "esc", rows


def write_list(folder, rows):
    (folder / "meta").mkdir(exist_ok=True)
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)


def run_folder(net, folder, out):
    eval.main(["--checkpoint", str(net), "--probe_folder", str(folder), "--out", str(out)])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["skipped"] == 0 and undeclared(metrics) == []
    return metrics["probe"]


def test_esc_50s_own_folds_are_taken(net, sounds, tmp_path):
    folder, rows = sounds
    write_list(folder, rows)
    (folder / "audio" / "broken.wav").write_bytes(b"RIFF")  # not in the list: not asked for
    found = run_folder(net, folder, tmp_path / "out")
    assert found["folds"] == 3 and found["audio"]["files"] == 12 and found["audio"]["top1"] > 0.8
    assert found["audio"]["chance"]["top1"] == 0.5 and "vision" not in found


def test_a_folder_for_each_class_is_parted_into_folds_by_file(net, sounds, tmp_path):
    folder, rows = sounds
    for row in rows:
        (tmp_path / "classes" / row["category"]).mkdir(parents=True, exist_ok=True)
        (folder / "audio" / row["filename"]).rename(tmp_path / "classes" / row["category"] / row["filename"])
    found = run_folder(net, tmp_path / "classes", tmp_path / "out")
    assert found["folds"] == 5 and found["audio"]["files"] == 12 and found["audio"]["top1"] > 0.8


def test_a_list_of_another_form_and_a_folder_without_classes_are_told_in_a_sentence(net, sounds, tmp_path):
    folder, _ = sounds
    write_list(folder, [{"name": "x.wav", "label": 1}])
    with pytest.raises(UserError, match="columns filename, fold, category"):
        run_folder(net, folder, tmp_path / "out")
    with pytest.raises(UserError, match="holds no class"):
        run_folder(net, folder / "audio", tmp_path / "out")
