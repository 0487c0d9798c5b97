"""The Sound of Pixels from end to end, as a user runs it: train, stop, resume, evaluate, on a few tiny clips."""

import json
import shutil
import signal

import numpy as np
import pytest
import soundfile
from helpers import make_dataset, tone, write_genres, write_sound
from kill_and_resume import command, compare, train_command
from PIL import Image
from processes import together
from training import one_sentence, stop_at

import train_PixelPlayer
from evaluation.measures.registry import undeclared
from utils import checkpoint
from utils.run import read_log

SETTINGS = {
    "data.frame_size": 32, "data.resize_size": 36, "data.sample_rate": 8000, "data.cache_gb": 0.02,
    "mix.samples": 8159, "mix.n_fft": 510, "mix.hop": 255, "mix.freq_bins": 32,
    "model.width": 4, "model.sound_width": 4, "model.num_channels": 4, "model.unet_depth": 3,
    "train.batch_size": 4, "train.epochs": 4, "train.workers": 1, "train.save_every": 3, "train.log_every": 1,
    "train.validate_every": 2, "train.ema": 0.9, "train.avc_warmup": 0.25,
}  # fmt: skip
WORDS = {"script": "train_PixelPlayer.py", "config": "configs/demo_PixelPlayer.py"}
STEPS = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes that share no frequency, so that ideal masks part them well."""
    root = make_dataset(tmp_path_factory.mktemp("data") / "clips", train=16, val=6, test=6, boxes=False)
    for file in root.glob("*/audio/*.wav"):
        write_sound(file, tone(1.5, 8000, (310, 790, 1730)[int(file.stem[-4:]) % 3], amplitude=0.3), 8000)
    return root


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory, script):
    """A run of STEPS steps that nothing has stopped."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    done = script(train_command(data, folder, SETTINGS, **WORDS))
    assert done.returncode == 0 and f"eval.py --checkpoint {folder / 'best.pt'}" in done.stdout, done.stderr
    return folder


def test_training_writes_a_run_that_says_how_well_it_parts(whole):
    log = read_log(whole)
    assert [line["step"] for line in log if line["kind"] == "train"] == list(range(1, STEPS + 1))
    masks = [line["step"] for line in log if line["kind"] == "train" and "mask_difference" in line]
    assert masks == list(range(5, STEPS + 1))  # after a quarter of the run in which matches are learned alone
    assert all("avc_accuracy" in line for line in log if line["kind"] == "train")
    validated = [line for line in log if line["kind"] == "val"]
    assert [line["step"] for line in validated] == [8, 16]
    for line in validated:
        assert line["gain_ideal"] > 5 and line["gain"] < line["gain_ideal"] and line["gain_error"] > 0
    assert checkpoint.load(whole / "best.pt")["config"]["model"]["name"] == "PixelPlayer"
    pairs = json.loads((whole / "val_pairs.json").read_text())
    assert len(pairs) == 6 and all(one != other and one.startswith("val_") for one, other in pairs)


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_bit_for_bit_the_same(data, whole, tmp_path, script):
    parts = tmp_path / "parts"
    words = train_command(data, parts, SETTINGS, **WORDS)
    assert stop_at(script, 5, signal.SIGTERM, words, parts).returncode == 130
    assert checkpoint.load(parts / "last.pt")["step"] < STEPS
    done = script([*words, "--resume"])
    assert done.returncode == 0, done.stderr
    assert compare(whole, parts) == []


