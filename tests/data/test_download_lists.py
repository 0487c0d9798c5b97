"""Downloads of every list: whole videos and long parts cut into clips, ids of other sites, AVE's own times, labels."""

import json
import signal
import time
from collections import Counter

import av
import numpy as np
import pytest
import soundfile
from downloads import check_whole, classes, clips_on_disk, journal_lines, labels, names, started, wait_for, words
from helpers import click, numbered, read_number, write_json, write_video

import data.download_video_audio as script
from data.download.options import YOUTUBE
from utils.errors import UserError

FPS, SECONDS, CLICK = 10, 7.0, 5.3  # of the film: its pictures show their numbers, its sound is a click
A, B, C = names(3)


@pytest.fixture
def site(site, tmp_path_factory):
    """The server, with a film of seven seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    pictures = [numbered(k) for k in range(round(SECONDS * FPS))]
    write_video(path, pictures, FPS, sound=click(SECONDS, 48000, CLICK), rate=48000, movflags="faststart")
    site.film = path.read_bytes()
    return site


def music(folder, classes):
    write_json(folder / "list.json", {"videos": classes})
    return folder / "list.json"


def write(folder, text):
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return folder / "list.csv"


def numbers(out, clip):
    """The numbers of the film's pictures that a clip shows."""
    with av.open(str(out / "video" / f"{clip}.mp4")) as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def click_of(out, clip):
    """When the click is heard in a clip, seconds; None if it is silent."""
    sound, rate = soundfile.read(out / "audio" / f"{clip}.wav")
    return np.argmax(np.abs(sound)) / rate if np.abs(sound).max() > 0.1 else None


def check_cuts(out, video, starts, seconds):
    """Each clip shows and sounds as the film does in its seconds."""
    for start in starts:
        clip = f"{video}_{start:.3f}_{start + seconds:.3f}"
        assert numbers(out, clip) == list(range(round(start * FPS), round((start + seconds) * FPS)))
        heard = CLICK - start if start <= CLICK < start + seconds else None
        assert click_of(out, clip) == (heard if heard is None else pytest.approx(heard, abs=0.002))


def cut_names(video, starts, seconds):
    return {f"{video}_{start:.3f}_{start + seconds:.3f}" for start in starts}


# ---------------------------------------------------------------------------------------------------- whole videos


@pytest.mark.parametrize("every", [2, 1])
def test_whole_videos_are_cut_into_clips_with_their_labels(site, films, out, tmp_path, capsys, every):
    site.films = {C: films["brief"]}
    listed = music(tmp_path, {"flute": [A], "flute violin": [B], "cello": [C]})
    more = [] if every == 2 else ["--every", every]
    script.main(words(listed, out, site.url, "--seconds", 2, *more))
    starts = range(0, 6, every)
    clips = {video: cut_names(video, starts, 2) for video in (A, B)}
    check_whole(out, clips[A] | clips[B], tmp_path)
    check_cuts(out, A, starts, 2)
    both = {clip: ["flute", "violin"] for clip in clips[B]}
    assert labels(out) == {clip: ["flute"] for clip in clips[A]} | both
    assert classes(out) == {C: "short"}
    said = capsys.readouterr().out
    assert "MUSIC, 3 whole videos" in said and "2 of 3 segments exist" in said
    assert f"{2 * len(starts)} clips of 2 s exist; {2 * (SECONDS - starts[-1] - 2):.0f} s at the ends" in said

    site.requests.clear()
    script.main(words(listed, out, site.url, "--seconds", 2, *more))
    assert not site.requests
    lost = min(clips[A])
    (out / "video" / f"{lost}.mp4").unlink()
    script.main(words(listed, out, site.url, "--seconds", 2, *more))
    assert set(site.requests) == {A}
    check_whole(out, clips[A] | clips[B], tmp_path)


@pytest.mark.parametrize("mode", ["full", "section"])
def test_a_whole_video_is_one_clip_without_seconds(site, out, tmp_path, mode):
    listed = write(tmp_path, f"{A}\n{B}\n")
    script.main(words(listed, out, site.url, "--mode", mode))
    check_whole(out, [A, B], tmp_path)
    assert numbers(out, A) == list(range(70)) and click_of(out, A) == pytest.approx(CLICK, abs=0.002)
    events = [json.loads(line, parse_constant=pytest.fail) for line in journal_lines(out)]
    assert [event["end"] for event in events] == [None, None] and labels(out) == {A: [], B: []}
    site.requests.clear()
    script.main(words(listed, out, site.url))
    assert not site.requests
    with pytest.raises(UserError, match=f"{A} .*0 s to the end, and .* asks for 0 to 2 s"):
        script.main(words(write(tmp_path, f'{A},0,2,"/m/04rlf"\n'), out, site.url))


