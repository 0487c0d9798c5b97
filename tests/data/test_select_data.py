"""Choosing classes: the paper's rule on the real lists, limits that hold, and nothing of the user's touched."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers import write_json

from data import select_data_by_genre
from data.select_data_by_genre import main
from dataset.making.segments import read_segments
from dataset.making.select_by_class import find_matches, limit_per_class, read_class_list
from dataset.reading.clips import Clips
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data" / "select_data_by_genre.py"
SHIPPED = ROOT / "data" / "data_infos" / "genre_select.txt"
AUDIOSET = ROOT.parent / "shared" / "audioset"
needs_lists = pytest.mark.skipif(not AUDIOSET.is_dir(), reason="AudioSet's lists are not here")

# Music -> Guitar -> (Acoustic guitar, Steel guitar, slide guitar); Bell; Speech. Names with a comma, an abstract class.
CLASSES = {
    "/m/music": ("Music", ["/m/guitar", "/m/bell"]),
    "/m/guitar": ("Guitar", ["/m/acoustic", "/m/steel"]),
    "/m/acoustic": ("Acoustic guitar", []),
    "/m/steel": ("Steel guitar, slide guitar", ["/m/guitar"]),  # a circle, as a damaged file may have
    "/m/bell": ("Bell", []),
    "/m/speech": ("Speech", []),
}
ROWS = [  # an odd order of ids: the file's is kept
    ("-zzzzzzzzzz", ["/m/speech"]),
    ("bbbbbbbbbbb", ["/m/acoustic", "/m/guitar"]),
    ("aaaaaaaaaaa", ["/m/steel", "/m/speech"]),
    ("ccccccccccc", ["/m/bell"]),
    ("ddddddddddd", ["/m/guitar"]),
]


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
        ("Bell\nGitar", r"genres.txt, line 2: 'Gitar' is no class of AudioSet: the nearest is 'Guitar', /m/guitar"),
        ("Steel guitar", r"line 1: 'Steel guitar' is no class.*'Steel guitar, slide guitar', /m/steel"),
        ("/m/stel", r"the nearest is .*, /m/steel"),
        ("Old nam", r"the nearest is 'Old name', /m/old"),
        ("\x1b[31mBell\x07", r"line 1: '\\x1b\[31mBell\\x07' is no class"),
        ("x" * 100_000, "line 1: 'x{60}' is no class"),
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


# ------------------------------------------------------------------------------------------------------- clips on disk

BOX = {"time": 0.2, "box": [0, 0.1, 0.5, 1], "label": "/m/guitar", "sounding": True}


@pytest.fixture
def split(tmp_path):
    """A split with a clip for each of ROWS, whose files hold its name, and boxes of two of them."""
    folder = tmp_path / "set" / "train"
    for clip, _ in ROWS:
        for kind, suffix in (("video", ".mp4"), ("audio", ".wav")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{clip}{suffix}").write_text(f"{kind} of {clip}")
    write_json(folder / "vid2genre.json", dict(ROWS))
    write_json(folder / "boxes.json", {"bbbbbbbbbbb": [BOX], "-zzzzzzzzzz": [BOX]})
    return folder


def tree(folder):
    """{path inside a folder: content} of all its files, through links."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def select_clips(infos, split, out, *words):
    """Run the command on clips."""
    options = ("--infos", infos, "--genres", infos / "genres.txt")
    main([str(word) for word in ("--clips", split, "--out", out, *options, *words)])


@pytest.mark.parametrize("by", [None, "link", "hardlink", "copy"])
def test_clips_are_put_into_a_split_that_can_be_read(infos, split, tmp_path, by, capsys):
    before, out = tree(split), tmp_path / "new" / "train"
    select_clips(infos, split, out, *(["--by", by] if by else []))
    clips = Clips(out.parent, "train")
    assert clips.ids == ["aaaaaaaaaaa", "bbbbbbbbbbb", "ddddddddddd"]
    assert clips.labels == [dict(ROWS)[clip] for clip in clips.ids] and clips.boxes == {"bbbbbbbbbbb": [BOX]}
    after = tree(out)
    assert len(after) == 3 * 2 + 2
    assert all(after[name] == before[name] for name in after if not name.endswith(".json"))
    for path in (out / "video").iterdir():
        same = path.samefile(split / "video" / path.name)
        assert (path.is_symlink(), same) == {"copy": (False, False), "hardlink": (False, True)}.get(by, (True, True))
    assert tree(split) == before
    assert "kept 3 of 5, with 3 of the 3 chosen classes\n       2  Guitar\n" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["link", "hardlink", "copy"])
