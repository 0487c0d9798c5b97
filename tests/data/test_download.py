"""Downloading from a site on this machine that misbehaves as real ones do: classes, reruns, kills, several at once."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from helpers import click, numbered, read_number, tone, write_sound, write_video
from media_server import MediaServer, film
from yt_dlp.utils import DownloadError, GeoRestrictedError

import data.download_video_audio as script
from data.download import fetch, folders, journal, workers
from data.download.failures import FAILURE_KINDS, Failure, failure_of
from dataset.making.segments import Segment, read_segments
from dataset.reading.clips import Clips, clip_files
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]
MID = "/m/04rlf"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Small videos by name, bytes: whole, without sound, of sound alone, half a second long."""
    folder = tmp_path_factory.mktemp("films")
    write_sound(folder / "sound.wav", tone(2, 16000))
    return {
        "whole": film(folder / "whole.mp4"),
        "silent": film(folder / "silent.mp4", sound=False),
        "sound": (folder / "sound.wav").read_bytes(),
        "brief": film(folder / "brief.mp4", seconds=0.5),
    }


@pytest.fixture
def site(films):
    """The server, which serves the whole film for every id."""
    with MediaServer(films["whole"]) as server:
        yield server


@pytest.fixture
def out(tmp_path):
    """The folder to download to."""
    return tmp_path / "set" / "train"


def names(count, prefix="vid"):
    """YouTube ids of tests."""
    return [f"{prefix}{k:0{11 - len(prefix)}d}" for k in range(count)]


def segment_file(folder, videos, start=0.0, end=2.0):
    """Write a segment file with one row for each id: its Path."""
    path = folder / "list.csv"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{video}, {start:.3f}, {end:.3f}, "{MID}"\n' for video in videos))
    return path


def words(listed, out, url, *more):
    """The script's words for a fast run."""
    fast = ["--sleep", 0, "--backoff", 0.01, "--timeout", 0.5, "--min_free", 0, "--fps", 10]
    return [str(word) for word in ["--csv", listed, "--out", out, "--url", url, *fast, *more]]


