"""Fine-tuning: it starts at the linear probe, learns what the probe can't read, and leaves the net as it is."""

import copy
import json

import numpy as np
import pytest
import torch
from helpers import make_dataset, small_checkpoint, tone, write_genres, write_sound
from torch import nn

import eval
from configs.schema import Config
from dataset.loading.loader import SampleDataset, make_sample
from evaluation import fine_tuning
from evaluation.fine_tuning import Candidate, EncoderClassifier, FineTuner, LabelledClips, Start, fine_tune
from evaluation.measures.finetune import FINETUNE
from evaluation.measures.linear_classifier import fit_probe
from evaluation.measures.registry import undeclared
from evaluation.report import text_table
from evaluation.trained_net import load_trained_net
from utils.config import override

RATE = 2000


class Tones(SampleDataset):
    """Tones in noise, every second one rising, the others falling: the same frequencies."""

    def __init__(self, count, seed=0):
        self.sounds = np.random.default_rng(seed).integers(-3000, 3000, (count, RATE)).astype(np.int16)
        t = np.arange(RATE) / RATE
        for k in range(count):  # a rising or a falling tone
            self.sounds[k] += (6000 * np.sin(2 * np.pi * (t if k % 2 else 1 - t) ** 2 * 300)).astype(np.int16)

    def __len__(self):
        return len(self.sounds)

    def __getitem__(self, key):
        return make_sample(np.zeros((1, 1, 3), np.uint8), self.sounds[key[1]], key[1])


class Encoder(nn.Sequential):
    """Two convolutions with batch norm; 4 features."""

    channels = 4

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(1, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 5, stride=2), nn.ReLU()
        )


@pytest.fixture
def config():
    changes = {
        "data.sample_rate": RATE,
        "spectrogram.n_fft": 64,
        "spectrogram.window": 0.032,
        "train.precision": "fp32",
    }
    return override(Config(), {**changes, "eval.batch_size": 16})


@torch.no_grad()
def features_of(encoder, dataset, config):
    batch = {"sounds": torch.from_numpy(dataset.sounds)}
    return encoder.eval()(fine_tuning.side_inputs(batch, "audio", config)).amax((2, 3)).numpy()


def clips_of(dataset):
    kind = np.arange(len(dataset)) % 2
    return LabelledClips(dataset, [[k] for k in range(len(dataset))], kind[:, None] == [0, 1])


def test_without_an_epoch_it_is_the_linear_probe(config):
    encoder, clips = Encoder(), clips_of(Tones(20))
    features = features_of(encoder, clips.dataset, config)
    probe = fit_probe(features, clips.truth, None)
    model = EncoderClassifier(encoder, probe)
    (found,) = FineTuner(config, {}, 0).score([Candidate(model, "audio", 1e-3, "fp32")], clips)
    assert np.allclose(found, probe.log_odds(features), rtol=1e-4, atol=1e-5)


def test_it_learns_what_the_probe_cannot_read_and_leaves_the_encoder_alone(config, monkeypatch):
    monkeypatch.setattr(fine_tuning, "EPOCHS", 25)
    monkeypatch.setattr(fine_tuning, "LEARNING_RATES", (1e-5, 1e-2))
    encoder, train, choose, test = Encoder(), *(clips_of(Tones(count, count)) for count in (64, 24, 40))
    before = copy.deepcopy(encoder.state_dict())
    features = [features_of(encoder, part.dataset, config) for part in (train, choose)]
    found = []
    for _ in range(2):
        tuner = FineTuner(config, {}, 0)
        (tuned,) = fine_tune(tuner, {"audio": Start(encoder, *features)}, train, choose)
        found.append(tuner.score([tuned], test)[0])
    assert np.array_equal(*found)  # the same again
    assert tuned.rate == 1e-2 and tuned.epochs > 0
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    probe = fit_probe(features[0], train.truth, (features[1], choose.truth))
    shares = [
        (scores.argmax(1) == test.truth.argmax(1)).mean()
        for scores in (found[0], probe.log_odds(features_of(encoder, test.dataset, config)))
    ]
    assert shares[0] > 0.9 and shares[0] > shares[1] + 0.1


