"""separate.py on videos of two colored halves, each with a tone, and a net that assigns the tones to the colors."""

import json

import av
import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from helpers import small_checkpoint, tone, write_sound, write_video
from kill_and_resume import command
from PIL import Image
from training import one_sentence

import separate
from configs.demo_PixelPlayer import config as demo
from dataset.reading.audio import resample
from evaluation import pixel_separator
from evaluation.measures import clustering
from evaluation.pixel_separator import chunk_starts
from evaluation.report import source_figures
from evaluation.trained_net import TrainedNet
from models import build_net
from models.pixelplayer import PixelPlayer
from utils import checkpoint
from utils.config import override, to_dict
from utils.errors import UserError

RATE = 11025
LOW, HIGH = 300, 2500  # Hz
SMALL = {
    "data.sample_rate": RATE,
    "mix.samples": 20479,
    "mix.n_fft": 1022,
    "mix.hop": 320,
    "mix.mask": "binary",
    "model.detail": False,
    "model.width": 4,
    "model.sound_width": 4,
    "model.num_channels": 4,
    "data.frame_size": 64,
    "data.resize_size": 64,
}
RED, GREY, BLUE = (220, 30, 30), (120, 120, 120), (30, 30, 220)
NAMES = ["clusters.mp4", "energy.mp4", "mixture.wav", "overview.png", "separation.json", "source_1.wav", "source_2.wav"]


class ColorNet(PixelPlayer):
    """Gives low frequencies to red locations, high ones to blue ones."""

    def pixel_features(self, frames):
        colors = F.avg_pool2d(frames, 16)  # (B, 3, h, w)
        difference = colors[:, 0] - colors[:, 2]
        return torch.stack([difference > 1, difference < -1], 1).float()

    def sound_maps(self, spectrograms):
        high = torch.linspace(-10, 10, spectrograms.shape[2])[:, None].expand(spectrograms.shape[2:])
        return torch.stack([-high, high])[None].expand(len(spectrograms), -1, -1, -1)


@pytest.fixture
def knowing(monkeypatch):
    """A net that separates red from blue, instead of a checkpoint."""
    config = override(demo, {"model.num_channels": 2, **{k: v for k, v in SMALL.items() if k != "model.num_channels"}})
    net = ColorNet(2, 4, 4, 6).eval()
    torch.nn.init.constant_(net.synthesizer.bias, -1)  # grey locations get no sound
    monkeypatch.setattr(separate, "load_trained_net", lambda path, changes: TrainedNet(net, config, {}, str(path)))
    return net


def make_video(path, seconds=4.0, sound=True, fps=10):
    """Red on the left with a low tone, blue on the right with a high one, grey in between: 128 x 64 pixels."""
    picture = np.full((64, 128, 3), GREY, np.uint8)
    picture[:, :32], picture[:, 96:] = RED, BLUE  # the outer of the net's 4 locations
    low, high = (tone(seconds, 16000, pitch, 0.2) for pitch in (LOW, HIGH))
    write_video(path, [picture] * round(seconds * fps), fps, sound=low + high if sound else None)
    return path


def words(video, out, *more):
    return ["--checkpoint", "net.pt", "--video", str(video), "--out", str(out), *more]


def level(sound, pitch):
    """The amplitude of a tone in the middle of a sound."""
    part = sound[2000:-2000]
    return 2 * np.abs(np.mean(part * np.exp(-2j * np.pi * pitch / RATE * np.arange(len(part)))))


def read(path):
    sound, rate = soundfile.read(path)
    assert rate == RATE and soundfile.info(path).subtype == "PCM_16"
    return sound


def test_each_given_location_gets_its_own_tone_for_the_whole_video(knowing, tmp_path):
    video, out = make_video(tmp_path / "a.mp4", 5.0), tmp_path / "out"
    separate.main(words(video, out, "--at", "0.9,0.5", "0.1,0.5"))
    high, low, mixture = (read(out / name) for name in ("source_1.wav", "source_2.wav", "mixture.wav"))
    assert len(high) == len(low) == len(mixture) == pytest.approx(5.0 * RATE, abs=0.1 * RATE)
    assert level(low, LOW) == pytest.approx(0.2, abs=0.02) and level(low, HIGH) < 0.002
    assert level(high, HIGH) == pytest.approx(0.2, abs=0.02) and level(high, LOW) < 0.002
    assert np.abs(low + high - mixture)[1000:-1000].max() < 0.02  # no seams where the segments meet
    assert json.loads((out / "separation.json").read_text())["sources"]["source_1.wav"]["at"] == [0.9, 0.5]


