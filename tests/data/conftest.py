"""Fixtures that several tests of the data commands use."""

import os

import pytest
from helpers import tone, write_json, write_sound
from media_server import MediaServer, film
from selection_lists import CLASSES, ROWS


@pytest.fixture(autouse=True)
def same_path(monkeypatch):
    """A download adds the folder of its ffmpeg to PATH where the system has none; later tests don't see it."""
    monkeypatch.setenv("PATH", os.environ["PATH"])


@pytest.fixture(scope="session")
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


@pytest.fixture
def infos(tmp_path):
    """A folder with the classes, a list of ROWS, and genres.txt."""
    folder = tmp_path / "infos"
    entries = [{"id": mid, "name": name, "child_ids": below} for mid, (name, below) in CLASSES.items()]
    write_json(folder / "ontology.json", entries)
    names = "".join(f'{k},{mid},"{name}"\n' for k, (mid, (name, _)) in enumerate(CLASSES.items()) if mid != "/m/music")
    (folder / "class_labels_indices.csv").write_text("index,mid,display_name\n" + names + '9,/m/old,"Old name"\n')
    rows = "".join(f'{clip}, 0.500, 10.000, "{",".join(mids)}"\n' for clip, mids in ROWS)
    (folder / "list.csv").write_text("# YTID, start_seconds, end_seconds, positive_labels\n" + rows)
    (folder / "genres.txt").write_text("Guitar\n")
    return folder
