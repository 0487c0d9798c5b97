"""Labels of clips: from a vid2genre.json, a segment file, or the names of class folders."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from dataset.making.find_videos import SourceVideo
from dataset.making.segments import Segment, clip_ids, read_segments, youtube_id
from dataset.reading.annotations import read_genres


class ClipLabels:
    """Looks up the labels of clips.

    Args:
        table: {clip or recording: [mid, ...]}, the content of a vid2genre.json.
        segments: of a segment file.
        classes: of `index_classes`, to give classes by the names of folders; None: folders aren't classes.
    """

    def __init__(
        self, table: Mapping[str, list[str]], segments: Iterable[Segment] = (), classes: Mapping[str, str] | None = None
    ) -> None:
        segments = list(segments)
        self._table, self._classes = table, classes
        self._of_segment = dict(zip(clip_ids(segments), segments, strict=True))
        self._of_video: dict[str, dict[str, None]] = {}
        for segment in segments:
            self._of_video.setdefault(segment.video, {}).update(dict.fromkeys(segment.labels))

    def of(self, clip: str, source: SourceVideo | None) -> list[str]:
        """List a clip's labels.

        Args:
            clip: its id.
            source: the video that it is made of, or None if that is gone.
        """
        names = [clip] if source is None else [clip, source.id, source.name]
        labels = next((self._table[name] for name in names if name in self._table), [])
        if not labels and clip in self._of_segment:
            labels = list(self._of_segment[clip].labels)
        elif not labels:
            labels = list(self._of_video.get(youtube_id(clip), ()))
        if self._classes is not None and source is not None and source.folders:
            labels = [*labels, class_of_folder(source.folders[0], self._classes)]
        return list(dict.fromkeys(labels))

    def unused(self, sources: Iterable[SourceVideo], clips: Iterable[str]) -> list[str]:
        """List the names of the table that no clip has.

        Args:
            sources: all videos.
            clips: all clips.
        """
        names = {name for source in sources for name in (source.id, source.name)} | set(clips)
        return sorted(self._table.keys() - names)


def read_labels(folder: Path, csv: Path | None, classes: Mapping[str, str] | None = None) -> ClipLabels:
    """Read labels from a segment file, or from folder/vid2genre.json where there is one.

    Args:
        folder: the user's.
        csv: path of a segment file, or None.
        classes: as of `ClipLabels`.

    Raises:
        UserError: a file is invalid.
    """
    if csv is not None:
        return ClipLabels({}, read_segments(csv), classes)
    path = folder / "vid2genre.json"
    return ClipLabels(read_genres(path) if path.exists() else {}, classes=classes)


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