def test_evaluation_measures_and_writes_sounds_and_pictures(data, whole, tmp_path, script):
    done = script(command("eval.py", {"checkpoint": whole / "best.pt", "out": tmp_path}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["model"] == "PixelPlayer" and metrics["clips"] == 6 and "avc" not in metrics
    assert undeclared(metrics) == []
    found = metrics["separation"]
    assert found["pairs"] + found["skipped"] == 6 and found["unreadable"] == 0
    assert found["nsdr_ideal_binary"] > 5 and found["nsdr_ideal_ratio"] > 5
    assert found["nsdr"] == pytest.approx(found["sdr"] - found["sdr_mixture"])
    assert 0 <= found["swap_consistency"] <= 1 and 0 <= found["sir_above_mixture"] <= 1
    for word in ("NSDR", "ideal binary", "ideal ratio", "mixture"):
        assert word in done.stdout

    pairs = json.loads((tmp_path / "separation" / "pairs.json").read_text())
    assert len(pairs) == 6
    for pair in pairs:
        assert len(set(pair["clips"])) == 2 and len(set(pair["classes"])) == 2
        folder = tmp_path / "separation" / pair["folder"]
        sounds = {name: soundfile.read(folder / f"{name}.wav")[0] for name in ("mixture", "true_1", "true_2", "pred_1")}
        assert len(sounds["pred_1"]) == 8159
        assert np.abs(sounds["true_1"] + sounds["true_2"] - sounds["mixture"]).max() < 3e-4
        wave, rate = soundfile.read(data / "test" / "audio" / f"{pair['clips'][0]}.wav")
        middle = wave[(len(wave) - 8159) // 2 :][:8159]
        assert rate == 8000 and np.abs(middle / 2 - sounds["true_1"]).max() < 3e-4
        sizes = {name: Image.open(folder / f"{name}.png").size for name in ("spectrogram_2", "true_mask_1", "mask_2")}
        assert set(sizes.values()) == {(64, 64)}
        assert Image.open(folder / "frame_energy_2.png").size == (224, 224)
    judged = [pair for pair in pairs if "nsdr" in pair]
    assert np.mean([pair["nsdr"] for pair in judged]) == pytest.approx(found["nsdr"], abs=1e-3)


def test_a_users_own_mixtures_are_measured(whole, tmp_path, script):
    file = tmp_path / "mine.json"
    file.write_text('[["test_0000", "test_0001"], ["test_0002", "test_0004"]]')
    done = script(command("eval.py", {"checkpoint": whole / "best.pt", "out": tmp_path / "out", "mix.pairs": file}))
    assert done.returncode == 0, done.stderr
    pairs = json.loads((tmp_path / "out" / "separation" / "pairs.json").read_text())
    assert [pair["clips"] for pair in pairs] == json.loads(file.read_text())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.name": "AVENet"}, "--model.name PixelPlayer"),
        ({"mix.samples": 16319}, "shorter than a mixture of 2.04 s"),
        ({"mix.pairs": "nowhere.json"}, "nowhere.json is missing"),
        ({"model.vision_weights": "nowhere.pth", "model.width": 64, "model.vision": "resnet18"}, "nowhere.pth"),
    ],
)
def test_a_mistake_is_one_sentence(data, tmp_path, script, changes, said):
    done = script(train_command(data, tmp_path / "run", SETTINGS | {"train.workers": 0} | changes, **WORDS))
    one_sentence(done, said)


def test_other_scripts_refuse_the_net_in_one_sentence(data, whole, tmp_path, script):
    done = script(train_command(data, tmp_path / "run", SETTINGS, **(WORDS | {"script": "train_AVENet.py"})))
    one_sentence(done, "train_PixelPlayer.py")
    done = script(command("eval.py", {"checkpoint": whole / "best.pt"}, "--tasks", "avc"))
    one_sentence(done, "separation")


def test_clips_that_cannot_be_read_are_skipped_and_counted(data, whole, tmp_path, script):
    shutil.copytree(data, tmp_path / "clips")
    (tmp_path / "clips/test/audio/test_0002.wav").write_bytes(b"RIFF")
    write_genres(tmp_path / "clips/test", json.loads((data / "test/vid2genre.json").read_text()))
    settings = {"checkpoint": whole / "best.pt", "data.root": tmp_path / "clips", "out": tmp_path / "out"}
    one_sentence(script(command("eval.py", settings)), "test_0002")
    done = script(command("eval.py", settings | {"data.on_error": "skip"}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["skipped"] == 1 and metrics["separation"]["unreadable"] == 2


def test_two_processes_train_together_and_measure_all_mixtures(data, whole, tmp_path):
    settings = SETTINGS | {"train.workers": 0, "train.epochs": 2}
    ended = together(
        2, tmp_path / "out", train_PixelPlayer.main, train_command(data, tmp_path / "run", settings, **WORDS)[2:]
    )
    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    alone, both = (
        [line for line in read_log(folder) if line["kind"] == "val"][-1]["gain_ideal"]
        for folder in (whole, tmp_path / "run")
    )
    assert both == pytest.approx(alone, rel=1e-4)
    settings = settings | {"mix.sources": 3}
    ended = together(
        2, tmp_path / "few", train_PixelPlayer.main, train_command(data, tmp_path / "three", settings, **WORDS)[2:]
    )
    assert [one.code for one in ended] == [2, 2] and "in each process a mixture has (mix.sources) 3 clips" in "".join(
        one.err for one in ended
    )
