"""What becomes of a clip that can't be downloaded: its class in failures.csv, and a rerun that completes."""

import csv
import json

import pytest
from downloads import check_whole, classes, journal_lines, segment_file, words
from yt_dlp.utils import DownloadError, GeoRestrictedError

import data.download_video_audio as script
from data.download import tables
from data.download.failures import FAILURE_KINDS, Failure, failure_of

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

    site.faults, site.films, site.types = {}, {}, {}  # the server works again
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
    rows = list(csv.reader(tables.failures_table(events, {"there_alrea"}).splitlines()))
    assert rows[0] == list(tables.COLUMNS) and len(rows) == 2
    row = dict(zip(*rows, strict=True))
    assert row["id"] == row["video"] == "-abcdefghij" and row["worth_retrying"] == "yes" and row["when"] == "'@x"
    assert row["message"] == '\'=HYPERLINK("http://x") <b>second</b>'