@pytest.mark.parametrize("keep", [True, False])
def test_kept_batch_norm_statistics_stay(config, keep):
    encoder, clips = Encoder(), clips_of(Tones(8))
    model = EncoderClassifier(encoder, fit_probe(features_of(encoder, clips.dataset, config), clips.truth, None), keep)
    FineTuner(config, {}, 0).train([Candidate(model, "audio", 1e-3, "fp32")], clips, 1)
    assert torch.equal(model.encoder[1].running_mean, encoder[1].running_mean) == keep
    assert not torch.equal(model.encoder[0].weight, encoder[0].weight)


def test_a_file_counts_once_whatever_its_length(config):
    encoder, dataset = Encoder(), Tones(6)
    truth = np.array([[True, False], [False, True]])
    clips = LabelledClips(dataset, [[0, 2, 4], [1]], truth)
    features = features_of(encoder, dataset, config)
    means = np.stack([features[[0, 2, 4]].mean(0), features[1]])
    probe = fit_probe(features, clips_of(dataset).truth, None)
    candidate = Candidate(EncoderClassifier(encoder, probe), "audio", 1e-3, "fp32")
    (found,) = FineTuner(config, {}, 0).score([candidate], clips)
    assert np.allclose(found, probe.log_odds(means), rtol=1e-4, atol=1e-5)
    drawn = []
    candidate.learn = lambda inputs, truth: drawn.append(len(inputs))
    FineTuner(config, {}, 0).train([candidate], clips, 3)
    assert drawn == [2, 2, 2]


class Pictures(SampleDataset):
    """Frames of noise."""

    def __init__(self, count):
        self.frames = np.random.default_rng(0).integers(0, 256, (count, 36, 36, 3)).astype(np.uint8)

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, key):
        return make_sample(self.frames[key[1]], np.zeros(1, np.int16), key[1])


def test_scores_are_means_over_frames_and_their_mirror_images(config):
    config = override(config, {"data.frame_size": 36, "data.resize_size": 36})
    torch.manual_seed(0)
    encoder, dataset = nn.Conv2d(3, 4, 5).eval(), Pictures(6)
    inputs = fine_tuning.side_inputs({"frames": torch.from_numpy(dataset.frames)}, "vision", config)
    with torch.no_grad():
        plain, mirrored = (encoder(one).amax((2, 3)).numpy() for one in (inputs, inputs.flip(-1)))
    clips = clips_of(dataset)
    probe = fit_probe(plain, clips.truth, None)
    candidate = Candidate(EncoderClassifier(encoder, probe), "vision", 1e-3, "fp32")
    (alone,) = FineTuner(config, {}, 0).score([candidate], clips)
    (both,) = FineTuner(config, {}, 0, lambda frames: frames.flip(-1)).score([candidate], clips)
    np.testing.assert_allclose(alone, probe.log_odds(plain), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both, probe.log_odds((plain + mirrored) / 2), rtol=1e-4, atol=1e-5)
    assert np.abs(both - alone).max() > 1e-3


# ------------------------------------------------------------------------------------------------ by the command


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt")


def run(net, out, *words):
    eval.main(["--checkpoint", str(net), "--out", str(out), *map(str, words), "--train.workers", "0"])
    metrics = json.loads((out / "metrics.json").read_text())
    assert undeclared(metrics) == []
    return metrics


