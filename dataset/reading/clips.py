"""The dataset folder: which clips a split has, a frame at time t, a second of sound around time t.

    ROOT/{train,val,test}/vid2genre.json      {id: [AudioSet mid, ...]}
                         /video/ID.mp4
                         /audio/ID.wav        sample 0 is time 0 of the video's own clock
                         /boxes.json          optional: {id: [{"time", "box", "label", "sounding"}, ...]}

A clip that can't be read raises `ClipError` with its name and the reason. Nothing takes its place.
"""

from contextlib import contextmanager
from pathlib import Path

from dataset.reading.annotations import read_boxes, read_genres
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import ClipError
from dataset.reading.remote import as_path, is_url
from utils.errors import UserError

BOX_TIME_TOLERANCE = (
    0.02  # an annotation is of the frame at `time` if it is no farther from it, seconds: half a frame at 25/s
)


class Clips:
    """The clips of one split.

    Args:
        root: dataset folder.
        split: "train", "val" or "test".
        on_error: "stop" raises at a clip that lacks one of its files; "skip" leaves it out and lists it in `skipped`.

    Attributes:
        ids: sorted list of str.
        labels: list of lists of mids, in the order of `ids`.
        boxes: {id: list of boxes}, empty where the split has no boxes.json.
        skipped: {id: reason}.

    Raises:
        UserError: no such folder, an empty split, a vid2genre.json or boxes.json that is missing or not of our form.
        ClipError: on_error is "stop" and a clip lacks its video or its sound.
    """

    def __init__(self, root, split, on_error="stop"):
        genres = self._read_tables(root, split)
        on_disk = {kind: _stems(self.folder / kind, suffix) for kind, suffix in (("video", ".mp4"), ("audio", ".wav"))}
        for clip in sorted(genres):
            missing = [kind for kind in ("video", "audio") if clip not in on_disk[kind]]
            if missing:
                self._refuse(clip, f"has no {' and no '.join(missing)} file of clip {clip}", on_error)
        for kind, other in (("video", "audio"), ("audio", "video")):
            for clip in sorted(on_disk[kind] - on_disk[other] - set(genres)):
                self._refuse(clip, f"has no {other} file of clip {clip}", on_error)
        self._take(genres, "vid2genre.json lists no clip that has both its files")

    def _read_tables(self, root, split):
        """Find the split's folder and read its boxes.json; returns what its vid2genre.json holds."""
        self.folder, self.skipped = as_path(root) / split, {}
        if not is_url(root) and not Path(root).is_dir():
            raise UserError(
                f"there is no dataset folder {root}: make the demo's with `python data/make_demo_data.py`, or point "
                "--data.root at a folder with train/, val/ and test/ (README, section Data)"
            )
        if not is_url(root) and not self.folder.is_dir():
            raise UserError(f"dataset {root} has no split {split!r}: {self.folder} is missing")
        self.boxes = read_boxes(self.folder / "boxes.json")
        return read_genres(self.folder / "vid2genre.json")

    def _take(self, genres, otherwise):
        """The clips are those of `genres` that were not skipped; `otherwise` says why there is none."""
        self.ids = sorted(set(genres) - set(self.skipped))
        self.labels = [genres[clip] for clip in self.ids]
        if not self.ids:
            raise UserError(f"split {self.folder} is empty: {otherwise}")

    def _refuse(self, clip, reason, on_error):
        if on_error == "stop":
            hint = "add it, remove the clip, or pass --data.on_error skip"
            raise ClipError(clip, "missing", self.folder, reason, hint)
        self.skipped[clip] = f"{self.folder} {reason}"

    def __len__(self):
        return len(self.ids)

    def annotated_times(self, index):
        """Times at which a clip's objects that sound are annotated, ascending list of seconds; empty if none is."""
        return sorted({box["time"] for box in self.boxes.get(self.ids[index], ()) if box["sounding"]})

    def boxes_at(self, index, time):
        """What is annotated in the frame at `time`, seconds: list of the boxes.json entries; empty if nothing is."""
        return [box for box in self.boxes.get(self.ids[index], ()) if abs(box["time"] - time) <= BOX_TIME_TOLERANCE]

    @contextmanager
    def open(self, index):
        """Open one clip: `with clips.open(i) as clip: clip.frame(t, 256); clip.sound(t, 48000)`."""
        clip = self.ids[index]
        with ClipReader(clip, self.folder / "video" / f"{clip}.mp4", self.folder / "audio" / f"{clip}.wav") as opened:
            yield opened


def _stems(folder, suffix):
    """Names of the files of one kind, without their suffix."""
    if not folder.is_dir():
        raise UserError(f"dataset folder {folder} is missing: clips are video/ID.mp4 and audio/ID.wav")
    return {path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix)}
