"""Choosing classes: the paper's rule on the real lists, limits that hold, and options that are refused."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers import write_json
from selection_lists import ROWS

from data import select_data_by_genre
from data.select_data_by_genre import main
from dataset.making.lists.select_by_class import find_matches, limit_per_class, read_class_list
from dataset.making.lists.video_lists import read_list
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data" / "select_data_by_genre.py"
SHIPPED = ROOT / "data" / "data_infos" / "genre_select.txt"
AUDIOSET = ROOT.parent / "shared" / "audioset"
needs_lists = pytest.mark.skipif(not AUDIOSET.is_dir(), reason="AudioSet's lists are not here")


def read_segments(path):
    """The segments of AudioSet's list `path`."""
    return read_list(path, "audioset").segments


def select(infos, *words):
    """Rows that the command keeps of the list: [(id, labels), ...]."""
    out = infos / "out.csv"
    out.unlink(missing_ok=True)
    options = ("--infos", infos, "--genres", infos / "genres.txt", "--out", out)
    main([str(word) for word in ("--csv", infos / "list.csv", *options, *words)])
    return [(segment.video, list(segment.labels)) for segment in read_segments(out)]


# ----------------------------------------------------------------------------------------------------- the real lists


@needs_lists
@pytest.mark.parametrize(("name", "rows"), [("eval", 4361), ("balanced_train", 4654)])
def test_the_shipped_classes_are_the_papers(tmp_path, capsys, name, rows):
    csv, out = AUDIOSET / f"{name}_segments.csv", tmp_path / "out.csv"
    main(["--csv", str(csv), "--infos", str(AUDIOSET), "--genres", str(SHIPPED), "--out", str(out)])
    kept, everything = read_segments(out), read_segments(csv)
    assert len(kept) == rows
    place = {segment: i for i, segment in enumerate(everything)}
    places = [place[segment] for segment in kept]  # whole rows of the list
    assert places == sorted(places)
    told = capsys.readouterr().out
    assert f"kept {rows:,} of {len(everything):,}, with 98 of the 110 chosen classes" in told
    assert len(told.splitlines()) == 13 and "Musical instrument" in told.splitlines()[2]


@needs_lists
@pytest.mark.parametrize("balanced", [True, False])
def test_no_class_of_the_real_list_passes_its_limit(tmp_path, balanced):
    out = tmp_path / "out.csv"
    options = ["--infos", AUDIOSET, "--genres", SHIPPED, "--out", out, "--per_class", 20]
    words = ["--csv", AUDIOSET / "balanced_train_segments.csv", *options, *["--balanced"][: int(balanced)]]
    main(list(map(str, words)))
    tree, classes = select_data_by_genre.read_classes(AUDIOSET)
    chosen = tree.descendants(read_class_list(SHIPPED, classes))
    count = Counter(mid for segment in read_segments(out) for mid in segment.labels if mid in chosen)
    assert len(chosen) == 110 and max(count.values()) == 20 and len(count) == 98
    assert min(count.values()) >= (5 if balanced else 1)


# ------------------------------------------------------------------------------------------------------- which classes


@pytest.mark.parametrize(
    ("genres", "options", "kept"),
    [
        ("Guitar", [], "bad"),
        ("  gUITAR  # all of them\n\n# Bell\n", [], "bad"),
        ("/m/guitar", [], "bad"),
        ("/M/Guitar", ["--no_descendants"], "bd"),
        ("\ufeffSteel guitar, slide guitar\r\n", ["--no_descendants"], "a"),
        ("bell\nspeech", [], "-ac"),
        ("Music", [], "bacd"),  # a name that the ontology alone has
        ("Music\nOld name", ["--match", "all"], "bcd"),  # and one that the list of labels alone has
        ("Music\nSpeech", ["--match", "all"], "-bacd"),
        ("Acoustic  guitar", ["--match", "all"], ""),
    ],
)
def test_classes_are_chosen_by_name_or_mid_with_what_is_below_them(infos, genres, options, kept):
    (infos / "genres.txt").write_bytes(genres.encode())
    if not kept:
        with pytest.raises(UserError, match=r"nothing in .*list.csv has the classes that .*genres.txt asks for"):
            select(infos, *options)
        assert not (infos / "out.csv").exists()
        return
    found = select(infos, *options)
    assert "".join(clip[0] for clip, _ in found) == kept  # in the file's order
    assert all(entry in ROWS for entry in found)  # with all their labels


