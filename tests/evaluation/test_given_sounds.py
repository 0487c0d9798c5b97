"""eval.py --write_mixtures and --separated: another program separates our mixtures, and we measure what it made."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from given_results import SETTINGS, words
from helpers import make_dataset

import eval as script
from configs.schema import Config
from evaluation.measures.registry import undeclared
from models import build_net
from utils import checkpoint
from utils.config import CONFIG_VERSION, override, to_dict
from utils.errors import UserError

CONFIG = {
    "config": "configs/demo_PixelPlayer.py", "mix.samples": 8159, "mix.n_fft": 510, "mix.hop": 255,
    "mix.freq_bins": 32, "mix.frames": 1, "model.unet_depth": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=0, val=0, test=6, boxes=False)


def run(root, out, **options):
    own = {name: value for name, value in SETTINGS.items() if not name.startswith("spec")}
    return script.main(words({**own, **CONFIG, "data.root": root, "out": out, **options}))


@pytest.fixture
def mixtures(root, tmp_path):
    """The written mixtures, and the true sounds as everything that a perfect program would write."""
    folder = run(root, tmp_path / "none", write_mixtures=tmp_path / "mixtures")
    rows = list(csv.reader((folder / "mixtures.csv").open()))
    assert rows[0] == ["folder", "clip_1", "clip_2"] and len(rows) > 3
    for name, *clips in rows[1:]:
        mixture, rate = soundfile.read(folder / name / "mixture.wav")
        assert mixture.shape == (8159,) and rate == 8000 and (folder / name / "frame_2.png").exists()
        for k, clip in enumerate(clips, 1):
            sound, _ = soundfile.read(root / "test" / "audio" / f"{clip}.wav")
            start = round((len(sound) - 8159) / 2)
            soundfile.write(folder / name / f"pred_{k}.wav", sound[start : start + 8159] / 2, 8000, "FLOAT")
        parts = [soundfile.read(folder / name / f"pred_{k}.wav")[0] for k in (1, 2)]
        assert np.abs(sum(parts) - mixture).max() < 2e-4  # what is to be separated is their sum
    return folder, rows[1:]


def test_true_sounds_are_perfect_and_the_mixture_itself_gains_nothing(root, mixtures, tmp_path):
    folder, rows = mixtures
    found = run(root, tmp_path / "true", separated=folder)["separation"]
    assert found["pairs"] == len(rows) and found["sdr"] > 40 and found["nsdr"] > 30
    for name, *_ in rows:
        mixture, rate = soundfile.read(folder / name / "mixture.wav")
        for k in (1, 2):
            soundfile.write(folder / name / f"pred_{k}.wav", mixture, rate)
    metrics = run(root, tmp_path / "same", separated=folder)
    assert undeclared(metrics) == [] and abs(metrics["separation"]["nsdr"]) < 0.5
    assert (tmp_path / "same" / "separation" / "0001" / "mask_1.png").exists()
    assert "separation/0001/pred_1.wav" in (tmp_path / "same" / "report.html").read_text()


def test_the_sounds_of_a_net_give_its_own_figures(root, mixtures, tmp_path):
    """Its estimates as wavs, of the 6 mixtures that eval.py writes as examples."""
    settings = {name: value for name, value in CONFIG.items() if name != "config"}
    small = {"model.name": "PixelPlayer", "model.width": 4, "model.sound_width": 4, "model.num_channels": 4}
    config = override(Config(), {**SETTINGS, "data.cache_gb": 0, **small, **settings})
    content = {"config": to_dict(config), "config_version": CONFIG_VERSION, "ema": None, "step": 0, "metrics": {}}
    torch.manual_seed(0)
    net = tmp_path / "best.pt"
    checkpoint.save(net, content | {"model": build_net(config.model).state_dict()})
    wanted = script.main(words({"checkpoint": net, "data.root": root, "train.workers": 0, "out": tmp_path / "own"}))
    folder, rows = mixtures
    for name, *_ in rows:
        for k in (1, 2):
            own = tmp_path / "own" / "separation" / name / f"pred_{k}.wav"
            (folder / name / f"pred_{k}.wav").write_bytes(own.read_bytes())
    found = run(root, tmp_path / "out", separated=folder)
    assert found["separation"]["sdr"] == pytest.approx(wanted["separation"]["sdr"], abs=0.05)  # wavs of 16 bits
    assert found["separation"]["sdr_mixture"] == pytest.approx(wanted["separation"]["sdr_mixture"], rel=1e-6)


def test_missing_doubled_and_unknown_mixtures_are_named(root, mixtures, tmp_path, capsys):
    folder, rows = mixtures
    (folder / rows[0][0] / "pred_2.wav").unlink()
    with (folder / "mixtures.csv").open("a") as file:
        file.write(f"{','.join(rows[1])}\n0099,elsewhere,nowhere\n")
    found = run(root, tmp_path / "out", separated=folder)
    first, second = "+".join(rows[0][1:]), "+".join(rows[1][1:])
    assert found["given"] | {"file": ""} == {
        "kind": "separated", "file": "", "missing": 1, "missing_mixtures": [first], "doubled": 1,
        "doubled_mixtures": [second], "unknown": 1, "unknown_mixtures": ["elsewhere+nowhere"],
    }  # fmt: skip
    assert found["separation"]["pairs"] == len(rows) - 1 and found["separation"]["unreadable"] == 0
    assert first in capsys.readouterr().err and first in (tmp_path / "out" / "report.html").read_text()


def test_sources_may_be_listed_in_another_order(root, mixtures, tmp_path):
    folder, rows = mixtures
    pairs = {tuple(clips) for _, *clips in rows}
    lines = [[name, second, first] for name, first, second in rows if (second, first) not in pairs]
    (folder / "mixtures.csv").write_text("".join(f"{','.join(line)}\n" for line in lines))
    swapped = run(root, tmp_path / "out", separated=folder)["separation"]
    assert swapped["sdr"] < 5  # each now holds the other's sound


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (np.zeros(8159), 16000, "has 16000 Hz and must have 8000"),
        (np.zeros(8000), 8000, "has 8000 samples in 1 channels and must have 8159 in one"),
        (np.zeros((8159, 2)), 8000, "has 8159 samples in 2 channels"),
        (np.full(8159, np.nan), 8000, "has a NaN or infinity"),
        (None, 8000, "can't be read as a wav"),
    ],
)
def test_a_wrong_sound_is_one_sentence(sound, rate, message, root, mixtures, tmp_path):
    path = mixtures[0] / mixtures[1][2][0] / "pred_1.wav"
    path.write_bytes(b"no wav") if sound is None else soundfile.write(path, sound, rate, "FLOAT")
    with pytest.raises(UserError, match=message) as raised:
        run(root, tmp_path / "out", separated=mixtures[0])
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "there is no .*mixtures.csv: write the mixtures with"),
        ("0001,a\n", "line 1 must name a folder and 2 different clips"),
        ("folder,clip_1,clip_2\n0001,a,a\n", "line 2 must name a folder and 2 different clips"),
        ("../out,a,b\n", "line 1 names '../out': its folders must lie in"),
        ("folder,clip_1,clip_2\n", "has the separated sounds of no mixture"),
        ("0001,a,b\n", "has the separated sounds of no mixture"),
        ("0001," + "a" * 200_000, "is no table .field larger than field limit"),
    ],
)
def test_a_wrong_table_is_one_sentence(table, message, root, tmp_path):
    (tmp_path / "sounds").mkdir()
    if table is not None:
        (tmp_path / "sounds" / "mixtures.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        run(root, tmp_path / "out", separated=tmp_path / "sounds")


def test_mixtures_of_clips_that_are_too_short_are_refused_with_the_reason(tmp_path):
    root = make_dataset(tmp_path / "data", train=0, val=0, test=2, seconds=1.0)
    with pytest.raises(UserError, match=r"no mixture of .*test can be written \(.*shorter than .*: choose other clips"):
        run(root, tmp_path / "none", write_mixtures=tmp_path / "mixtures")
    assert not (tmp_path / "mixtures" / "mixtures.csv").exists()