def test_a_selection_that_was_stopped_is_completed_and_a_complete_one_left_alone(
    infos, split, tmp_path, by, monkeypatch
):
    out, put, calls = tmp_path / "new", select_data_by_genre.add_file, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        put(*args)

    monkeypatch.setattr(select_data_by_genre, "add_file", stopping)
    with pytest.raises(KeyboardInterrupt):
        select_clips(infos, split, out, "--by", by)
    assert not (out / "vid2genre.json").exists() and len(tree(out)) == 3
    (out / "video" / ".aaaaaaaaaaa.mp4.123.tmp").touch()  # as a kill leaves it
    times = {path: path.lstat().st_mtime_ns for path in out.rglob("*.*")}
    select_clips(infos, split, out, "--by", by)
    assert Clips(out.parent, "new").ids == ["aaaaaaaaaaa", "bbbbbbbbbbb", "ddddddddddd"]
    assert all(path.lstat().st_mtime_ns == time for path, time in times.items())  # what was there was not made again
    whole = tree(out)
    select_clips(infos, split, out, "--by", by)
    assert tree(out) == whole


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(infos, split, tmp_path):
    out = tmp_path / "new"
    for name, text, reason in (
        ("vid2genre.json", '{"mine": []}', "vid2genre.json belongs to another selection"),
        ("vid2genre.json", "{", "is not valid JSON"),
        ("boxes.json", "{}", "boxes.json belongs to another selection"),
        ("video/mine.mp4", "x", "mine.mp4 is not part of this selection"),
        ("video/bbbbbbbbbbb.mp4", "x", "bbbbbbbbbbb.mp4 exists and is not a copy of"),
        ("audio/bbbbbbbbbbb.mp3", "x", "bbbbbbbbbbb.mp3 is not part of this selection"),
    ):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(UserError, match=reason):
            select_clips(infos, split, out, "--by", "copy")
        assert path.read_text() == text
        path.unlink()
    select_clips(infos, split, out, "--by", "copy")
    with pytest.raises(UserError, match=r"exists and is not a link of .*choose another --out"):
        select_clips(infos, split, out, "--by", "link")


def test_the_source_itself_or_a_folder_inside_it_is_refused(infos, split, tmp_path):
    before = tree(split)
    (tmp_path / "alias").symlink_to(split)
    for out in (split, split / "new", tmp_path / "alias", split / ".." / "train", split / "video"):
        with pytest.raises(UserError, match=r"is --clips .* or inside it: choose a folder outside"):
            select_clips(infos, split, out)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        select_clips(infos, tmp_path / "nowhere", tmp_path / "new")
    assert tree(split) == before and not (tmp_path / "new").exists()


def test_a_clip_that_lacks_a_file_is_left_out_and_told(infos, split, tmp_path, capsys):
    (split / "audio" / "ddddddddddd.wav").unlink()
    select_clips(infos, split, tmp_path / "new")
    assert Clips(tmp_path, "new").ids == ["aaaaaaaaaaa", "bbbbbbbbbbb"]
    assert f"1 clips; the first: {split} has no audio file of clip ddddddddddd\n" in capsys.readouterr().err


def test_ids_that_lead_out_of_the_folder_are_refused(infos, split, tmp_path):
    write_json(split / "vid2genre.json", {"../../escape": ["/m/guitar"], **dict(ROWS)})
    with pytest.raises(UserError, match=r"has an invalid format at '../../escape'"):
        select_clips(infos, split, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_links_that_the_disk_refuses_are_one_sentence(infos, split, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(select_data_by_genre.os, "link", refuse)
    with pytest.raises(UserError, match=r"--by hardlink .Invalid cross-device link.: .*choose another --by"):
        select_clips(infos, split, tmp_path / "new", "--by", "hardlink")
    assert not (tmp_path / "new" / "vid2genre.json").exists()


def test_a_limit_holds_for_clips_too(infos, split, tmp_path):
    select_clips(infos, split, tmp_path / "new", "--per_class", "1")
    kept = json.loads((tmp_path / "new" / "vid2genre.json").read_text())
    assert max(Counter(mid for mids in kept.values() for mid in mids if mid != "/m/speech").values()) == 1