@pytest.mark.parametrize(
    ("genres", "reason"),
    [
        ("Bell\nGitar", r"genres.txt, line 2: 'Gitar' is not a class of AudioSet: the nearest is 'Guitar', /m/guitar"),
        ("Steel guitar", r"line 1: 'Steel guitar' is not a class.*'Steel guitar, slide guitar', /m/steel"),
        ("/m/stel", r"the nearest is .*, /m/steel"),
        ("Old nam", r"the nearest is 'Old name', /m/old"),
        ("\x1b[31mBell\x07", r"line 1: '\\x1b\[31mBell\\x07' is not a class"),
        ("x" * 100_000, "line 1: 'x{60}' is not a class"),
        ("# nothing\n\n", "genres.txt lists no class"),
        ("\udcff", "it is not text in UTF-8"),
    ],
)
def test_a_line_that_is_no_class_gets_the_nearest_name(infos, genres, reason):
    (infos / "genres.txt").write_bytes(genres.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=reason) as caught:
        select(infos)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["ontology.json", "class_labels_indices.csv"])
def test_a_list_of_classes_that_is_not_there_is_named_with_what_to_do(infos, name):
    (infos / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing: get it with .*download_metadata.*--infos"):
        select(infos)


# -------------------------------------------------------------------------------------------------------------- limits

MANY = [["common", "rare"]] * 3 + [["common"]] * 40 + [["middle", "common"]] * 10 + [["other"]] * 5


def test_a_limit_holds_for_every_class_that_an_entry_has():
    chosen = {"common", "middle", "rare"}
    places = find_matches(MANY, chosen)
    for per_class in (1, 2, 3, 7, 1000):
        for balanced in (True, False):
            kept = limit_per_class(per_class, MANY, places, chosen, balanced, 0)
            count = Counter(mid for i in kept for mid in MANY[i])
            assert kept == sorted(set(kept)) and set(kept) <= set(places) and max(count.values()) <= per_class
            # Nothing that would fit is left out.
            assert all(any(count[mid] == per_class for mid in MANY[i]) for i in set(places) - set(kept))


def test_balanced_gives_the_rare_classes_what_common_ones_would_use_up():
    chosen = {"common", "middle", "rare"}
    places = find_matches(MANY, chosen)
    for seed in range(5):
        kept = limit_per_class(6, MANY, places, chosen, True, seed)
        assert Counter(mid for i in kept for mid in MANY[i]) == {"common": 6, "rare": 3, "middle": 3}
    at_random = [limit_per_class(6, MANY, places, chosen, False, seed) for seed in range(5)]
    assert any(sum("rare" in MANY[i] for i in kept) < 3 for kept in at_random)
    assert len(set(map(tuple, at_random))) > 1  # another seed, others


def test_a_seed_gives_the_same_rows_in_every_process(infos):
    """The order of a set of strings changes from one process to the next."""
    kept = set()
    rows = "".join(f'{k:011d}, 0, 10, "{",".join(f"/m/{c}" for c in range(9) if k >> c & 1)}"\n' for k in range(1, 512))
    (infos / "list.csv").write_text(rows)
    entries = [{"id": f"/m/{c}", "name": f"Class {c}", "child_ids": []} for c in range(9)]
    write_json(infos / "ontology.json", entries)
    (infos / "genres.txt").write_text("".join(f"Class {c}\n" for c in range(9)))
    for hashing in ("1", "2"):
        out = infos / f"{hashing}.csv"
        words = ["--csv", infos / "list.csv", "--infos", infos, "--genres", infos / "genres.txt", "--out", out]
        done = run(*words, "--per_class", 7, "--balanced", PYTHONHASHSEED=hashing)
        assert done.returncode == 0, done.stderr
        kept.add(out.read_text() + done.stdout)
    assert len(kept) == 1


# ----------------------------------------------------------------------------------------------------- the command line


def run(*words, **env):
    """The finished process of the script, run as a user runs it."""
    words = [sys.executable, SCRIPT, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | env)


def test_a_list_that_exists_is_never_overwritten(infos):
    (infos / "out.csv").write_text("mine")
    done = run("--csv", infos / "list.csv", "--infos", infos, "--genres", infos / "genres.txt", "--out",
               infos / "out.csv")  # fmt: skip
    assert done.returncode == 2 and (infos / "out.csv").read_text() == "mine"
    assert done.stderr.count("\n") == 1 and "out.csv already exists and is not overwritten" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--balanced"], "--balanced needs --per_class"),
        (["--by", "copy"], "--by goes with --clips"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(infos, words, reason):
    with pytest.raises(UserError, match=reason):
        select(infos, *words)


@pytest.mark.parametrize("words", [["--per_class", "0"], ["--per_class", "x"], ["--clips", "x"], ["--match", "some"]])
def test_options_of_another_form_are_refused(infos, words, capsys):
    with pytest.raises(SystemExit) as caught:
        select(infos, *words)
    assert caught.value.code == 2 and "error: argument" in capsys.readouterr().err