@pytest.mark.parametrize("mode", ["full", "section"])
def test_long_parts_of_a_video_are_cut_inside_them(site, out, tmp_path, mode):
    solos = {"Flute": {A: [[25, 150]]}, "Cello": {A: [[100, 163]], B: [[0, 25]]}}  # 25 frames are a second
    write_json(tmp_path / "solos.json", solos)
    script.main(words(tmp_path / "solos.json", out, site.url, "--seconds", 2, "--mode", mode, "--retries", 0))
    check_whole(out, cut_names(A, (1, 3, 4), 2), tmp_path)
    check_cuts(out, A, (1, 3, 4), 2)
    assert labels(out) == {
        f"{A}_1.000_3.000": ["Flute"], f"{A}_3.000_5.000": ["Flute"], f"{A}_4.000_6.000": ["Flute", "Cello"]
    }  # fmt: skip
    assert classes(out) == {B: "short"} and set(site.requests) == {A}


def test_a_video_that_lacks_its_end_is_damaged_and_its_clips_are_whole(site, out, tmp_path):
    site.films = {A: site.film[: len(site.film) * 2 // 3]}
    listed = music(tmp_path, {"flute": [A]})
    script.main(words(listed, out, site.url, "--seconds", 1))
    assert classes(out) == {A: "damaged"}
    made = clips_on_disk(out)[0]
    assert 0 < len(made) < 7
    check_whole(out, made, tmp_path)
    site.films = {}
    script.main(words(listed, out, site.url, "--seconds", 1))
    check_whole(out, cut_names(A, range(7), 1), tmp_path)
    check_cuts(out, A, range(7), 1)


def test_a_killed_run_leaves_complete_clips_and_goes_on(site, out, tmp_path):
    videos = names(3)
    more = [music(tmp_path, {"flute": videos}), out, site.url, "--seconds", 1, "--every", 0.25, "--workers", 2]
    process = started(*more)
    wait_for(lambda: (out / "video").is_dir() and len(clips_on_disk(out)[0]) >= 10)
    process.kill()
    process.communicate()
    mp4s, wavs = clips_on_disk(out)
    assert 10 <= len(mp4s) < 3 * 25 and mp4s <= wavs
    before = {clip: (out / "video" / f"{clip}.mp4").stat().st_mtime_ns for clip in mp4s}
    done = [event["id"] for event in map(json.loads, journal_lines(out)) if event["class"] == "done"]
    expected = {video: cut_names(video, np.arange(25) / 4, 1) for video in videos}
    assert all(expected[video] <= mp4s for video in done)
    script.main(words(*more))
    check_whole(out, set.union(*expected.values()), tmp_path)
    assert all((out / "video" / f"{clip}.mp4").stat().st_mtime_ns == then for clip, then in before.items())


def test_an_interrupted_run_stops_within_a_video(site, out, tmp_path):
    more = ["--seconds", 1, "--every", 0.1, "--workers", 1]
    process = started(music(tmp_path, {"flute": [A]}), out, site.url, *more)
    wait_for(lambda: (out / "video").is_dir() and clips_on_disk(out)[0])
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "the same command resumes" in said and "Traceback" not in said
    assert 0 < len(clips_on_disk(out)[0]) < 61 and not journal_lines(out) and classes(out) == {}
    check_whole(out, clips_on_disk(out)[0], tmp_path)


def test_what_a_kill_between_two_renames_leaves_of_a_video_that_is_gone_is_removed(site, out, tmp_path):
    site.faults = {A: 404}
    (out / "audio").mkdir(parents=True)
    lone, own = (out / "audio" / f"{name}.wav" for name in (f"{A}_0.000_2.000", f"{A}_0.000_3.000"))
    lone.touch()
    own.touch()  # no clip of this list
    script.main(words(music(tmp_path, {"flute": [A]}), out, site.url, "--seconds", 2))
    assert not lone.exists() and own.exists() and classes(out) == {A: "gone"}


def test_other_lengths_in_the_same_folder_are_refused(site, out, tmp_path):
    listed = music(tmp_path, {"flute": [A]})
    script.main(words(listed, out, site.url, "--seconds", 3))
    for more in (["--seconds", 2], ["--seconds", 3, "--every", 1], []):
        with pytest.raises(UserError, match="holds clips of --seconds 3 --every 3"):
            script.main(words(listed, out, site.url, *more))
    script.main(words(write(tmp_path, f'{B},0,2,"/m/04rlf"\n'), out, site.url))  # nothing that would be cut
    assert labels(out)[B] == ["/m/04rlf"] and labels(out)[f"{A}_0.000_3.000"] == ["flute"]

    whole = tmp_path / "whole" / "train"
    script.main(words(listed, whole, site.url))
    with pytest.raises(UserError, match=f"{A} exists in .* as one clip"):
        script.main(words(listed, whole, site.url, "--seconds", 3))


# ---------------------------------------------------------------------------------------------------- options


AUDIOSET = f'{A}, 1.000, 3.000, "/m/04rlf"\n'
AVE = f"Category&VideoID&Quality&StartTime&EndTime\nFlute&{A}&good&1&3\nCello, bass&{B}&good&0&2\n"


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (AUDIOSET, ["--seconds", 2], "--seconds 2 cuts whole videos and longer parts"),
        (f"{A}\n", ["--every", 2], "--every .* give --seconds"),
        (f"{A}\n34567\n12345\n", ["--url", YOUTUBE], "2 ids of 3 .* the first '34567': .* --url"),
        (AVE, ["--url", YOUTUBE], "--times"),
        (AVE, ["--times", "OUT"], "ave|can't be read"),
        (AUDIOSET, ["--times", "no_such"], "--times goes with AVE's lists only"),
        (AUDIOSET, ["--part", "train"], "no parts"),
        (AUDIOSET, ["--format", "solos"], "--format solos"),
        (AUDIOSET, ["--label_map", "no_such"], "no_such can't be read"),
    ],
)
def test_a_mistake_is_one_sentence(site, out, tmp_path, text, more, said):
    more = [str(out) if word == "OUT" else word for word in more]
    with pytest.raises(UserError, match=said):
        script.main(words(write(tmp_path, text), out, site.url, *more))
    assert not site.requests and not out.exists()


