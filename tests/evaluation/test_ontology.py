"""The class graph: shortest paths, relevance 20 - d, the demo's few classes as facts of AudioSet's ontology."""

import itertools
import json
import re
import tracemalloc
from math import inf
from pathlib import Path

import numpy as np
import pytest

from evaluation.measures import ontology
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
# AudioSet's own file, where it was downloaded: beside the repository, or where the data scripts put it.
PLACES = (ROOT.parent / "shared/audioset/ontology.json", ROOT / "data/data_infos/ontology.json")
REAL = next((path for path in PLACES if path.exists()), None)
needs_real = pytest.mark.skipif(REAL is None, reason="AudioSet's ontology.json is not here")
DEMO = ROOT / "data/demo_ontology.json"
BOTH = [DEMO, pytest.param(REAL, marks=needs_real, id="real")]

ACOUSTIC_GUITAR, ELECTRIC_GUITAR, DRUM = "/m/042v_gx", "/m/02sgy", "/m/026t6"


def tree(*links, alone=()):
    """An ontology from "parent child" links."""
    pairs = [link.split() for link in links]
    names = sorted({name for pair in pairs for name in pair} | set(alone))
    return ontology.Ontology(
        [{"id": n, "name": n.upper(), "child_ids": [c for p, c in pairs if p == n]} for n in names], "hand"
    )


# Family:   root -> (a -> (a1, a2), b -> b1); b1 is also a child of a. Island: x -> y.
HAND = tree("root a", "root b", "a a1", "a a2", "b b1", "a b1", "x y")


def test_shortest_paths_of_a_small_tree_worked_by_hand():
    # b1 by its nearer parent; x and y are an island
    assert HAND.steps(["a1", "a", "root", "a2", "b1", "b", "x", "nowhere"])[0].tolist() == [0, 1, 2, 2, 2, 3, inf, inf]
    assert HAND.steps(["x", "y"]).tolist() == [[0, 1], [1, 0]]
    assert HAND.steps(["nowhere", "a", "elsewhere"]).tolist() == [[0, inf, inf], [inf, 0, inf], [inf, inf, 0]]
    assert HAND.steps([]).shape == (0, 0)


def test_relevance_is_20_minus_the_steps_and_0_without_a_path():
    found = HAND.relevance(["a1", "b", "y", "nowhere"])
    assert found.tolist() == [[20, 17, 0, 0], [17, 20, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20]]


def test_relevance_of_a_long_path_does_not_fall_below_0():
    chain = tree(*(f"c{i:02} c{i + 1:02}" for i in range(25)))
    assert chain.relevance(["c00", "c19", "c20", "c25"])[0].tolist() == [20, 1, 0, 0]


def test_a_child_without_an_entry_of_its_own_is_no_class():
    """Else it would be warned of as missing, and judged as if it were there."""
    classes = [{"id": "a", "name": "A", "child_ids": ["ghost", "b"]}, {"id": "b", "name": "B", "child_ids": []}]
    odd = ontology.Ontology(classes)
    assert "ghost" not in odd and odd.relevance(["a", "b", "ghost"]).tolist() == [[20, 19, 0], [19, 20, 0], [0, 0, 20]]


def test_the_papers_example_of_distances():
    """OtS sec. 4.2: acoustic guitar to itself 0, to electric guitar 2, to drum 5."""
    if REAL is None:
        pytest.skip("AudioSet's ontology.json is not here")
    real = ontology.load_ontology(REAL)
    assert real.steps([ACOUSTIC_GUITAR, ELECTRIC_GUITAR, DRUM])[0].tolist() == [0, 2, 5]
    assert real.relevance([ACOUSTIC_GUITAR, ELECTRIC_GUITAR, DRUM])[0].tolist() == [20, 18, 15]


def test_the_demos_classes_give_what_the_papers_example_needs():
    demo = ontology.load_ontology(DEMO)
    assert demo.relevance([ACOUSTIC_GUITAR, DRUM])[0].tolist() == [20, 15]


@needs_real
def test_all_paths_of_the_real_ontology_equal_a_plain_search():
    """Breadth first, class by class, on links in either direction."""
    classes = json.loads(REAL.read_text(encoding="utf-8"))
    near = {c["id"]: set(c["child_ids"]) for c in classes}
    for c in classes:
        for child in c["child_ids"]:
            near[child].add(c["id"])
    found = ontology.load_ontology(REAL).steps(list(near))
    assert len(near) == 632
    for i, start in enumerate(near):
        steps, ring = {start: 0}, [start]
        while ring:
            ring = sorted({there for here in ring for there in near[here]} - steps.keys())
            steps |= dict.fromkeys(ring, max(steps.values()) + 1)
        np.testing.assert_array_equal(found[i], [steps.get(name, inf) for name in near])


@needs_real
def test_the_demos_ontology_agrees_with_the_real_one():
    """Its twelve classes: same names, same distances. Leaving a path out would make a class look farther away."""
    real, demo = ontology.load_ontology(REAL), ontology.load_ontology(DEMO)
    assert {mid: real.name(mid) for mid in demo.names} == demo.names
    leaves = demo_classes()
    np.testing.assert_array_equal(demo.relevance(leaves), real.relevance(leaves))


