"""Distances between sound classes in AudioSet's ontology, and the relevance that retrieval is judged by."""

import json
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from utils.errors import UserError

FULL_ONTOLOGY = Path("data/data_infos/ontology.json")  # AudioSet's, once downloaded
DEMO_ONTOLOGY = Path("data/demo_ontology.json")  # the paths of the demo's twelve classes, a few facts of AudioSet's
MAX_RELEVANCE = 20  # C of r = C - d (OtS sec. 4.2)


class Ontology:
    """The class graph: shortest paths along parent-child links, in either direction.

    Args:
        classes: list of {"id", "name", "child_ids"}, the form of AudioSet's ontology.json.
        source: file name, for messages and records.

    Attributes:
        names: {id: display name}. source: str.
    """

    def __init__(self, classes, source=""):
        self.source = str(source)
        self.names = {c["id"]: c["name"] for c in classes}
        self._links = {c["id"]: set() for c in classes}
        self._children = {c["id"]: c["child_ids"] for c in classes}
        for c in classes:
            for child in c["child_ids"]:
                if child in self.names:  # a child without an entry of its own is no class
                    self._links[c["id"]].add(child)
                    self._links[child].add(c["id"])

    def __contains__(self, label):
        return label in self.names

    def name(self, label):
        """Display name of a class; the id itself where the ontology lacks it."""
        return self.names.get(label, label)

    def steps(self, labels):
        """Steps of the shortest path from each class to each other, in either direction of the links.

        Args:
            labels: list of L class ids. One that the ontology lacks has a path to itself only.

        Returns:
            (L, L) float64, inf where there is no path.
        """
        place = {name: i for i, name in enumerate({**self.names, **dict.fromkeys(labels)})}
        links = np.array([(place[a], place[b]) for a in self.names for b in self._links[a]], int).reshape(-1, 2)
        graph = csr_array((np.ones(len(links)), links.T), (len(place), len(place)))
        chosen = [place[label] for label in labels]
        return shortest_path(graph, unweighted=True, indices=chosen)[:, chosen] if labels else np.zeros((0, 0))

    def descendants(self, labels):
        """Set of the classes and all below them; a class that the ontology lacks is there alone."""
        found, left = set(), list(labels)
        while left:
            here = left.pop()
            if here not in found:
                found.add(here)
                left.extend(self._children.get(here, ()))
        return found

    def relevance(self, labels):
        """Relevance r = C - d of classes to each other (OtS sec. 4.2), C = 20.

        d is the shortest path: acoustic guitar to itself 0, to electric guitar 2, to drum 5. Classes without a path
        between them, and classes that the ontology lacks, are relevant to themselves only.

        Args:
            labels: list of L class ids.

        Returns:
            (L, L) int8, in 0..20.
        """
        return np.maximum(MAX_RELEVANCE - self.steps(labels), 0).astype(np.int8)


def load_ontology(path=""):
    """The ontology of a file; without one AudioSet's full one if it was downloaded, else the demo's classes.

    Raises:
        UserError: the file is missing or not of ontology.json's form.
    """
    path = (
        Path(path) if path else (FULL_ONTOLOGY if FULL_ONTOLOGY.exists() else Path(__file__).parents[2] / DEMO_ONTOLOGY)
    )
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"ontology {path} can't be read ({error.strerror}): set --eval.ontology to an ontology.json"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"ontology {path} is not valid JSON ({error})") from None
    well_formed = isinstance(classes, list) and all(
        isinstance(c, dict) and all(isinstance(c.get(key), str) and c[key].isprintable() for key in ("id", "name"))
        and isinstance(c.get("child_ids"), list) and all(isinstance(child, str) for child in c["child_ids"])
        for c in classes
    )  # fmt: skip
    if not well_formed:
        form = "a list of {id, name, child_ids}, id and name of printable letters"
        raise UserError(f"ontology {path} is not of ontology.json's form: {form}")
    return Ontology(classes, path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def clip_relevance(clip_labels, ontology):
    """Relevance of clips to each other: the largest over all pairs of their labels (OtS sec. 4.2).

    Args:
        clip_labels: list of N lists of class ids.
        ontology: an `Ontology`.

    Returns:
        (table, kind): (U, U) int8 relevance between the U different sets of labels, and (N,) int64, which set each
        clip has. The relevance of clips i and j is table[kind[i], kind[j]]. Clips without labels are relevant to none.
    """
    sets = sorted({tuple(sorted(set(labels))) for labels in clip_labels})
    labels = sorted({label for labels in sets for label in labels})
    place = {label: i for i, label in enumerate(labels)}
    filled = [[place[label] for label in one] for one in sets if one]
    first = len(sets) - len(filled)  # the empty set, if there is one, is sorted before all others
    table = np.zeros((len(sets), len(sets)), np.int8)
    if filled:
        flat, starts = [label for one in filled for label in one], np.cumsum([0] + [len(one) for one in filled[:-1]])
        of_labels = ontology.relevance(labels)
        to_class = np.maximum.reduceat(of_labels[flat], starts)  # (U, L): from each set to each class
        table[first:, first:] = np.maximum.reduceat(to_class.T[flat], starts)  # to each set
    position = {one: i for i, one in enumerate(sets)}
    return table, np.array([position[tuple(sorted(set(labels)))] for labels in clip_labels], np.int64)