def started(*more):
    """The script as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "data/download_video_audio.py", *words(*more)], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def clips_on_disk(out):
    """(ids with an mp4, ids with a wav)."""
    return tuple({path.stem for path in (out / kind).glob("*")} for kind in ("video", "audio"))


def classes(out):
    """{id: class} from failures.csv."""
    with open(out / "failures.csv", newline="") as file:
        return {row["id"]: row["class"] for row in csv.DictReader(file)}


def labels(out):
    return json.loads((out / "vid2genre.json").read_text())


def check_whole(out, videos, tmp_path):
    """Both halves of each, decodable, and nothing else; labels in step; nothing left behind."""
    assert clips_on_disk(out) == (set(videos), set(videos))
    assert set(labels(out)) == set(videos)
    clips = Clips(out.parent, out.name)
    for index in range(len(clips)):
        with clips.open(index) as clip:
            clip.frame(clip.last, 32)
            clip.full_waveform(48000)
    assert not list((out / ".download" / "work").iterdir()) and not list((out / ".download" / "locks").iterdir())


# ---------------------------------------------------------------------------------------------------- classes

FAULTS = {  # id: fault of the server, film, type, class or None
    "-gone_gone_": (404, "whole", None, "gone"),
    "forbidden_3": (403, "whole", None, "refused"),
    "unavailable": (503, "whole", None, "network"),
    "for_a_while": ((503, 2), "whole", None, None),
    "stalls_____": ("stall", "whole", None, "network"),
    "cut_halfway": ("cut", "whole", None, "network"),
    "cut_once___": (("cut", 2), "whole", None, None),
    "lies_long__": ("long", "whole", None, "network"),
    "lies_short_": ("short", "whole", None, "damaged"),
    "garbage____": ("garbage", "whole", None, "damaged"),
    "no_sound___": (None, "silent", None, "no audio"),
    "no_picture_": (None, "sound", "audio/wav", "no picture"),
    "hidden_wav_": (None, "sound", None, "no picture"),
    "too_short__": (None, "brief", None, "short"),
    "all_is_well": (None, "whole", None, None),
}


def test_each_failure_ends_in_its_class_and_a_rerun_completes(films, site, out, tmp_path, capsys):
    listed = segment_file(tmp_path, FAULTS)
    site.faults = {video: fault for video, (fault, *_) in FAULTS.items() if fault}
    site.films = {video: films[name] for video, (_, name, *_) in FAULTS.items()}
    site.types = {video: kind for video, (_, _, kind, _) in FAULTS.items() if kind}
    script.main(words(listed, out, site.url, "--retries", 2))
    expected = {video: kind for video, (*_, kind) in FAULTS.items() if kind}
    assert classes(out) == expected
    well = set(FAULTS) - set(expected)
    check_whole(out, well, tmp_path)
    said = capsys.readouterr().out
    assert "3 of 15 clips exist in" in said and "4 network" in said and FAILURE_KINDS["gone"].advice in said
    tries = {json.loads(line)["id"]: json.loads(line)["tries"] for line in journal_lines(out)}
    assert tries["cut_halfway"] == 3 and tries["-gone_gone_"] == 1 and tries["for_a_while"] == 3

    site.faults, site.films, site.types = {}, {}, {}  # the server is mended
    site.requests.clear()
    script.main(words(listed, out, site.url))
    for_good = {video: kind for video, kind in expected.items() if not FAILURE_KINDS[kind].is_retried}
    assert classes(out) == for_good and not site.requests.keys() & (well | for_good.keys())
    check_whole(out, set(FAULTS) - set(for_good), tmp_path)

    script.main(words(listed, out, site.url, "--retry", "gone", "short"))
    assert set(classes(out).values()) == {"no audio", "no picture"}
    script.main(words(listed, out, site.url, "--retry", "all"))
    assert classes(out) == {}
    check_whole(out, set(FAULTS), tmp_path)

    site.requests.clear()
    script.main(words(listed, out, site.url, "--retry", "all"))
    assert not site.requests


def journal_lines(out):
    return (out / ".download" / "journal.jsonl").read_text().splitlines()


MESSAGES = {  # as YouTube and yt-dlp word them
    "[youtube] -J--0: Sign in to confirm you’re not a bot. Use --cookies-from-browser or --cookies": "throttled",
    "[youtube] a: Video unavailable. This content isn't available, try again later. The current session has been "
    "rate-limited by YouTube for up to an hour.": "throttled",
    "Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError 429>)": "throttled",
    "[youtube] a: Watch this. YouTube is requiring a captcha challenge before playback": "throttled",
    "[youtube] a: Private video. Sign in if you've been granted access to this video": "private",
    "[youtube] a: Video unavailable. This video is private": "private",
    "[youtube] a: Join this channel to get access to members-only content like this video": "private",
    "[youtube] a: Sign in to confirm your age. This video may be inappropriate for some users.": "age-restricted",
    "[youtube] a: This video is age-restricted and only available on YouTube": "age-restricted",
    "[youtube] a: The uploader has not made this video available in your country": "region",
    "[youtube] a: Video unavailable. This video contains content from SME, who has blocked it in your country on "
    "copyright grounds": "region",
    "This video is not available from your location due to geo restriction": "region",
    "[youtube] a: Video unavailable": "gone",
    "[youtube] a: Video unavailable. This video is no longer available because the YouTube account associated with "
    "this video has been terminated.": "gone",
    "[youtube] a: This video has been removed for violating YouTube's Terms of Service": "gone",
    "[youtube] a: Video unavailable. This video contains content from UMG, who has blocked it on copyright grounds":
        "gone",
    "[youtube] a: This live stream recording is not available.": "gone",
    "unable to download video data: HTTP Error 403: Forbidden": "refused",
    "[youtube] a: Please sign in. Use --cookies-from-browser or --cookies for the authentication": "refused",
    "unable to download video data: HTTP Error 404: Not Found": "gone",
    "HTTP Error 451: Unavailable For Legal Reasons": "region",
    "HTTP Error 502: Bad Gateway": "network",
    "[download] Got error: Downloaded 100 bytes, expected 200 bytes": "network",
    "[download] Got error: HTTPSConnectionPool(host='x', port=443): Read timed out.": "network",
    "[youtube] a: Unable to download API page: Failed to resolve 'www.youtube.com'": "network",
    "unable to write data: [Errno 28] No space left on device": "disk",
    "[youtube] a: Requested format is not available. Use --list-formats for a list of available formats": "other",
    "[youtube] a: This live event will begin in 3 days.": "other",
}  # fmt: skip


@pytest.mark.parametrize(("message", "kind"), MESSAGES.items())
def test_the_class_of_a_message(message, kind):
    failure = failure_of(DownloadError(f"ERROR: {message}"))
    assert failure.kind == kind and kind in FAILURE_KINDS
    assert "ERROR" not in str(failure) and "--cookies" not in str(failure) and "caused by" not in str(failure)


def test_the_class_of_an_exception_is_found_behind_another():
    geo = GeoRestrictedError("somewhere else")
    assert failure_of(DownloadError("no", (type(geo), geo, None))).kind == "region"
    full = DownloadError("no")
    full.__cause__ = OSError(28, "No space left on device")
    assert failure_of(full).kind == "disk"
    assert failure_of(TimeoutError()).kind == "network" and failure_of(KeyError("x")).kind == "other"
    assert str(Failure("other", "a\n\x1b[31mb\r\t c" + "d" * 999))[:12] == "a [31mb cddd"


def test_the_table_of_failures_is_safe_to_open():
    nasty = '=HYPERLINK("http://x")\n<b>second</b>'
    events = [
        {"id": "-abcdefghij", "class": "other", "message": nasty, "tries": 1, "video": "-abcdefghij", "when": "@x"},
        {"id": "there_alrea", "class": "other"}, {"id": "done_done_d", "class": "done"},
    ]  # fmt: skip
    rows = list(csv.reader(journal.failures_table(events, {"there_alrea"}).splitlines()))
    assert rows[0] == list(journal.COLUMNS) and len(rows) == 2
    row = dict(zip(*rows, strict=True))
    assert row["id"] == row["video"] == "-abcdefghij" and row["worth_retrying"] == "yes" and row["when"] == "'@x"
    assert row["message"] == '\'=HYPERLINK("http://x") <b>second</b>'


# ---------------------------------------------------------------------------------------------------- formats


def picture(lines, codec="avc1.4d401e", sound="none", protocol="https"):
    return {"format_id": f"{lines}{codec[:3]}", "height": lines, "vcodec": codec, "acodec": sound, "protocol": protocol}


SOUND = {"format_id": "140", "vcodec": "none", "acodec": "mp4a.40.2", "protocol": "https"}


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ([SOUND, picture(144), picture(360), picture(360, "vp9"), picture(720)], ["360avc", "140"]),
        ([SOUND, picture(480, "vp9"), picture(720)], ["480vp9", "140"]),
        ([SOUND, picture(360, protocol="m3u8_native"), picture(240)], ["240avc", "140"]),
        ([picture(360, sound="mp4a"), picture(720, sound="mp4a")], ["360avc"]),
        ([SOUND, picture(360, sound="mp4a")], ["360avc"]),
        ([SOUND, {"format_id": "story", "vcodec": "none", "acodec": "none", "protocol": "mhtml"}], "no picture"),
        ([picture(360)], "no audio"),
        ([], []),
    ],
)
def test_a_small_picture_is_chosen_and_the_best_sound(formats, expected):
    try:
        found = [found["format_id"] for found in fetch.choose_formats(formats, 360)]
    except Failure as failure:
        found = failure.kind
    assert found == expected


def test_picture_and_sound_that_a_site_has_apart_become_one_clip(site, films, out, tmp_path, monkeypatch):
    """As on YouTube: the formats of a page, of which two are downloaded and cut on one clock."""
    site.films = {"picture": films["silent"], "sound": films["sound"]}

    def extract(self, url):
        apart = [
            {**SOUND, "ext": "wav", "url": site.url.format(id="sound")},
            {**picture(360), "ext": "mp4", "url": site.url.format(id="picture")},
        ]
        return {"id": "a", "title": "a", "formats": apart}

    monkeypatch.setattr("yt_dlp.extractor.generic.GenericIE._real_extract", extract)
    script.main(words(segment_file(tmp_path, names(1)), out, site.url))
    check_whole(out, names(1), tmp_path)
    assert site.requests == {"picture": 1, "sound": 1}


@pytest.mark.parametrize("mode", ["full", "section"])
def test_a_clip_is_cut_to_the_millisecond_in_both_modes(site, out, tmp_path, mode):
    pictures = [numbered(k) for k in range(150)]
    stretched = dict(gop=70, b_frames=2, movflags="faststart")
    write_video(tmp_path / "long.mp4", pictures, 25, sound=click(6, 48000, 4.0), rate=48000, **stretched)
    site.film, cut = (tmp_path / "long.mp4").read_bytes(), "cut_halfway"
    site.faults = {cut: "cut", "gone_gone_g": 404, "garbage____": "garbage"}
    listed = segment_file(tmp_path, [*names(1), *site.faults], 3.1, 5.1)
    script.main(words(listed, out, site.url, "--mode", mode, "--retries", 1, "--fps", 25))
    garbage = "damaged" if mode == "full" else "network"  # ffmpeg can't tell it from a connection that broke off
    assert classes(out) == {cut: "network", "gone_gone_g": "gone", "garbage____": garbage}
    clip = names(1)[0]
    sound, rate = soundfile.read(out / "audio" / f"{clip}.wav")
    assert len(sound) == 2 * rate and np.argmax(np.abs(sound) > 0.3) / rate == pytest.approx(0.9, abs=0.001)
    with av.open(str(out / "video" / f"{clip}.mp4")) as container:
        shown = [(frame.time, read_number(frame.to_ndarray(format="rgb24"))) for frame in container.decode(video=0)]
    assert shown[0] == (0.0, 77) and shown[10] == (0.4, 87)  # the one shown at 3.1 s began at 3.08


def test_a_file_that_is_too_large_is_left(site, out, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    script.main(words(segment_file(tmp_path, names(1)), out, site.url))
    assert classes(out) == {names(1)[0]: "too large"}


# ---------------------------------------------------------------------------------------------------- stops


def test_429_stops_the_run_with_a_sentence(site, out, tmp_path, capsys):
    videos = names(30)
    site.faults = {videos[5]: (429, 1)}
    with pytest.raises(SystemExit) as end:
        script.main(words(segment_file(tmp_path, videos), out, site.url, "--workers", 2))
    said = capsys.readouterr().err
    assert end.value.code == 1 and "error: stopped by 'throttled'" in said and "--sleep" in said
    assert classes(out) == {videos[5]: "throttled"} and len(site.requests) < 15
    assert set(labels(out)) == clips_on_disk(out)[0] == clips_on_disk(out)[1]
    script.main(words(segment_file(tmp_path, videos), out, site.url))
    check_whole(out, videos, tmp_path)


def test_a_full_disk_stops_the_run_before_it_asks_for_more(site, out, tmp_path, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, 3.2e9))
    with pytest.raises(SystemExit) as end:
        script.main([*words(segment_file(tmp_path, names(3)), out, site.url), "--min_free", "5"])
    assert end.value.code == 1 and "only 3.2 GB are free" in capsys.readouterr().err
    assert not site.requests and classes(out) == {}


def test_a_disk_that_fills_up_between_the_two_halves(site, out, tmp_path, capsys, monkeypatch):
    renamed = []

    def replace(source, target):
        if len(renamed) == 1:
            raise OSError(28, "No space left on device")
        os.rename(source, target)
        renamed.append(target)

    listed = segment_file(tmp_path, names(1))
    with monkeypatch.context() as patch:
        patch.setattr(workers, "os", type("os", (), {"replace": replace, "fsync": os.fsync}))
        with pytest.raises(SystemExit) as end:
            script.main(words(listed, out, site.url))
    assert end.value.code == 1 and "stopped by 'disk'" in capsys.readouterr().err
    assert clips_on_disk(out)[0] == set() and labels(out) == {} and classes(out) == {names(1)[0]: "disk"}
    script.main(words(listed, out, site.url))
    check_whole(out, names(1), tmp_path)
    assert labels(out) == {names(1)[0]: [MID]} and classes(out) == {}


def test_a_network_that_is_down_doesnt_use_up_the_list(site, out, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workers, "MAX_FAILURES_IN_A_ROW", 4)
    videos = names(12)
    site.faults = dict.fromkeys(videos, 503)
    with pytest.raises(SystemExit) as end:
        script.main(words(segment_file(tmp_path, videos), out, site.url, "--workers", 1, "--retries", 0))
    assert end.value.code == 1 and "4 clips in a row failed" in capsys.readouterr().err
    assert set(classes(out)) == set(videos[:4])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_half_done_and_goes_on(site, out, tmp_path, how):
    videos, site.pause = names(60), 0.1
    listed = segment_file(tmp_path, videos)
    process = started(listed, out, site.url)
    wait_for(lambda: len(clips_on_disk(out)[0]) >= 3)
    process.send_signal(how)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "the same command resumes" in said and "Traceback" not in said
    there = clips_on_disk(out)[0]
    assert 3 <= len(there) < 60 and classes(out) == {}
    check_whole(out, there, tmp_path)


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------- kills


def kill_until_complete(site, out, folder, videos, kills, seed=0):
    """Run, kill with SIGKILL at random moments of the downloading, run to the end; nothing that was there is fetched
    again, and the labels never name a clip that isn't there.
    """
    rng, listed, workers = random.Random(seed), segment_file(folder, videos), 3
    more = ["--workers", workers]
    for kill in range(kills):
        process = started(listed, out, site.url, *more)
        goal = len(videos) * (kill + 1) // (kills + 2)  # so that every kill meets a run that is at work
        wait_for(lambda goal=goal: len(clips_on_disk(out)[0]) >= goal, 60)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.communicate()
        there = clips_on_disk(out)[0] & clips_on_disk(out)[1]
        before = {clip: site.requests[clip] for clip in there}
        assert set(labels(out)) <= there
        assert all(clip in there for clip in clips_on_disk(out)[0]), "an mp4 without its wav"
    process = started(listed, out, site.url, *more)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    check_whole(out, videos, folder)
    assert all(site.requests[clip] == count for clip, count in before.items())
    # Two requests a clip: yt-dlp looks at the head of a file first. Each kill may waste what was in flight.
    assert 2 * len(videos) <= site.requests.total() <= 2 * (len(videos) + kills * workers)


def test_a_killed_run_goes_on(site, out, tmp_path):
    site.pause = 0.03
    kill_until_complete(site, out, tmp_path, names(24), 2)


@pytest.mark.slow
def test_a_hundred_clips_survive_ten_kills(site, out, tmp_path):
    site.pause = 0.03
    kill_until_complete(site, out, tmp_path, names(100), 10)


def test_what_a_kill_left_is_cleared_and_a_live_process_is_left_alone(site, out, tmp_path):
    videos = names(2)
    work = out / ".download" / "work"
    for folder in (work / "123-dead" / videos[0], out / "audio"):
        folder.mkdir(parents=True)
    (work / "123-dead" / "alive").touch()
    (out / ".vid2genre.json.123.tmp").write_text("{")
    (out / "audio" / f"{videos[1]}.wav").write_text("half of a clip whose mp4 was not renamed yet")
    (out / ".download" / "journal.jsonl").write_text(
        json.dumps({"id": videos[1], "class": "gone"}) + "\n" + json.dumps({"id": videos[0], "class": "gone"})[:-9]
    )
    with folders.work_folder(out) as alive:  # of another process, as far as the lock can tell
        assert [path.name for path in work.iterdir()] == [alive.name]
        script.main(words(segment_file(tmp_path, videos), out, site.url))
        assert alive.is_dir()
    check_whole(out, videos[:1], tmp_path)
    assert not list(out.glob(".*.tmp")) and classes(out) == {videos[1]: "gone"}
    assert journal.Journal(out).last[videos[0]]["class"] == "done"  # not glued to the line that was cut off


# ---------------------------------------------------------------------------------------------------- several


def test_two_processes_share_a_folder(site, out, tmp_path):
    videos, site.pause = names(24), 0.03
    gone = set(videos[::2])
    site.faults = dict.fromkeys(gone, 404)
    listed = segment_file(tmp_path, videos)
    both = [started(listed, out, site.url, "--workers", 2) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    check_whole(out, set(videos) - gone, tmp_path)
    assert site.requests == {video: 1 if video in gone else 2 for video in videos}


def test_a_lock_that_a_kill_left_beside_its_whole_clip_is_removed(out):
    with folders.work_folder(out):
        for clip in ("whole", "held"):
            for file in clip_files(out, clip):
                file.touch()
        locks = out / ".download" / "locks"
        for clip in ("whole", "to_be_had"):
            (locks / clip).touch()
        with folders.try_clip_lock(out, "held") as mine, folders.work_folder(out):
            assert mine and {path.name for path in locks.iterdir()} == {"held", "to_be_had"}
            with folders.try_clip_lock(out, "held") as second:
                assert not second


def test_a_claim_is_of_one_holder_and_leaves_no_file(out):
    with folders.work_folder(out), folders.try_clip_lock(out, "-a") as first:
        with folders.try_clip_lock(out, "-a") as second, folders.try_clip_lock(out, "b") as other:
            assert (first, second, other) == (True, False, True)
        with folders.try_clip_lock(out, "-a") as third:
            assert not third
    with folders.try_clip_lock(out, "-a") as again:
        assert again
    assert not list((out / ".download" / "locks").iterdir())


def test_shards_are_disjoint_complete_and_stay_as_the_list_grows():
    rows = {name: Segment(name, 0, 10, (MID,)) for name in names(500)}
    shards = [set(script.in_shard(rows, (i, 4))) for i in (1, 2, 3, 4)]
    assert set.union(*shards) == set(rows) and sum(map(len, shards)) == 500 and min(map(len, shards)) > 90
    few = {name: rows[name] for name in names(100)}
    assert [set(script.in_shard(few, (i, 4))) for i in (1, 2, 3, 4)] == [shard & set(few) for shard in shards]
    here = [k for k, name in enumerate(names(8)) if name in script.in_shard(rows, (1, 2))]
    assert here == [0, 1, 2, 3]  # on every machine


def test_cuts_of_one_video_get_names_of_their_own(site, out, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text(f'{names(1)[0]}, 0, 1.5, "{MID}"\n{names(1)[0]}, 0.5, 2, "{MID},/m/09x0r"\n')
    script.main(words(listed, out, site.url))
    clips = [f"{names(1)[0]}_0.000_1.500", f"{names(1)[0]}_0.500_2.000"]
    check_whole(out, clips, tmp_path)
    assert labels(out)[clips[1]] == [MID, "/m/09x0r"]


# ---------------------------------------------------------------------------------------------------- labels


def test_labels_of_other_clips_stay_and_those_of_missing_ones_go(site, out, tmp_path):
    videos = names(3)
    out.mkdir(parents=True)
    (out / "vid2genre.json").write_text(json.dumps({"own_clip": ["/m/0"], videos[0]: ["/m/0old"], videos[2]: ["x"]}))
    site.faults = {videos[2]: 404}
    script.main(words(segment_file(tmp_path, videos), out, site.url))
    assert labels(out) == {"own_clip": ["/m/0"], videos[0]: [MID], videos[1]: [MID]}
    (out / "audio" / f"{videos[0]}.wav").unlink()
    site.faults = {videos[0]: 404, videos[2]: 404}
    script.main(words(segment_file(tmp_path, videos), out, site.url))
    assert labels(out) == {"own_clip": ["/m/0"], videos[1]: [MID]}
    assert not (out / "audio" / f"{videos[0]}.wav").exists()


def test_other_times_of_a_clip_that_is_there_are_an_error(site, out, tmp_path):
    script.main(words(segment_file(tmp_path, names(2)), out, site.url))
    with pytest.raises(UserError, match=r"is of 0 to 2 s, and .* asks for 0.5 to 2 s"):
        script.main(words(segment_file(tmp_path, names(2), start=0.5), out, site.url))


# ---------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "row",
    ["../../etc/x, 0, 10", "/etc/passwd, 0, 10", "vid<b>00000, 0, 10", '"vid000\n0000", 0, 10', "vid00000000, 5, 1"],
)
def test_hostile_rows_are_refused_before_anything_is_asked_for(site, out, tmp_path, row):
    (tmp_path / "list.csv").write_text(f'{names(1)[0]}, 0, 2, "{MID}"\n{row}, "{MID}"\n')
    with pytest.raises(UserError, match=r"line [23]"):
        script.main(words(tmp_path / "list.csv", out, site.url))
    assert not site.requests and not out.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--url", "file:///etc/{id}"], "--url"),
        (["--url", "https://example.org/video"], "--url"),
        (["--proxy", "nonsense"], "--proxy"),
        (["--cookies", "no_such_file"], "--cookies no_such_file can't be read"),
        (["--cookies", __file__], "Netscape"),
        (["--csv", "no_such_file"], "no_such_file can't be read"),
        (["--out", __file__], "is a file"),
    ],
)
def test_a_mistake_is_one_sentence(out, tmp_path, more, said):
    with pytest.raises(UserError, match=said):
        script.main([*words(segment_file(tmp_path, names(1)), out, "http://127.0.0.1:9/{id}"), *more])


@pytest.mark.parametrize("more", [["--shard", "0/4"], ["--shard", "5/4"], ["--workers", "0"], ["--retry", "nonsense"]])
def test_a_setting_out_of_range_is_refused(out, tmp_path, more, capsys):
    with pytest.raises(SystemExit) as end:
        script.main([*words(segment_file(tmp_path, names(1)), out, "http://127.0.0.1:9/{id}"), *more])
    assert end.value.code == 2 and more[0] in capsys.readouterr().err


def test_labels_that_cant_be_read_are_found_before_the_download(site, out, tmp_path):
    out.mkdir(parents=True)
    (out / "vid2genre.json").write_text("[1")
    with pytest.raises(UserError, match=r"vid2genre\.json"):
        script.main(words(segment_file(tmp_path, names(1)), out, site.url))
    assert not site.requests


def test_the_users_cookies_are_sent_and_the_file_stays_as_it_is(site, out, tmp_path):
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t2000000000\tname\tvalue\n"
    cookies.write_text(text)
    script.main(words(segment_file(tmp_path, names(1)), out, site.url, "--cookies", cookies))
    assert cookies.read_text() == text and site.cookies == {"name=value"}


@contextmanager
def lists_of_audioset(name):
    """The real list, or skip."""
    path = REPOSITORY.parent / "shared" / "audioset" / name
    if not path.exists():
        pytest.skip(f"needs AudioSet's {name} in ../shared/audioset")
    yield path


def test_the_real_list_is_planned_in_seconds(out, tmp_path):
    """Every row of AudioSet's eval list has a name and a share, and a start on a list of that size is quick."""
    with lists_of_audioset("eval_segments.csv") as path:
        begun = time.monotonic()
        segments = read_segments(path)
        rows = dict(zip(script.clip_ids(segments), segments, strict=True))
        assert len(rows) == 20371 and sum(len(script.in_shard(rows, (i, 3))) for i in (1, 2, 3)) == 20371
        with folders.work_folder(out):
            journal.update_tables(out, rows, journal.Journal(out))
        assert time.monotonic() - begun < 10
