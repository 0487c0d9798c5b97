"""Downloading from a site on this machine: formats, cuts, labels, and mistakes named in one sentence."""

import json
import time
from contextlib import contextmanager

import av
import numpy as np
import pytest
import soundfile
from downloads import MID, REPOSITORY, check_whole, classes, labels, names, segment_file, words
from helpers import click, numbered, read_number, write_video

import data.download_video_audio as script
from data.download import fetch, folders, journal, tables
from data.download.failures import Failure
from data.download.lists import in_shard
from data.download.plan import DownloadPlan
from dataset.making.lists.video_lists import read_list
from utils.errors import UserError

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
        listed = read_list(path)
        rows = dict(zip(listed.clip_ids(), listed.segments, strict=True))
        assert len(rows) == 20371 and sum(len(in_shard(rows, (i, 3))) for i in (1, 2, 3)) == 20371
        with folders.work_folder(out):
            tables.update_tables(out, DownloadPlan(rows), journal.Journal(out))
        assert time.monotonic() - begun < 10
