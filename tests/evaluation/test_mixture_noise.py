"""Separation with noise that isn't asked for, and of mixtures by list: what is mixed, measured and said."""

import hashlib
import json
import warnings

import numpy as np
import pytest
import soundfile
import torch
from helpers import MIDS, make_clip, make_dataset, tone, write_genres, write_sound
from mir_eval.separation import bss_eval_sources

import eval as script
from evaluation.measures.bss_eval import bss_eval
from evaluation.measures.registry import undeclared
from evaluation.measures.separation import score_pair, si_sdr
from evaluation.tasks.mixture_noise import draw_noise
from utils.errors import UserError

RATE = 8000
SETTINGS = {
    "data.sample_rate": RATE, "data.resize_size": 36, "data.frame_size": 32, "mix.samples": 8159, "mix.n_fft": 510,
    "mix.hop": 255, "mix.freq_bins": 32, "mix.frames": 1, "model.width": 4, "model.sound_width": 4,
    "model.num_channels": 4, "model.unet_depth": 3, "train.workers": 0, "model.name": "PixelPlayer",
    "mix.mask": "soft",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = make_dataset(tmp_path_factory.mktemp("data") / "clips", train=2, val=2, test=6, boxes=False)
    for file in root.glob("test/audio/*.wav"):
        write_sound(file, tone(1.5, RATE, (310, 790, 1730)[int(file.stem[-4:]) % 3], amplitude=0.3), RATE)
    return root


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Four clips of hiss, of a class that the mixtures don't have, and one of a class that they have."""
    root = tmp_path_factory.mktemp("noise") / "hiss"
    for k in range(4):
        hiss = np.random.default_rng(k).uniform(-0.3, 0.3, 14000 + 1000 * k)
        make_clip(root / "test", f"hiss{k}", 1.5, rate=RATE, sound=hiss)
    make_clip(root / "test", "same", 1.5, rate=RATE)
    write_genres(root / "test", {f"hiss{k}": [MIDS[5]] for k in range(4)} | {"same": [MIDS[0]]})
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from configs.schema import Config
    from models import build_net
    from utils import checkpoint
    from utils.config import CONFIG_VERSION, override, to_dict

    path, config = tmp_path_factory.mktemp("net") / "best.pt", override(Config(), SETTINGS)
    torch.manual_seed(0)
    content = {
        "config": to_dict(config),
        "config_version": CONFIG_VERSION,
        "model": build_net(config.model).state_dict(),
    }
    del content["config"]["mix"]["noise_root"]  # as of a run before there was noise
    checkpoint.save(path, content | {"ema": None, "step": 0, "metrics": {}})
    return path


def run(checkpoint, out, **settings):
    words = {"--checkpoint": checkpoint, "--out": out}
    words |= {f"--{name.replace('__', '.')}": value for name, value in settings.items()}
    script.main([str(word) for pair in words.items() for word in pair])
    metrics = json.loads((out / "metrics.json").read_text())
    assert undeclared(metrics) == []
    return metrics, json.loads((out / "separation" / "pairs.json").read_text())


def test_a_clip_of_another_dataset_is_in_each_mixture_and_only_the_first_source_is_measured(
    checkpoint, data, noise, tmp_path, capsys
):
    metrics, pairs = run(checkpoint, tmp_path / "out", data__root=data, mix__noise_root=noise)
    found = metrics["separation"]
    assert found["noise"] == str(noise) and f"noise of {noise}, the first source alone" in capsys.readouterr().out
    assert found["pairs"] + found["skipped"] == len(pairs) == 6
    assert {pair["noise"] for pair in pairs} <= {f"hiss{k}" for k in range(4)}  # none of a mixture's classes
    for k, pair in enumerate(pairs):
        folder = tmp_path / "out" / "separation" / pair["folder"]
        names = ("mixture", "true_1", "true_2", "noise", "pred_1")
        sounds = {name: soundfile.read(folder / f"{name}.wav")[0] for name in names}
        assert not (folder / "true_3.wav").exists()
        wave, _ = soundfile.read(noise / "test" / "audio" / f"{pair['noise']}.wav")
        middle = wave[round((len(wave) - 8159) / 2) :][:8159]
        assert np.abs(middle / 3 - sounds["noise"]).max() < 3e-4  # as loud as the others
        truths = np.stack([sounds[name] for name in ("true_1", "true_2", "noise")])
        assert np.abs(truths.sum(0) - sounds["mixture"]).max() < 3e-4
        if k > 1:  # mir_eval takes a second
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            others = np.stack([sounds["pred_1"], truths[1], truths[2]])
            sdr, sir, *_ = bss_eval_sources(truths, others, compute_permutation=False)
        # The wavs are rounded to 16 bits; the net is not trained, and its estimates have hardly any artifacts.
        assert (pair["sdr"], pair["sir"]) == pytest.approx((sdr[0], sir[0]), abs=0.15) and pair["sar"] > 40
        assert pair["si_sdr"] == pytest.approx(float(si_sdr(truths[0], sounds["pred_1"])), abs=0.05)
    plain, _ = run(checkpoint, tmp_path / "plain", data__root=data)
    assert "noise" not in plain["separation"] and plain["separation"]["sdr_mixture"] > found["sdr_mixture"]


def test_the_first_of_three_sources_is_judged_as_mir_eval_judges_it_among_all():
    random = np.random.default_rng(0)
    truths = random.standard_normal((3, 4000))
    estimates = truths + 0.3 * truths.sum(0) + 0.1 * random.standard_normal((3, 4000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.stack(bss_eval_sources(truths, estimates, compute_permutation=False)[:3])
    for judged in (1, 2, 3):
        assert np.abs(np.stack(bss_eval(truths, estimates[:judged])) - expected[:, :judged]).max() < 1e-6
    score = score_pair({"truths": truths, "mixture": truths.sum(0), "estimates": estimates[:1]})
    assert score.ratios["estimates"][:3] == pytest.approx(tuple(expected[:, 0]), abs=1e-6)
    with pytest.raises(ValueError, match="don't match"):
        bss_eval(truths[:2], estimates)


class Labels:
    def __init__(self, *labels):
        self.labels, self.folder = [[one] for one in labels], "FOLDER"

    def __len__(self):
        return len(self.labels)


def test_noise_has_no_class_of_its_mixture_and_each_clip_is_taken_about_as_often():
    other = Labels(*"aabbccdd")
    drawn = draw_noise([{"a", "x"}] * 200, other)
    counts = np.bincount(drawn, minlength=8)
    assert not counts[:2].any() and counts[2:].min() >= 200 // 8 and drawn == draw_noise([{"a", "x"}] * 200, other)
    with pytest.raises(UserError, match="FOLDER has no clip without the classes a, b"):
        draw_noise([{"a", "b"}], Labels(*"aabb"))


def test_noise_of_the_dataset_itself_or_too_short_is_a_sentence(checkpoint, data, noise, tmp_path):
    with pytest.raises(UserError, match=r"mix\.noise_root is .* as data.root: give another"):
        run(checkpoint, tmp_path / "out", data__root=data, mix__noise_root=data)
    make_clip(tmp_path / "short" / "test", "brief", 1.01, rate=RATE)
    write_genres(tmp_path / "short" / "test", {"brief": [MIDS[5]]})
    settings = {"data__root": data, "mix__noise_root": tmp_path / "short"}
    with pytest.raises(UserError, match="shorter than a mixture"):
        run(checkpoint, tmp_path / "out", **settings)
    metrics, pairs = run(checkpoint, tmp_path / "out", **settings, data__on_error="skip")
    assert pairs == [] and metrics["separation"]["unreadable"] == 6
    assert list(metrics["skipped_clips"]) == [f"{tmp_path / 'short' / 'test'}/brief"]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_duets_by_list_are_measured_and_the_list_is_named(checkpoint, data, tmp_path, form, capsys):
    duets = [("test_0000", "test_0001"), ("test_0005", "test_0004"), ("test_0002", "test_0000")]
    text = "".join(f"/flute/{one}.wav, /cello/{other}.wav\n" for one, other in duets)
    if form == "csv":
        text += "/flute/gone.wav, /cello/test_0000.wav\n"
    file = tmp_path / f"duets.{form}"
    file.write_text(text if form == "csv" else json.dumps(duets))
    metrics, pairs = run(checkpoint, tmp_path / "out", data__root=data, mix__pairs=file)
    assert sorted(tuple(pair["clips"]) for pair in pairs) == sorted(duets)
    lines = "".join(f"{one},{other}\n" for one, other in [*duets, *([("gone", "test_0000")] if form == "csv" else [])])
    about = {"file": file.name, "mixtures": len(duets) + (form == "csv"), "missing": int(form == "csv")}
    about["sha256"] = hashlib.sha256(lines.encode()).hexdigest()
    assert metrics["separation"]["list"] == about
    assert any(file.name in note and about["sha256"] in note for note in metrics["notes"])
    assert about["sha256"] in capsys.readouterr().out
