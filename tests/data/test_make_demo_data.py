"""The demo set: the same bytes on every run, for any number of workers, in the promised format, resumable."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import av
import make_demo_data
import numpy as np
import pytest
import soundfile

from utils.errors import exit_on_user_error

SIZES = {"train": 12, "val": 2, "test": 2}
MIDS = {"/m/07y_7", "/m/042v_gx", "/m/018j2", "/m/07gql", "/m/06ncr", "/m/0l14j_",
        "/m/05r5c", "/m/0mkg", "/m/026t6", "/m/01qbl", "/m/0395lw", "/m/0dwsp"}  # fmt: skip


def words(out, *options):
    """The command line for a tiny set in `out`."""
    sizes = [word for split, n in SIZES.items() for word in (f"--{split}", str(n))]
    return ["--out", str(out), *sizes, *map(str, options)]


def make(out, *options):
    """Make a tiny set in `out` in this process, as the script does; its exit code and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            with exit_on_user_error():
                make_demo_data.main(words(out, *options))
            code = 0
        except SystemExit as end:
            code = end.code
    return SimpleNamespace(returncode=code, stdout=said.getvalue(), stderr=errors.getvalue())


def contents(root):
    """Return {path inside root: bytes} of all files below root."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def frames(path):
    """Return the decoded frames of a video, uint8 (n, height, width, 3)."""
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The tiny set, made by the script with one worker."""
    root = tmp_path_factory.mktemp("demo") / "set"
    command = [sys.executable, "data/make_demo_data.py", *words(root, "--workers", 1)]
    done = subprocess.run([*command, "--sheet", root.parent / "sheet.png"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "12 train, 2 val, 2 test clips" in done.stdout
    assert (root.parent / "sheet.png").stat().st_size > 10_000
    return root


def test_same_set_for_any_number_of_workers(demo, tmp_path):
    assert make(tmp_path / "set", "--workers", 2).returncode == 0
    ours, theirs = contents(demo), contents(tmp_path / "set")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_labels_and_boxes(demo):
    seen = set()
    for split, n in SIZES.items():
        genres = json.loads((demo / split / "vid2genre.json").read_text())
        boxes = json.loads((demo / split / "boxes.json").read_text())
        assert len(genres) == n and genres.keys() == boxes.keys() and not seen & genres.keys()
        seen |= genres.keys()
        for name, mids in genres.items():
            assert re.fullmatch(r"[A-Za-z0-9_-]{11}", name) and len(mids) == 1 and mids[0] in MIDS
            sounding = [e for e in boxes[name] if e["sounding"]]
            assert [e["time"] for e in sounding] == pytest.approx(np.arange(0, 2, 0.2))
            assert {e["label"] for e in sounding} == set(mids)
            silent = {e["label"] for e in boxes[name] if not e["sounding"]}
            assert len(silent) <= 1 and silent <= MIDS - set(mids)
            for x0, y0, x1, y1 in (e["box"] for e in boxes[name]):
                assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    train = json.loads((demo / "train" / "vid2genre.json").read_text())
    assert {mids[0] for mids in train.values()} == MIDS  # twelve clips, twelve classes


def test_video_and_sound(demo):
    for wav in sorted(demo.glob("*/audio/*.wav")):
        x, rate = soundfile.read(wav)
        assert rate == 16000 and x.shape == (32000,) and soundfile.info(wav).subtype == "PCM_16"
        assert 0.1 <= np.abs(x).max() <= 0.95
        loud = np.sqrt((x.reshape(-1, 800) ** 2).mean(1)) > 0.02 * np.sqrt((x**2).mean())
        assert all(loud[k : k + 8].any() for k in range(len(loud) - 7))  # never 0.4 s without sound
        with av.open(str(wav.parent.parent / "video" / f"{wav.stem}.mp4")) as film:
            video, audio = film.streams.video[0], film.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert video.average_rate == 25 and video.frames == 50 and audio.rate == 16000
            assert all(160 <= side <= 224 and side % 2 == 0 for side in (video.width, video.height))
            assert float(video.duration * video.time_base) == pytest.approx(2)
            assert float(audio.duration * audio.time_base) == pytest.approx(2, abs=0.07)


def test_sound_of_the_video_is_in_step_with_the_wav(demo):
    wav = next(iter(demo.glob("train/audio/*.wav")))
    x, rate = soundfile.read(wav)
    y = np.zeros(3 * rate)
    with av.open(str(wav.parent.parent / "video" / f"{wav.stem}.mp4")) as film:
        for frame in film.decode(audio=0):
            start, part = round(frame.time * rate), frame.to_ndarray()[0]
            part = part[max(-start, 0) :]
            y[max(start, 0) : max(start, 0) + len(part)] = part
    lags = np.arange(-200, 201)
    match = [np.dot(x[400:-400], y[400 + k : 400 + k + len(x) - 800]) for k in lags]
    assert abs(lags[int(np.argmax(match))]) <= 1


def test_48_khz(tmp_path):
    assert make(tmp_path / "set", "--train", 1, "--val", 1, "--test", 1, "--sample_rate", 48000).returncode == 0
    x, rate = soundfile.read(next(iter((tmp_path / "set").glob("train/audio/*.wav"))))
    assert rate == 48000 and x.shape == (96000,)


def test_objects_move(demo):
    film = frames(next(iter(demo.glob("train/video/*.mp4")))).astype(float)
    assert np.abs(film[25] - film[0]).mean() > 0.5


def test_resume(demo):
    before = contents(demo)
    mp4 = next(iter(demo.glob("train/video/*.mp4")))
    stale = mp4.with_name(f".{mp4.name}.12345.tmp")
    mp4.unlink()
    stale.write_bytes(b"half a film")
    assert make(demo).returncode == 0
    assert contents(demo) == before
    done = make(demo)
    assert done.returncode == 0 and "is complete" in done.stdout


# One clip of each split by the generator's version 1: its class, last box, the sound's standard deviation and two
# samples, the mean color of the frame in the middle.
VERSION_1 = {
    "train": (
        "AqgnM0wsxBc",
        "/m/0mkg",
        [0.2711, 0.4328, 0.6489, 0.8245],
        0.04862,
        [0.0238, -0.0184],
        [202.4, 149.1, 154.0],
    ),
    "val": (
        "CU58VcPJIA6",
        "/m/07y_7",
        [0.5318, 0.4077, 0.9353, 0.9634],
        0.16294,
        [0.1203, -0.2125],
        [128.4, 115.6, 154.2],
    ),
    "test": (
        "dbauYhkxqB_",
        "/m/042v_gx",
        [0.3003, 0.096, 0.7907, 0.6763],
        0.03785,
        [0.0728, 0.0173],
        [174.4, 177.4, 161.6],
    ),
}


@pytest.mark.parametrize("split", VERSION_1)
def test_clips_are_those_of_their_version(demo, split):
    assert json.loads((demo / "demo.json").read_text())["version"] == 1
    clip, mid, box, deviation, samples, color = VERSION_1[split]
    assert json.loads((demo / split / "vid2genre.json").read_text())[clip] == [mid]
    assert json.loads((demo / split / "boxes.json").read_text())[clip][-1]["box"] == pytest.approx(box, abs=2e-4)
    sound, _ = soundfile.read(demo / split / "audio" / f"{clip}.wav")
    assert sound.std() == pytest.approx(deviation, rel=1e-3)
    assert sound[[10000, 20000]] == pytest.approx(samples, abs=2e-4)
    picture = frames(demo / split / "video" / f"{clip}.mp4")[25]
    assert picture.mean((0, 1)) == pytest.approx(color, abs=1)  # other versions of x264 encode otherwise


def test_a_set_of_before_gets_the_test_sets_and_keeps_its_clips(demo, tmp_path):
    root = shutil.copytree(demo, tmp_path / "set")
    for name in ("duets", "masks"):
        shutil.rmtree(root / name)
    changed = {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
    done = make(root)
    assert done.returncode == 0 and "is complete" not in done.stdout and "test sets: 1 picture" in done.stdout
    assert contents(root) == contents(demo)
    assert all(path.stat().st_mtime_ns == time for path, time in changed.items())


def test_refuses_other_settings_and_other_folders(demo, tmp_path):
    before = contents(demo)
    (tmp_path / "thesis.txt").write_text("mine")
    for folder, options in ((demo, ("--seed", 1)), (tmp_path, ())):
        done = make(folder, *options)
        assert done.returncode == 2 and done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1 and "--out" in done.stderr
    assert contents(demo) == before and (tmp_path / "thesis.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
