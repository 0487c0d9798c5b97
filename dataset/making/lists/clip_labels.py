"""Labels of clips: from a vid2genre.json, a list of any format, or the names of class folders."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path

from dataset.making.clips.find_videos import SourceVideo
from dataset.making.lists.label_maps import map_labels
from dataset.making.lists.list_index import ListIndex, read_name
from dataset.making.lists.segments import Segment, youtube_id
from dataset.reading.annotations import read_genres


class ClipLabels:
    """Looks up the labels of clips.

    Args:
        table: {clip or recording: [mid, ...]}, the content of a vid2genre.json.
        segments: of a list.
        classes: of `index_classes`, to give classes by the names of folders; None: folders aren't classes.
        label_map: of `read_label_map`; None: labels stay as they are.

    Attributes:
        listed: {clip: its labels} of clips that another list names; these go first.
    """

    def __init__(
        self,
        table: Mapping[str, list[str]],
        segments: Iterable[Segment] = (),
        classes: Mapping[str, str] | None = None,
        label_map: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.listed: Mapping[str, tuple[str, ...]] = {}
        self._table, self._classes, self._label_map = table, classes, label_map
        self._index = ListIndex(segments)

    def of(self, clip: str, source: SourceVideo | None) -> list[str]:
        """List a clip's labels.

        Args:
            clip: its id.
            source: the video that it is made of, or None if that is gone.
        """
        names = [clip] if source is None else [clip, source.id, source.name]
        labels = list(self.listed.get(clip, ()))
        if not labels:
            labels = next((self._table[name] for name in names if name in self._table), [])
        if not labels:
            labels = self._find(names)
        if self._classes is not None and source is not None and source.folders:
            labels = [*labels, class_of_folder(source.folders[0], self._classes)]
        return list(dict.fromkeys(labels) if self._label_map is None else map_labels(labels, self._label_map))

    def _find(self, names: Iterable[str]) -> list[str]:
        """The labels in the list: of the clip, or else of all clips of its video."""
        for name in names:
            if match := self._index.find(name):
                return list(match.labels)
        # A name that tells seconds means a row of the list: those of other seconds don't speak of it.
        whole = [name for name in names if all(end == inf for _, _, end in read_name(name))]
        of_video = (row for name in whole for row in self._index.of_video(youtube_id(name)))
        return list(dict.fromkeys(label for row in of_video for label in row.labels))

    def unused(self, sources: Iterable[SourceVideo], clips: Iterable[str]) -> list[str]:
        """List the names of the table that no clip has.

        Args:
            sources: all videos.
            clips: all clips.
        """
        names = {name for source in sources for name in (source.id, source.name)} | set(clips)
        return sorted(self._table.keys() - names)


def read_labels(
    folder: Path,
    segments: Iterable[Segment] | None,
    classes: Mapping[str, str] | None = None,
    label_map: Mapping[str, tuple[str, ...]] | None = None,
) -> ClipLabels:
    """Take labels from a list, or from folder/vid2genre.json where there is one.

    Args:
        folder: the user's.
        segments: of the list of --csv; None: there is none.
        classes: as of `ClipLabels`.
        label_map: as of `ClipLabels`.

    Raises:
        UserError: vid2genre.json is invalid.
    """
    if segments is not None:
        return ClipLabels({}, segments, classes, label_map)
    path = folder / "vid2genre.json"
    return ClipLabels(read_genres(path) if path.exists() else {}, (), classes, label_map)


def index_classes(names: Mapping[str, str]) -> dict[str, str]:
    """Index classes by how a folder may be called: "Violin, fiddle" is also "violin", "fiddle" and "violin_fiddle".

    Args:
        names: {mid: display name}.

    Returns:
        {words of a name: mid}, without what could be several classes.
    """
    whole = {_words(name): mid for mid, name in names.items()}
    parts = [(_words(part), mid) for mid, name in names.items() for part in name.split(",")]
    counts = Counter(words for words, _ in parts)
    return {words: mid for words, mid in parts if counts[words] == 1} | whole


def class_of_folder(name: str, classes: Mapping[str, str]) -> str:
    """Name the class that a folder stands for: AudioSet's mid where its name is a class of AudioSet, else the name.

    Args:
        name: of the folder.
        classes: of `index_classes`.
    """
    return classes.get(_words(name), name)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
