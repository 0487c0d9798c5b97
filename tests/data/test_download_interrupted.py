"""Downloads that stop, are killed, or share a folder leave nothing half done."""

import json
import os
import random
import shutil
import signal
import time
from collections import namedtuple

import pytest
from downloads import MID, check_whole, classes, clips_on_disk, labels, names, segment_file, started, wait_for, words

import data.download_video_audio as script
from data.download import folders, journal, workers
from data.download.lists import in_shard
from dataset.making.lists.segments import Segment
from dataset.reading.clips import clip_files

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
    shards = [set(in_shard(rows, (i, 4))) for i in (1, 2, 3, 4)]
    assert set.union(*shards) == set(rows) and sum(map(len, shards)) == 500 and min(map(len, shards)) > 90
    few = {name: rows[name] for name in names(100)}
    assert [set(in_shard(few, (i, 4))) for i in (1, 2, 3, 4)] == [shard & set(few) for shard in shards]
    here = [k for k, name in enumerate(names(8)) if name in in_shard(rows, (1, 2))]
    assert here == [0, 1, 2, 3]  # on every machine


def test_cuts_of_one_video_get_names_of_their_own(site, out, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text(f'{names(1)[0]}, 0, 1.5, "{MID}"\n{names(1)[0]}, 0.5, 2, "{MID},/m/09x0r"\n')
    script.main(words(listed, out, site.url))
    clips = [f"{names(1)[0]}_0.000_1.500", f"{names(1)[0]}_0.500_2.000"]
    check_whole(out, clips, tmp_path)
    assert labels(out)[clips[1]] == [MID, "/m/09x0r"]