def demo_classes():
    """The mids that the demo's clips are labelled with."""
    text = (ROOT / "data/demo_clips/classes.py").read_text(encoding="utf-8")
    demo = ontology.load_ontology(DEMO)
    found = sorted({mid for mid in re.findall(r'"(/[mt]/\w+)"', text)})
    assert len(found) == 12 and all(mid in demo for mid in found)
    return found


def test_the_demos_ontology_tells_its_twelve_classes_apart():
    relevance = ontology.load_ontology(DEMO).relevance(demo_classes())
    assert (np.diag(relevance) == 20).all() and (relevance[~np.eye(12, dtype=bool)] < 20).all()
    assert (relevance > 0).all() and (relevance == relevance.T).all()


# ------------------------------------------------------------------------------------------------------------ clips


@pytest.mark.parametrize("path", BOTH)
def test_clip_relevance_is_the_largest_over_all_pairs_of_labels(path):
    classes, rng = ontology.load_ontology(path), np.random.default_rng(0)
    mids = [*rng.choice(sorted(classes.names), 15, replace=False).tolist(), "/m/unknown1", "/m/unknown2"]
    clips = [rng.choice(mids, rng.integers(0, 5)).tolist() for _ in range(60)]  # some without a label, some twice
    relevance, kind = ontology.clip_relevance(clips, classes)
    table = relevance[np.arange(len(relevance))]
    assert any(not clip for clip in clips) and len(kind) == 60 and len(table) < 60
    steps, place = classes.steps(mids), {mid: i for i, mid in enumerate(mids)}
    for (i, one), (j, other) in itertools.product(enumerate(clips), repeat=2):
        expected = 0
        for a, b in itertools.product(one, other):
            expected = max(expected, 20 - steps[place[a], place[b]])
        assert table[kind[i], kind[j]] == relevance.between(kind[i], kind[j]) == expected
    some = np.array([3, 0, 3])
    assert np.array_equal(relevance[some], table[some])  # some rows alone


def test_clip_relevance_worked_by_hand():
    table, kind = ontology.clip_relevance([["a1"], ["b", "y"], ["y", "b"], ["x", "a2"], []], HAND)
    # The labels' order is no difference. y - x: one step; b - a1: three; a1 - a2: two.
    assert kind[1] == kind[2]
    expected = [[20, 17, 17, 18, 0], [17, 20, 20, 19, 0], [17, 20, 20, 19, 0], [18, 19, 19, 20, 0], [0] * 5]
    assert table[kind][:, kind].tolist() == expected


def test_clips_without_any_label_are_relevant_to_none():
    table, kind = ontology.clip_relevance([[], [], []], HAND)
    assert table[np.arange(1)].tolist() == [[0]] and len(table) == 1 and kind.tolist() == [0, 0, 0]


def test_many_sets_of_labels_that_the_ontology_lacks_take_memory_by_their_number():
    """A table of all sets, or of all labels, would take 400 MB."""
    clips = [[f"tag{k}", f"tag{k + 1}"] for k in range(20_000)]
    tracemalloc.start()
    relevance, kind = ontology.clip_relevance(clips, HAND)
    rows = relevance[kind[:2]]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6 and len(relevance) == 20_000
    assert [np.flatnonzero(kind == k)[0] for k in np.flatnonzero(rows[0] == 20)] == [0, 1]
    assert relevance.between(kind[5], kind[6]) == 20 and relevance.between(kind[5], kind[7]) == 0


# ------------------------------------------------------------------------------------------------------------ files


def test_names_and_membership():
    assert "a1" in HAND and "nowhere" not in HAND
    assert HAND.name("a1") == "A1" and HAND.name("nowhere") == "nowhere" and HAND.source == "hand"


def test_without_a_file_the_demos_classes_are_taken_and_the_full_ontology_once_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ontology.load_ontology().names == ontology.load_ontology(DEMO).names
    full = tmp_path / "data/data_infos/ontology.json"
    full.parent.mkdir(parents=True)
    full.write_text('[{"id": "a", "name": "A", "child_ids": []}]')
    assert (
        ontology.load_ontology().names == {"a": "A"}
        and ontology.load_ontology().source == "data/data_infos/ontology.json"
    )
    assert len(ontology.load_ontology(DEMO).names) == 23  # a file that is named comes first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"can't be read \(No such file.*--eval\.ontology"),
        ("", "not valid JSON"),
        ("[{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "has an invalid format"),
        ('[{"id": "a"}]', "has an invalid format"),
        ('[{"id": "a", "name": "A", "child_ids": "b"}]', "has an invalid format"),
        ('[{"id": 1, "name": "A", "child_ids": []}]', "has an invalid format"),
        ('["a"]', "has an invalid format"),
    ],
)
def test_a_bad_ontology_file_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=f"mine.json {words}|mine.json is {words}"):
        ontology.load_ontology(path)
