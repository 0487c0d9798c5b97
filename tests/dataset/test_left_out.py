"""Tables of files hold any name that a file system allows, and give it back."""

import csv

import numpy as np
import pytest
from helpers import read_left_out

from collection.storage import Collection, write_csv
from dataset.making.left_out import LeftOut, write_left_out

NAMES = ("plain.mp4", "a,b.mp4", 'a"b.mp4', "a\nb.mp4", "a\rb.mp4", "a\r\nb.mp4", " blank .mp4", "Größe 🎻.mp4")


def test_left_out_csv_gives_back_each_name(tmp_path):
    write_left_out(tmp_path / "x.csv", [LeftOut("", name, "damaged", f"of {name}") for name in NAMES])
    assert read_left_out(tmp_path / "x.csv") == {name: f"of {name}" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_an_embedding_gives_back_each_name(name, tmp_path):
    one, has = np.ones((1, 2), np.float32), np.ones(1, bool)
    about = {"files": [[name, "video", name]]}
    write_csv(tmp_path / "x.csv", Collection(one, one, has, has, np.array([0.5]), np.zeros(1, np.int32), about))
    with open(tmp_path / "x.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 and (rows[0]["file"], float(rows[0]["time"])) == (name, 0.5)