def test_without_locations_both_sources_are_located(knowing, tmp_path, capsys):
    out = tmp_path / "out"
    separate.main(words(make_video(tmp_path / "a.mp4"), out))
    assert {path.name for path in out.iterdir()} == {*NAMES, "spectrograms.png"}
    sources = json.loads((out / "separation.json").read_text())["sources"]
    x = {level(read(out / name), LOW) > 0.1: source["at"][0] for name, source in sources.items()}
    assert x[True] < 0.25 and x[False] > 0.75  # the low tone is where it is red, the high one's blue
    assert "source_2.wav: at 0." in capsys.readouterr().out


def test_the_videos_show_the_sources_and_have_sound(knowing, tmp_path):
    out = tmp_path / "out"
    separate.main(words(make_video(tmp_path / "a.mp4", 2.0), out))
    shown = {}
    for name in ("energy", "clusters"):
        with av.open(str(out / f"{name}.mp4")) as opened:
            pictures = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
        with av.open(str(out / f"{name}.mp4")) as opened:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in opened.decode(audio=0)])
        assert len(pictures) == 48 and pictures[0].shape == (64, 128, 3)
        assert len(sound) / 48000 == pytest.approx(2.0, abs=0.1) and np.abs(sound).max() > 0.2
        shown[name] = [pictures[24][60, x].astype(int) for x in (5, 64, 122)]  # below the numbers
    for red, grey, blue in shown.values():
        assert np.abs(grey - GREY).max() < 25  # no sound: the frame is unchanged
        assert np.abs(red - RED).max() > 40 and np.abs(blue - BLUE).max() > 40
    assert np.abs(shown["clusters"][0] - shown["clusters"][2]).max() > 60
    for name in ("overview.png", "spectrograms.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 150 and len(np.unique(picture.convert("L"))) > 20


def test_a_video_shorter_than_a_segment_is_padded_with_silence(knowing, tmp_path, capsys):
    out = tmp_path / "out"
    separate.main(words(make_video(tmp_path / "a.mp4", 1.2), out, "--at", "0.1,0.5"))
    low = read(out / "source_1.wav")
    assert len(low) == pytest.approx(1.2 * RATE, abs=0.1 * RATE) and level(low, LOW) == pytest.approx(0.2, abs=0.02)
    assert "less than the net's segments of 1.86 s: it is padded with silence" in capsys.readouterr().out


def test_the_sound_can_be_a_separate_file(knowing, tmp_path):
    write_sound(tmp_path / "other.wav", tone(3.0, 44100, LOW, 0.4), 44100)
    video, more = make_video(tmp_path / "a.mp4", 3.0, sound=False), ["--sound", str(tmp_path / "other.wav")]
    separate.main(words(video, tmp_path / "out", *more, "--at", "0,0"))
    assert level(read(tmp_path / "out" / "source_1.wav"), LOW) == pytest.approx(0.4, abs=0.03)


def test_one_color_gives_one_cluster_and_a_message(knowing, tmp_path, capsys):
    write_video(tmp_path / "red.mp4", [np.full((64, 64, 3), RED, np.uint8)] * 20, 10, sound=tone(2.0, 16000, LOW))
    separate.main(words(tmp_path / "red.mp4", tmp_path / "out"))
    assert "red.mp4 form only 1 of 2 clusters of different sound" in capsys.readouterr().out
    assert not (tmp_path / "out" / "source_2.wav").exists()


def test_a_net_that_gives_no_sound_to_any_pixel_is_an_error(knowing, tmp_path):
    grey = np.full((64, 64, 3), GREY, np.uint8)
    write_video(tmp_path / "grey.mp4", [grey] * 20, 10, sound=tone(2.0, 16000, LOW))
    with pytest.raises(UserError, match=r"gives no pixel of .*grey.mp4 more than 1% of the sound: train it longer"):
        separate.main(words(tmp_path / "grey.mp4", tmp_path / "out"))
    separate.main(words(tmp_path / "grey.mp4", tmp_path / "out", "--at", "0.5,0.5"))
    assert not read(tmp_path / "out" / "source_1.wav").any()


@pytest.mark.parametrize(("native", "rate"), [(16000, None), (44100, 44100), (22050, 48000)])
def test_sounds_are_as_long_as_the_videos_and_sum_up_to_the_mixture(
    knowing, tmp_path, capsys, monkeypatch, native, rate
):
    """Of two complementary masks; the mixture is what the net hears of the sound, at the rate that was asked for."""
    torch.nn.init.zeros_(knowing.synthesizer.bias)
    net = separate.load_trained_net("", {})
    soft = TrainedNet(knowing, override(net.config, {"mix.mask": "soft"}), {}, "net.pt")
    monkeypatch.setattr(separate, "load_trained_net", lambda path, changes: soft)
    sound = tone(4.321, native, LOW, 0.2) + tone(4.321, native, HIGH, 0.2)
    write_sound(tmp_path / "a.wav", sound, native)
    video, out = make_video(tmp_path / "a.mp4", 4.0, sound=False), tmp_path / "out"
    more = ["--rate", str(rate)] if rate else []
    separate.main(words(video, out, "--sound", str(tmp_path / "a.wav"), "--at", "0.1,0.5", "0.9,0.5", *more))
    (low, found), (high, _), (mixture, _) = (
        soundfile.read(out / name, dtype="int16") for name in ("source_1.wav", "source_2.wav", "mixture.wav")
    )
    assert found == (rate or RATE)
    assert len(low) == len(high) == len(mixture) == -(-len(sound) * found // native)
    assert np.abs(low.astype(int) + high - mixture).max() <= 2  # each is rounded
    heard = resample(sound, native, found)
    assert np.abs(mixture / 32768 - heard)[found // 20 : -found // 20].max() < 2e-3
    printed = capsys.readouterr().out
    assert f"the net separates sound at {RATE} Hz, up to 5512 Hz; files are written at {found} Hz" in printed
    assert (f"--rate {native} writes them" in printed) == (rate is None)
    assert json.loads((out / "separation.json").read_text())["rate"] == found


def test_a_short_film_is_analyzed_as_a_long_one(knowing, tmp_path, monkeypatch):
    """Of a long film, some segments decide what the clusters are, and the others get theirs afterwards."""
    video = make_video(tmp_path / "a.mp4", 8.0)
    separate.main(words(video, tmp_path / "whole"))
    monkeypatch.setattr(pixel_separator, "FITTED_SEGMENTS", 2)
    separate.main(words(video, tmp_path / "part"))
    for name in ("source_1.wav", "source_2.wav"):
        assert np.abs(read(tmp_path / "whole" / name) - read(tmp_path / "part" / name)).max() < 1e-3


# ------------------------------------------------------------------------------------------------------- mistakes


def bad_input(folder, kind):
    """The arguments of one mistake, and what its message must contain."""
    video = folder / "v.mp4"
    if kind == "no sound":
        return [make_video(video, 2.0, sound=False)], "v.mp4 has no audio stream: pass its sound with --sound FILE"
    if kind == "no picture":
        write_sound(folder / "v.wav", tone(2.0, 16000))
        return [folder / "v.wav"], "v.wav has no video stream"
    if kind == "no video at all":
        video.write_bytes(b"hello" * 1000)
        return [video], "v.mp4 can't be opened as a video"
    if kind == "no file":
        return [video], "there is no file"
    if kind == "too short":
        return [make_video(video, 0.6)], "less than 1 s"
    if kind == "silent":
        write_sound(folder / "v.wav", np.zeros(32000))
        return [make_video(video, 2.0), "--sound", str(folder / "v.wav")], "v.wav is silent from start to end"
    if kind == "no sound file":
        return [make_video(video, 2.0), "--sound", str(folder / "v.wav")], "there is no file"
    if kind == "left of it":
        return [video, "--at", "-0.2,0.5"], "-0.2,0.5 is outside the frame"
    if kind == "outside":
        return [video, "--at", "0.5,0.5", "1.2,0.5"], "1.2,0.5 is outside the frame"
    return [video, "--at", "left"], "left is not a location: give X,Y"


@pytest.mark.parametrize(
    "kind",
    [
        "no sound",
        "no picture",
        "no video at all",
        "no file",
        "too short",
        "silent",
        "no sound file",
        "outside",
        "left of it",
        "word",
    ],
)
def test_a_mistake_gives_one_sentence_and_no_files(knowing, tmp_path, kind):
    (video, *more), sentence = bad_input(tmp_path, kind)
    with pytest.raises(UserError) as error:
        separate.main(words(video, tmp_path / "out", *more))
    assert sentence in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_output_folder_that_cannot_be_written_is_named(knowing, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"out can't be written .File exists.: choose another folder with --out"):
        separate.main(words(make_video(tmp_path / "a.mp4", 2.0), tmp_path / "out"))


def saved(path, changes):
    """A checkpoint of a net with fresh weights."""
    config = override(demo, changes)
    torch.manual_seed(1)  # a net that gives sound to pixels; seed 0 gives one that gives none
    content = {"config": to_dict(config), "model": build_net(config.model).state_dict(), "step": 0, "metrics": {}}
    checkpoint.save(path, content)
    return path


def test_as_a_user_runs_it(tmp_path, script):
    settings = {"checkpoint": saved(tmp_path / "net.pt", SMALL), "video": make_video(tmp_path / "a.mp4", 2.0)}
    settings |= {"out": tmp_path / "out", "at": "0.5,0.5"}  # an untrained net may give no pixel enough sound
    done = script(command("separate.py", settings))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"energy.mp4", "source_1.wav"}
    ave = small_checkpoint(tmp_path / "ave.pt")
    done = script(command("separate.py", settings | {"checkpoint": ave}))
    one_sentence(done, "holds AVENet, which can't separate sounds")
    done = script(command("separate.py", {"checkpoint": ave}))
    one_sentence(done, "--video is missing")


# ---------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(("samples", "length"), [(1, 4), (4, 4), (5, 4), (6, 4), (7, 4), (100, 7), (99, 10)])
def test_segments_cover_the_sound_and_overlap_by_half(samples, length):
    starts = chunk_starts(samples, length)
    assert starts[0] == 0 and starts[-1] == max(samples - length, 0)
    assert (np.diff(starts) <= np.ceil(length / 2)).all() and (np.diff(starts) > 0).all()


def test_pixels_of_similar_sound_form_one_cluster_the_loudest_first():
    rng = np.random.default_rng(0)
    mixture = 10 ** rng.uniform(-3, 0, 12)
    shares = np.full((40, 4, 6, 12), 1e-3)
    shares[:, :, :2, :6] = shares[:, :, 4:, 6:] = 1.0
    spectra = shares * mixture * rng.uniform(0.8, 1.0, shares.shape)
    energies = np.ones((40, 1, 1)) * [[1, 1, 0, 0, 3, 3]] * np.ones((40, 4, 1))
    labels = clustering.order_clusters(clustering.PixelClusters(spectra, mixture, 2).assign(spectra), energies)
    assert (labels == np.array([1, 1, -1, -1, 0, 0])).all()
    energies[:, 1, 5] *= 2
    locations = clustering.loudest_locations(labels, energies)
    assert len(locations) == 2 and clustering.clusters_at(labels, [*locations, (0.5, 1.0)]) == [0, 1, -1]
    assert locations[0] == ((5 + 0.5) / 6, (1 + 0.5) / 4)


def test_a_pixels_loudness_is_relative_to_its_moment_and_a_moments_to_the_loudest():
    energies = np.array([[[2.0, 1.0, 0.0]], [[0.1, 0.2, 0.0]], [[2e-4, 1e-4, 0.0]]])  # 0, -10 and -40 dB
    loudness = source_figures.relative_loudness(energies)
    assert loudness == pytest.approx(np.array([[[1, 1 / 2, 0]], [[1 / 3, 2 / 3, 0]], [[0, 0, 0]]]))
    assert not source_figures.relative_loudness(np.zeros((1, 2, 2))).any()