def test_ids_of_other_sites_are_encoded_into_the_address(site, out, tmp_path):
    ids = {"3456789012": "3456789012", "$HOME": "%24HOME", "é #1?": "%C3%A9%20%231%3F", "alive": "alive"}
    text = "id,start,end,label\n" + "".join(f"{one},1,3,a {k}\n" for k, one in enumerate(ids))
    script.main(words(write(tmp_path, text), out, site.url))
    check_whole(out, ids, tmp_path)
    assert set(site.requests) == set(ids.values()) and labels(out)["$HOME"] == ["a 1"]
    assert all(numbers(out, clip) == list(range(10, 30)) for clip in ids)


def test_aves_times_are_within_audiosets_segments(site, out, tmp_path, capsys):
    (tmp_path / "audioset.csv").write_text(f'{A}, 3.000, 7.000, "/m/04rlf"\n{C}, 0.000, 7.000, "/m/04rlf"\n')
    with open(tmp_path / "audioset.csv", "a") as file:  # it says twice where B begins
        file.write(f'{B}, 0.000, 4.000, "/m/04rlf"\n{B}, 3.000, 7.000, "/m/04rlf"\n')
    listed = write(tmp_path, AVE)
    script.main(words(listed, out, site.url, "--times", tmp_path / "audioset.csv"))
    check_whole(out, [A], tmp_path)
    assert numbers(out, A) == list(range(40, 60)) and labels(out) == {A: ["Flute"]}
    assert f"1 clip left out, as {tmp_path / 'audioset.csv'} doesn't say where they begin; the first: {B}" in (
        capsys.readouterr().out
    )
    own = tmp_path / "own" / "train"
    script.main(words(listed, own, site.url))
    assert numbers(own, A) == list(range(10, 30)) and labels(own)[B] == ["Cello, bass"]
    with pytest.raises(UserError, match="doesn't say where"):
        script.main(words(listed, own, site.url, "--times", listed))


def test_a_part_of_vggsound_has_its_names_and_mids(site, out, tmp_path):
    rows = f'{A},0,"playing flute",train\n{B},1,"playing flute",test\n{A},1,"cat purring, loud",train\n'
    (tmp_path / "map.csv").write_text('label,mid\nplaying flute,"/m/0l14j_,/m/0dm"\n"cat purring, loud",\n')
    listed = write(tmp_path, rows)
    script.main(words(listed, out, site.url, "--part", "train", "--label_map", tmp_path / "map.csv"))
    check_whole(out, [f"{A}_000000", f"{A}_000001"], tmp_path)
    assert labels(out) == {f"{A}_000000": ["/m/0l14j_", "/m/0dm"], f"{A}_000001": ["cat purring, loud"]}
    assert numbers(out, f"{A}_000001") == list(range(10, 70))


def test_the_pause_is_not_spent_on_parts_that_are_too_short(site, out, tmp_path):
    write_json(tmp_path / "solos.json", {"Flute": {A: [[0, 175]]} | {video: [[0, 25]] for video in names(50, "b")}})
    begin = time.monotonic()
    script.main(words(tmp_path / "solos.json", out, site.url, "--seconds", 2, "--sleep", 0.5, "--workers", 1))
    assert time.monotonic() - begin < 5 and Counter(classes(out).values()) == {"short": 50}


def test_a_mirror_of_clips_that_are_cut_already_is_asked_by_their_names(site, tmp_path):
    """The film is what the mirror serves for each clip: its seconds are the clip's, from 0 on."""
    listed = write(tmp_path, f'{A},30,"dog barking",train\n{A},200,"dog barking",test\n')
    script.main(words(listed, tmp_path / "out", site.url.replace("{id}", "{clip}"), "--mode", "section"))
    assert set(site.requests) == {f"{A}_000030", f"{A}_000200"}
    assert clips_on_disk(tmp_path / "out")[0] == {f"{A}_000030", f"{A}_000200"}
    for clip in (f"{A}_000030", f"{A}_000200"):
        assert numbers(tmp_path / "out", clip) == list(range(round(SECONDS * FPS)))
        assert click_of(tmp_path / "out", clip) == pytest.approx(CLICK, abs=0.002)