def test_of_a_split_each_side_stands_beside_chance_and_the_probe(net, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuning, "EPOCHS", 2)
    root = make_dataset(tmp_path / "data", train=24, val=6, test=6, classes=3)
    metrics = run(net, tmp_path / "out", "--data.root", root, "--tasks", "probe", "finetune", "--untrained")
    printed, found, probe = capsys.readouterr().out, metrics["finetune"], metrics["probe"]
    assert (found["train_clips"], found["test_clips"], found["unlabelled"]) == (24, 6, 0)
    for side in ("audio", "vision"):
        for one, other in ((found, probe), (found["untrained"], probe["untrained"])):
            assert one[side]["map_probe"] == other[side]["map"] and one[side]["top1_probe"] == other[side]["top1"]
            assert one[side]["chance"] == other[side]["chance"] and one[side]["classes"] == 3
            assert one[side]["lr"][0] in fine_tuning.LEARNING_RATES and 0 <= one[side]["epochs"][0] <= 2
            assert 0 <= one[side]["map_error"] < 1
        assert 0 <= found[side]["map"] <= 1
    lines = text_table.section_lines(FINETUNE, found, "AVENet")
    row = next(k for k, line in enumerate(lines) if line.split()[0] == "audio")
    shown = [f"{found['audio'][name]:.3f}" for name in ("map_probe", "top1_probe")]
    assert lines[row + 3].split() == ["linear", "probe", *shown] and lines[row + 3] in printed
    assert "linear probe" in (tmp_path / "out" / "report.html").read_text()


def test_the_command_does_not_change_the_net(net, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "EPOCHS", 1)
    root = make_dataset(tmp_path / "data", train=6, val=4, test=4, classes=2)
    loaded = load_trained_net(net, {"data.root": str(root), "train.workers": 0})
    before = copy.deepcopy(loaded.model.state_dict())
    monkeypatch.setattr(eval, "load_trained_net", lambda *args: loaded)
    run(net, tmp_path / "out", "--tasks", "finetune")
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert not loaded.model.training and all(one.requires_grad for one in loaded.model.parameters())


def test_clips_that_cannot_be_read_and_clips_without_labels_are_counted(net, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "EPOCHS", 1)
    root = make_dataset(tmp_path / "data", train=12, val=4, test=6, classes=3)
    (root / "train" / "audio" / "train_0001.wav").write_bytes(b"RIFF")
    for split, unlabelled in (("train", [0]), ("val", range(4)), ("test", [2])):
        labels = json.loads((root / split / "vid2genre.json").read_text())
        write_genres(root / split, labels | {f"{split}_{k:04d}": [] for k in unlabelled})
    words = ("--data.root", root, "--data.on_error", "skip", "--tasks", "probe", "finetune")
    metrics = run(net, tmp_path / "out", *words)
    for name in ("probe", "finetune"):
        found = metrics[name]
        assert (found["train_clips"], found["test_clips"], found["unlabelled"]) == (10, 5, 1)
    # Without labels in val, a fifth of train chooses, of the probe too.
    assert metrics["finetune"]["audio"]["map_probe"] == metrics["probe"]["audio"]["map"]
    (note,) = (note for note in metrics["notes"] if "of train and val" in note)
    assert " 1 clip " in note and "train_0001" in note


def test_a_folder_of_classes_has_the_mean_and_the_spread_over_its_folds(net, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "EPOCHS", 1)
    folder = tmp_path / "classes"
    for kind, name in enumerate(("hum", "hiss")):
        for k in range(6):
            wave = tone(2.1, 8000, 200 + 20 * k) if kind == 0 else np.random.default_rng(k).uniform(-0.3, 0.3, 16800)
            write_sound(folder / name / f"{k}.wav", wave, 8000)
    metrics = run(net, tmp_path / "out", "--probe_folder", folder, "--tasks", "finetune")
    assert "probe" not in metrics
    found = metrics["finetune"]
    assert (found["folds"], found["files"]) == (5, 12) and "vision" not in found
    audio = found["audio"]
    assert audio["top1"] > 0.8 and audio["files"] == 12
    assert 0 <= audio["top1_spread"] < 0.5 and len(audio["lr"]) == len(audio["epochs"]) == 5
    beside = run(net, tmp_path / "probe", "--probe_folder", folder)["probe"]["audio"]
    assert (audio["map_probe"], audio["top1_probe"]) == (beside["map"], beside["top1"])
    assert audio["chance"] == beside["chance"]
