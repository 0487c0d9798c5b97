"""Checking a dataset: what training would refuse is named, and more; nothing is lost when it is moved away."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from clip_cases import BAD_SOUNDS, BAD_VIDEOS, of_rate_0, read_all
from helpers import MIDS, make_clip, numbered, tone, write_genres, write_json, write_sound, write_video
from kill_and_resume import REPOSITORY, one_thread

from data.check_data import main
from dataset.making.checks.clip_checks import CheckResult, check_clip
from dataset.making.checks.sync import offset_between
from dataset.making.workers.processes import Lost, map_in_processes
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from utils.errors import UserError

EVIL = "<img src=x onerror=alert(1)>"


def music(seconds, rate, seed=0):
    """Notes of random pitch and length over some noise: (samples,) float."""
    rng = np.random.default_rng(seed)
    notes = [tone(rng.uniform(0.1, 0.4), rate, rng.uniform(100, 900), 0.4, 3) for _ in range(round(seconds * 10))]
    wave = np.concatenate(notes)[: round(seconds * rate)]
    return wave + 0.01 * rng.standard_normal(len(wave))


def checked(files, clip="a"):
    return check_clip(clip, *files)


# -------------------------------------------------------------------------------------------------------- one clip

KINDS_OF = {
    "sound only": "no picture",
    "shorter than its sound's first half second": "short",
    "shorter than a second": "short",
    "cut to less than a second": "short",
    "no samples": "short",
    "silent": "silent",
    "silent in 16 bits": "silent",
    "channels that cancel out": "silent",
}


@pytest.mark.parametrize(("half", "ruin", "reason", "kind"), [
    *(pytest.param(0, *case, KINDS_OF.get(name, "damaged"), id=f"mp4: {name}") for name, case in BAD_VIDEOS.items()),
    *(pytest.param(1, *case, KINDS_OF.get(name, "damaged"), id=f"wav: {name}") for name, case in BAD_SOUNDS.items()),
])  # fmt: skip
def test_what_training_refuses_is_not_ok(tmp_path, half, ruin, reason, kind):
    files = make_clip(tmp_path / "is missing, is silent", "bad", aac=True, gop=10)  # its name is not what is wrong
    assert checked(files, "bad").kind == "ok"
    ruin(files[half])
    found = checked(files, "bad")
    assert found.kind == kind and found.message.startswith(("the mp4 ", "the wav ")[half])
    assert "\n" not in found.message and str(tmp_path) not in found.message and "--data" not in found.message


def test_a_flipped_byte_anywhere_is_met_here_if_training_meets_it(tmp_path):
    """Random damage: never a traceback, and never ok where reading for training ends in an error."""
    rng, refused = np.random.default_rng(0), 0
    mp4, _ = make_clip(tmp_path / "train", "a", aac=True, gop=10)
    write_genres(tmp_path / "train")
    good = mp4.read_bytes()
    for _ in range(25):
        content = bytearray(good)
        for place in rng.integers(0, len(good), 12):
            content[place] = rng.integers(256)
        mp4.write_bytes(content)
        try:
            read_all(Clips(tmp_path, "train"), 0)
        except ClipError:
            refused += 1
            assert checked((mp4, mp4.parent.parent / "audio" / "a.wav")).kind != "ok"
    assert refused > 5


@pytest.mark.parametrize("half", [0, 1])
def test_a_missing_half_is_named(tmp_path, half):
    files = make_clip(tmp_path, "a")
    files[half].unlink()
    found = checked(files)
    assert (found.kind, found.message) == ("missing", f"{('the mp4', 'the wav')[half]} is missing")


@pytest.mark.parametrize("shift", [-0.7, -0.06, -0.004, 0.0, 0.0015, 0.003, 0.037, 0.044, 0.06, 0.5])
def test_a_wav_that_is_shifted_is_out_of_step_by_just_that(tmp_path, shift):
    rate = 44100
    files = make_clip(tmp_path, "a", 3, sound=music(3, rate), rate=rate, aac=True)
    sound, count = music(3, rate), round(abs(shift) * rate)
    sound = sound[count:] if shift < 0 else np.concatenate([np.zeros(count), sound])
    write_sound(files[1], sound, rate)
    found = checked(files)
    assert found.offset_ms == pytest.approx(1000 * shift, abs=0.2)
    assert found.kind == ("out of step" if abs(shift) > 0.04 else "ok")  # one frame
    assert (found.thumbnail is None) == (found.kind == "ok")
    if 0.002 < abs(shift) < 0.04:
        when = "late" if shift > 0 else "early"
        assert found.message == f"the wav is {abs(1000 * shift):.0f} ms {when} relative to the video, less than a frame"
    if shift == 0.06:
        assert found.message == "the wav is 60 ms late relative to the video" and found.thumbnail[:2] == b"\xff\xd8"


def test_only_a_clear_likeness_makes_an_offset(tmp_path):
    """Another sound, none at all, and a steady tone that is like itself at every period: no clip is refused for it."""
    no_track = make_clip(tmp_path, "a", sound=music(2, 16000), aac=False)
    assert (checked(no_track).kind, checked(no_track).offset_ms) == ("ok", None)
    other = make_clip(tmp_path, "b", sound=music(2, 16000), aac=True)
    write_sound(other[1], music(2, 16000, seed=5))
    assert (checked(other).kind, checked(other).offset_ms) == ("ok", None)
    steady = make_clip(tmp_path, "c", pitch=150.0, aac=True)
    assert (checked(steady).kind, checked(steady).offset_ms) == ("ok", pytest.approx(0, abs=0.2))
    assert offset_between(np.zeros(16000), np.ones(100)) is None


def test_pictures_that_start_late_are_told_of_and_refused_once_training_would_show_wrong_ones(tmp_path):
    def late(start):
        return checked(make_clip(tmp_path, "a", 3, times=[start + k / 25 for k in range(50)]))

    assert (late(0.0).kind, late(0.0).message) == ("ok", "")
    assert (late(0.3).kind, late(0.3).message) == ("ok", "the first frame comes at 0.30 s")
    assert late(0.7).kind == "out of step" and "first frame at 0.70 s" in late(0.7).message


def test_black_is_black_and_a_light_in_the_night_is_not(tmp_path):
    night = np.full((48, 64, 3), 12, np.uint8)
    light = night.copy()
    light[10:20, 10:20] = 200
    found = checked(make_clip(tmp_path, "a", pictures=[night] * 50))
    assert found.kind == "black" and found.brightness < 0.1
    assert checked(make_clip(tmp_path, "b", pictures=[light] * 50)).kind == "ok"
    assert checked(make_clip(tmp_path, "c", pictures=[night] * 40 + [numbered(7)] * 10)).kind == "ok"


def test_the_numbers_of_a_verdict(tmp_path):
    white = np.full((48, 64, 3), 255, np.uint8)
    files = make_clip(tmp_path, "a", 3, pictures=[white] * 60, sound=tone(3, 16000, amplitude=0.1))
    found = checked(files)
    assert found[:3] == ("a", "ok", "") and found.seconds == pytest.approx(2.4, abs=0.01)
    assert found.loudness == pytest.approx(-23.0, abs=0.1) and found.brightness == pytest.approx(1.0, abs=0.02)


# ------------------------------------------------------------------------------------------------------- the script


def run(*words, code=0, cwd=REPOSITORY):
    """Run data/check_data.py as a user does."""
    command = [sys.executable, str(REPOSITORY / "data" / "check_data.py"), *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=one_thread(), text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def make_messy(root):
    """Six clips of two splits of which three are bad, and two that no vid2genre.json lists."""
    for split, clips in (("train", ("good", "-mute", "half")), ("val", ("fine", "late", EVIL.replace("/", "")))):
        for clip in clips:
            make_clip(root / split, clip, sound=music(2, 16000), aac=True)
        write_genres(root / split, {clip: [MIDS[0], EVIL] for clip in clips})
        write_json(root / split / "boxes.json", {clip: [] for clip in clips})
    write_sound(root / "train" / "audio" / "-mute.wav", np.zeros(32000))
    (root / "train" / "audio" / "half.wav").unlink()
    write_sound(root / "val" / "audio" / "late.wav", np.concatenate([np.zeros(1600), music(2, 16000)]))
    make_clip(root / "val", "stray", sound=music(2, 16000))
    make_clip(root / "val", "broken stray")
    of_rate_0(root / "val" / "audio" / "broken stray.wav")
    return root


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dataset_is_checked_and_what_is_bad_moved_away(tmp_path):
    root, bad = make_messy(tmp_path / "set"), tmp_path / "bad"
    infos = tmp_path / "data" / "data_infos"
    write_json(infos / "ontology.json", [{"id": MIDS[0], "name": f"Tuba {EVIL}", "child_ids": []}])
    before = files_of(root)
    done = run(root, "--move_bad", bad, "--workers", 1, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == f"3 of 8 clips are ok; 4 were moved to {bad}"
    assert "out of step" in done.stdout and "clips/s" in done.stdout

    with open(root / "check.csv", encoding="utf-8", newline="") as file:
        rows = {(row["split"], row["clip"]): row for row in csv.DictReader(file)}
    kinds = {clip: row["kind"] for (_, clip), row in rows.items()}
    assert kinds == {
        "good": "ok", "-mute": "silent", "half": "missing", "fine": "ok", "late": "out of step", EVIL: "ok",
        "stray": "unlisted", "broken stray": "damaged",
    }  # fmt: skip
    assert float(rows["val", "late"]["offset_ms"]) == pytest.approx(100, abs=0.2)

    page = (root / "check.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and f"Tuba {EVIL}".replace("<", "&lt;").replace(">", "&gt;") in page
    assert page.count("data:image/jpeg;base64,") == 2 and "http" not in page  # it needs nothing from elsewhere

    # Nothing is lost, and nothing is in two places.
    after = {name: content for name, content in files_of(root).items() if "check." not in name}
    listed = list(csv.DictReader(io.StringIO(after.pop("left_out.csv").decode())))
    assert {(row["id"], row["kind"]) for row in listed} == {pair for pair in kinds.items() if pair[1] != "ok"}
    moved = files_of(bad)
    rows = csv.reader(io.StringIO(moved.pop("moved.csv").decode()))
    for split, clip, source, target, reason in list(rows)[1:]:
        assert source == str(root / split / os.path.relpath(target, bad / split)) and reason and clip in target
    media = {name: content for name, content in before.items() if not name.endswith(".json")}
    assert {n: c for n, c in {**after, **moved}.items() if not n.endswith(".json")} == media
    assert sorted(n for n in moved if not n.endswith(".json")) == [
        "train/audio/-mute.wav", "train/video/-mute.mp4", "train/video/half.mp4",
        "val/audio/broken stray.wav", "val/audio/late.wav", "val/video/broken stray.mp4", "val/video/late.mp4",
    ]  # fmt: skip
    assert not {n for n in moved if not n.endswith(".json")} & set(after)
    for name in ("vid2genre.json", "boxes.json"):
        for split, gone in (("train", {"-mute", "half"}), ("val", {"late"})):
            old, here, there = (json.loads(files[f"{split}/{name}"]) for files in (before, after, moved))
            assert set(there) == gone and here | there == old and not set(here) & set(there)
    assert Clips(root, "train").ids == ["good"]

    # A clip that is bad again may not take the place of the one that was moved.
    make_clip(root / "train", "half")
    (root / "train" / "audio" / "half.wav").unlink()
    here, there = files_of(root / "train"), files_of(bad)
    done = run(
        root / "train", "--move_bad", bad, "--workers", 1, "--csv", tmp_path / "b", "--html", tmp_path / "c", code=2
    )
    assert "half.mp4 already exists" in done.stderr
    assert (files_of(root / "train"), files_of(bad)) == (here, there)


def test_a_decoder_that_crashes_costs_its_own_clip_only():
    jobs = [("1 + 1",), ("__import__('os').abort()",), ("2 + 2",), ("3 + 3",), ("4 + 4",), ("5 + 5",), ("6 + 6",)]
    for workers, chunk_size in ((2, 1), (1, 1), (2, 8)):
        found = dict(map_in_processes(eval, jobs, workers, chunk_size))
        assert found[jobs[1]] == Lost("damaged", "the decoder crashes on it")
        assert [found[job] for job in (jobs[0], *jobs[2:])] == [2, 4, 6, 8, 10, 12]


def test_a_decoder_that_hangs_is_ended_and_costs_its_own_clip_only():
    jobs = [("1 + 1",), ("__import__('time').sleep(600)",), ("2 + 2",), ("3 + 3",)]
    begin = time.monotonic()
    for workers, chunk_size in ((2, 1), (1, 4)):
        found = dict(map_in_processes(eval, jobs, workers, chunk_size, time_limit=lambda job: 2.0))
        assert found[jobs[1]] == Lost("time limit", "takes longer than 2 s to read")
        assert [found[job] for job in (jobs[0], *jobs[2:])] == [2, 4, 6]
    assert time.monotonic() - begin < 60


def test_an_error_of_a_worker_is_raised_and_ends_the_others():
    with pytest.raises(ZeroDivisionError):
        list(map_in_processes(eval, [("1 / 0",), ("__import__('time').sleep(600)",)], 2))


def test_an_interrupted_check_ends_at_once_and_writes_results_only(tmp_path):
    files = make_clip(tmp_path / "train", "a")
    for k in range(3000):
        for path in files:
            os.link(path, path.with_stem(f"c{k}"))
    write_genres(tmp_path / "train")
    command = [sys.executable, "data/check_data.py", str(tmp_path), "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=one_thread(), text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    process.stderr.read(1)  # its progress: from here on it is at work, however long the start took
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process gets it
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err
    assert err.rstrip().endswith("the same command resumes\ninterrupted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check.results.jsonl", "train"]


@pytest.mark.parametrize(("make", "said"), [
    (lambda root: None, "there is no folder"),
    (lambda root: root.mkdir(), "holds no split"),
    (lambda root: make_clip(root, "a"), r"vid2genre.json is missing"),
    (lambda root: write_json(root / "vid2genre.json", {"../../x": []}), "has an invalid format"),
])  # fmt: skip
def test_a_folder_that_is_no_dataset_is_refused_in_a_sentence(tmp_path, make, said):
    make(tmp_path / "set")
    with pytest.raises(UserError, match=said):
        main([str(tmp_path / "set")])


def test_neither_torch_nor_nets_are_loaded_for_checking():
    code = "import sys; sys.path[:0] = ['data', '.']; import check_data; print({'torch', 'models'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, text=True, capture_output=True, check=True)
    assert done.stdout == "set()\n"


def test_a_verdict_of_an_unreadable_clip_has_no_numbers(tmp_path):
    mp4, wav = make_clip(tmp_path, "a")
    write_video(mp4, [numbered(0)] * 50)
    soundfile.write(wav, tone(0.5, 16000), 16000)
    assert checked((mp4, wav)) == CheckResult("a", "short", "the wav lasts 0.50 s, shorter than one second")
