"""Distances between sound classes in AudioSet's ontology, and the relevance by which retrieval is measured."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from utils.errors import UserError
from utils.files import read_text

FULL_ONTOLOGY = Path("data/data_infos/ontology.json")  # AudioSet's, once downloaded
DEMO_ONTOLOGY = Path("data/demo_ontology.json")  # the paths between the demo's twelve classes, from AudioSet's
MAX_RELEVANCE = 20  # C of r = C - d (OtS sec. 4.2)


class Ontology:
    """The class graph: shortest paths along parent-child links, in either direction.

    Args:
        classes: each {"id", "name", "child_ids"}, as in AudioSet's ontology.json.
        source: file name, for messages and records.

    Attributes:
        names: {id: display name}.
        source: as given.
    """

    def __init__(self, classes: Sequence[dict[str, Any]], source: str | Path = "") -> None:
        self.source = str(source)
        self.names: dict[str, str] = {c["id"]: c["name"] for c in classes}
        self._children: dict[str, list[str]] = {c["id"]: c["child_ids"] for c in classes}
        self._links: dict[str, set[str]] = {c["id"]: set() for c in classes}
        for parent, children in self._children.items():
            for child in children:
                if child in self.names:  # a child without an entry of its own is not a class
                    self._links[parent].add(child)
                    self._links[child].add(parent)

    def __contains__(self, label: str) -> bool:
        return label in self.names

    def name(self, label: str) -> str:
        """Get the display name of a class; the id itself (`label`) where the ontology lacks it."""
        return self.names.get(label, label)

    def steps(self, labels: Sequence[str]) -> np.ndarray:
        """Compute the lengths of the shortest paths between classes, in either direction of the links.

        Args:
            labels: L class ids. One that the ontology lacks has a path to itself only.

        Returns:
            (L, L) float64, inf where there is no path.
        """
        if not labels:
            return np.zeros((0, 0))
        index = {name: i for i, name in enumerate({**self.names, **dict.fromkeys(labels)})}
        links = np.array([(index[a], index[b]) for a in self.names for b in self._links[a]], int).reshape(-1, 2)
        graph = csr_array((np.ones(len(links)), links.T), (len(index), len(index)))
        chosen = [index[label] for label in labels]
        return shortest_path(graph, unweighted=True, indices=chosen)[:, chosen]

    def descendants(self, labels: Iterable[str]) -> set[str]:
        """Collect the classes `labels` and all below them; a class that the ontology lacks has none below it."""
        collected: set[str] = set()
        waiting = list(labels)
        while waiting:
            label = waiting.pop()
            if label not in collected:
                collected.add(label)
                waiting.extend(self._children.get(label, ()))
        return collected

    def relevance(self, labels: Sequence[str]) -> np.ndarray:
        """Compute the relevance r = C - d of classes to each other (OtS sec. 4.2), C = 20.

        d is the length of the shortest path: acoustic guitar to itself 0, to electric guitar 2, to drum 5. Classes
        without a path between them, and classes that the ontology lacks, are relevant to themselves only.

        Args:
            labels: L class ids.

        Returns:
            (L, L) int8, in 0..20.
        """
        return np.maximum(MAX_RELEVANCE - self.steps(labels), 0).astype(np.int8)


def load_ontology(path: str | Path = "") -> Ontology:
    """Read an ontology.

    Args:
        path: of an ontology.json; by default AudioSet's full one if it was downloaded, else the demo's classes.

    Raises:
        UserError: the file is missing or has an invalid format.
    """
    default = FULL_ONTOLOGY if FULL_ONTOLOGY.exists() else Path(__file__).parents[2] / DEMO_ONTOLOGY
    path = Path(path) if path else default
    try:
        classes = json.loads(read_text(path))
    except OSError as error:
        raise UserError(
            f"ontology {path} can't be read ({error.strerror}): set --eval.ontology to an ontology.json"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"ontology {path} is not valid JSON ({error}): set --eval.ontology to an ontology.json"
        ) from None
    if not (isinstance(classes, list) and all(map(_is_class, classes))):
        form = "a list of {id, name, child_ids}, ids and names of printable characters"
        raise UserError(f"ontology {path} has an invalid format: it must be {form}")
    twice = [name for name, count in Counter(entry["id"] for entry in classes).items() if count > 1]
    if twice:
        raise UserError(f"ontology {path} has two entries for {twice[0][:80]!r}: remove one of them")
    return Ontology(classes, path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _is_class(entry: Any) -> bool:
    """Whether an entry of a JSON file has the form of a class."""
    if not isinstance(entry, dict):
        return False
    names, children = [entry.get("id"), entry.get("name")], entry.get("child_ids")
    named = all(isinstance(name, str) and name.isprintable() for name in names)
    return named and isinstance(children, list) and all(isinstance(child, str) for child in children)


class SetRelevance:
    """The relevance of U sets of labels to each other: the largest over all pairs of their labels (OtS sec. 4.2).

    `relevance[sets]`, of (q,) indices of sets, gives the rows of these sets, (q, U) int8, which are computed from the
    relevance of classes: a table of all sets grows with the square of their number. `len(relevance)` is U.

    Args:
        sets: distinct tuples of class ids, the empty one first if it is there.
        ontology: the class graph.
    """

    def __init__(self, sets: Sequence[tuple[str, ...]], ontology: Ontology) -> None:
        labels = sorted({label for one in sets for label in one}, key=lambda label: (label not in ontology, label))
        self._num_known = sum(label in ontology for label in labels)  # the others are relevant to themselves only
        self._num_labels, self._num_sets = len(labels), len(sets)
        self._of_classes = ontology.relevance(labels[: self._num_known])
        index = {label: i for i, label in enumerate(labels)}
        self._flat = np.array([index[label] for one in sets for label in one], np.int64)
        self._ends = np.cumsum([len(one) for one in sets])

    def __len__(self) -> int:
        return self._num_sets

    def __getitem__(self, sets: np.ndarray) -> np.ndarray:
        to_class = np.zeros((self._num_labels, len(sets)), np.int8)  # of each of `sets` to each class
        for column, one in enumerate(sets):
            labels = self._labels(one)
            known = labels[labels < self._num_known]
            if len(known):
                to_class[: self._num_known, column] = self._of_classes[known].max(0)
            to_class[labels[labels >= self._num_known], column] = MAX_RELEVANCE
        rows = np.zeros((self._num_sets, len(sets)), np.int8)
        if len(self._flat):
            first = int(self._ends[0] == 0)  # the empty set, which nothing is relevant to
            starts = np.concatenate([[0], self._ends[first:-1]])
            rows[first:] = np.maximum.reduceat(to_class[self._flat], starts)
        return rows.T

    def _labels(self, one: int) -> np.ndarray:
        return self._flat[self._ends[one - 1] if one else 0 : self._ends[one]]

    def between(self, one: int, other: int) -> int:
        """Compute the relevance of two sets, the indices `one` and `other`, to each other: 0..20."""
        left, right = self._labels(one), self._labels(other)
        if np.intersect1d(left, right).size:
            return MAX_RELEVANCE
        left, right = left[left < self._num_known], right[right < self._num_known]
        return int(self._of_classes[left][:, right].max(initial=0))


def clip_relevance(clip_labels: Sequence[Sequence[str]], ontology: Ontology) -> tuple[SetRelevance, np.ndarray]:
    """Prepare the relevance of clips to each other: the largest over all pairs of their labels (OtS sec. 4.2).

    Args:
        clip_labels: N lists of class ids.
        ontology: the class graph.

    Returns:
        relevance between the U different sets of labels, and label_set (N,) int64, which of the sets each clip has: the
        relevance of clip i to all clips is relevance[label_set[[i]]][0, label_set]. Clips without labels are relevant
        to none.
    """
    of_clips = [tuple(sorted(set(labels))) for labels in clip_labels]
    sets = sorted(set(of_clips))
    set_index = {one: i for i, one in enumerate(sets)}
    return SetRelevance(sets, ontology), np.array([set_index[one] for one in of_clips], np.int64)
