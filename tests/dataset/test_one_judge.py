"""What check_data passes, every reader reads, and what it refuses, every reader refuses: over 250 odd clips."""

import doors
import pytest
from oddities import make_oddity, oddities

ODDITIES = oddities()
# Not every reader reads a clip to its end.
READ_IN_PART = {"wav with an mp3 in it": {"embed"}}
QUICK = 8  # of so many oddities, one is tried in each run of the tests


def judged(name, folder):
    make_oddity(ODDITIES[name], folder)
    found = doors.disagreements(folder)
    return {door: said for door, said in found.items() if door not in READ_IN_PART.get(name, ())}


def test_there_are_many_oddities():
    assert len(ODDITIES) > 200 and len(doors.DOORS) == 6


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if k % QUICK == 0 else pytest.mark.slow) for k, name in enumerate(ODDITIES)
])  # fmt: skip
def test_all_doors_agree(tmp_path, name):
    found = judged(name, tmp_path / "train")
    assert found.keys() <= {"check"}, found


@pytest.mark.parametrize("name", [
    "usual", "sound longer by 0.35 s in matroska", "sound longer by 0.5 s in matroska", "a still, h264 in matroska",
    "a still, vp9 in webm", "slides, vp9 in webm", "two slides, mjpeg in matroska", "h264 in mpegts",
    "live mkv without lengths", "mkv, times shifted by 5 s", "last packet of garbage, h264 in matroska",
    "middle packet of garbage, mjpeg in avi", "first packet of garbage, mpeg4 in mp4",
    "an empty packet, vp9 in matroska",
])  # fmt: skip
def test_what_a_player_plays_is_ok(tmp_path, name):
    make_oddity(ODDITIES[name], tmp_path / "train")
    assert doors.check(tmp_path / "train") == ""
    assert {door: doors.verdict(door, tmp_path / "train") for door in doors.DOORS} == dict.fromkeys(doors.DOORS, "")
