"""Maps of labels to AudioSet's classes: what they say is true of the real ontology, and wrong files are named."""

import csv
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from dataset.making.lists.label_maps import map_labels, read_label_map
from dataset.making.lists.list_formats import parse_vggsound
from utils.errors import UserError

MAPS = Path(__file__).parents[2] / "data" / "label_maps"
AUDIOSET = Path(__file__).parents[3] / "shared" / "audioset" / "ontology.json"
NUMBERS = {"vggsound": 309, "music": 21, "solos": 13, "ave": 28}


def rows_of(name):
    with open(MAPS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(text):
    return " ".join(re.findall("[a-z]+", text.lower()))


@pytest.fixture(scope="module")
def classes():
    if not AUDIOSET.exists():
        pytest.skip(f"AudioSet's ontology isn't here ({AUDIOSET})")
    return {one["id"]: one for one in json.loads(AUDIOSET.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_map_has_each_label_once_and_says_how_its_class_was_found(name):
    rows = rows_of(name)
    assert len(rows) == len(read_label_map(MAPS / f"{name}.csv")) == NUMBERS[name]
    for row in rows:
        assert row["how"] in ("equal", "synonym", "hand", "above", "none"), row
        assert bool(row["mid"]) == bool(row["name"]) == (row["how"] != "none"), row
        assert (row["how"] == "equal") == (row["label"].lower() == row["name"].lower()), row


@pytest.mark.parametrize("name", NUMBERS)
def test_a_map_is_true_of_the_real_ontology(name, classes):
    for row in rows_of(name):
        if row["mid"]:
            found = classes[row["mid"]]
            assert found["name"] == row["name"] and "abstract" not in found["restrictions"], row
            if row["how"] == "above":  # a class of AudioSet's own labels, not one that it leaves out as unclear
                assert not found["restrictions"], row
        if row["how"] in ("above", "none"):  # then no class has this very name
            label = words(row["label"].removeprefix("playing "))
            assert label not in {words(one["name"]) for one in classes.values()}, row
    equal = Counter(row["mid"] for row in rows_of(name) if row["how"] == "equal")
    assert set(equal.values()) <= {1}


def test_vggsounds_map_has_the_names_of_vggsound():
    package = pytest.importorskip("vggsounder")
    with open(Path(package.__file__).parent / "data" / "classes.csv", encoding="utf-8", newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    assert sorted(names) == sorted(row["label"] for row in rows_of("vggsound"))


@pytest.mark.parametrize(("label", "name"), [
    ("playing violin, fiddle", "Violin, fiddle"), ("dog bow-wow", "Bow-wow"), ("cat meowing", "Meow"),
    ("playing tympani", "Timpani"), ("playing timpani", "Timpani"), ("people whispering", "Whispering"),
    ("playing oboe", "Oboe"), ("playing erhu", "Bowed string instrument"), ("male speech, man speaking",) * 2,
])  # fmt: skip
def test_labels_of_vggsounds_own_list_become_mids(label, name):
    table = read_label_map(MAPS / "vggsound.csv")
    segment = parse_vggsound(["---g-f_I2yQ", "1", label, "test"])
    mids = {row["name"].lower(): row["mid"] for row in rows_of("vggsound")}
    assert map_labels(segment.labels, table) == (mids[name.lower()],)


def test_labels_are_compared_without_case_and_spaces_and_stay_where_the_map_has_none(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text('how,MID,Label\n,"/m/01,/m/02",Dog  barking\n,,tap dancing\n', encoding="utf-8-sig")
    table = read_label_map(path)
    assert table == {"dog barking": ("/m/01", "/m/02"), "tap dancing": ()}
    labels = [" DOG barking ", "Tap dancing", "other", "/m/02", "dog barking"]
    assert map_labels(labels, table) == ("/m/01", "/m/02", "Tap dancing", "other")


@pytest.mark.parametrize(("text", "said"), [
    ("", "its first line must name the columns label and mid"),
    ("label,name\na,b\n", "its first line must name the columns label and mid"),
    ("label,mid,label\n", "its first line must name the columns label and mid"),
    ("label,mid\n", "has no rows"),
    ("label,mid\na,/m/01\nplaying violin, fiddle,/m/07y_7\n", "line 3 has 3 cells, but the header has 2"),
    ("label,mid\na,/m/01\n# note\n A ,/m/02\n", "line 4 has the label 'a' again"),
    ("label,mid\na,m/01\n", "line 2: 'm/01' is not an AudioSet mid"),
    ('label,mid\na,"/m/01,"\n', "line 2: '' is not an AudioSet mid"),
    ("label,mid\n ,/m/01\n", "line 2 has no label"),
    ("label,mid\n\xff", "is not a text file in UTF-8"),
])  # fmt: skip
def test_a_wrong_map_is_one_sentence_that_names_the_line(tmp_path, text, said):
    path = tmp_path / "map.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        read_label_map(path)
    assert str(error.value).startswith(str(path)) and said in str(error.value) and "\n" not in str(error.value)


def test_the_table_of_the_docs_counts_the_rows():
    page = (MAPS.parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    for how in ("equal", "synonym", "hand", "above", "none"):
        counts = [sum(row["how"] == how for row in rows_of(name)) for name in ("vggsound", "music", "solos", "ave")]
        assert f"\n| {how} | {' | '.join(map(str, counts))} | " in page


def test_a_damaged_map_is_a_table_or_one_sentence(tmp_path):
    rng, good, path = random.Random(0), (MAPS / "solos.csv").read_bytes(), tmp_path / "map.csv"
    messages = []
    for _ in range(300):
        content = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(content))
            content[place : place + rng.randint(0, 8)] = rng.choice([b"", b"\x00", b'"', b",", b"\n", b"\xff", b"/m/"])
        path.write_bytes(content)
        try:
            read_label_map(path)
        except UserError as error:
            messages.append(str(error))
    assert 50 < len(messages) < 300
    assert all(str(path) in message and message.isprintable() for message in messages)
