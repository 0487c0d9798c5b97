"""Clips in WebDataset's tars, as video2dataset and img2dataset write them: KEY.mp4 KEY.json, or KEY.jpg KEY.wav.

The files of one key are one sample. Tars are untrusted: names in them are compared, never opened.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dataset.making.left_out import LeftOut
from dataset.making.lists.segments import MID, YOUTUBE_ID
from dataset.making.text import printable
from dataset.reading.annotations import is_number, is_printable_text, is_valid_id
from dataset.reading.errors import MediaError
from dataset.reading.names import normalize_name
from dataset.reading.suffixes import KIND_OF_SUFFIX, MediaKind, media_kind
from dataset.reading.tar_members import OtherMember, TarMember, iter_members, read_member

MAX_JSON = 2**24  # bytes; video2dataset's hold the subtitles too
MAX_MEDIA = 2**34  # bytes of a video, a picture or a sound
MAX_ID_BYTES = 200  # of an id: the names of temporary files are longer
ID_KEYS = ("videoid", "video_id", "id")  # of the json, compared without case
LABEL_KEYS = ("labels", "label", "classes")
RANKS = {suffix: rank for rank, suffix in enumerate(KIND_OF_SUFFIX)}  # which of several videos, or sounds, is taken
URL_ID = re.compile(rf"(?:[?&]v=|youtu\.be/|/embed/|/shorts/)({YOUTUBE_ID.pattern})(?:[?&#/]|$)")
CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)")  # 00:01:02.500
SOUND_ALONE = "no picture"  # kind of a sample that has a sound only


class TarSample(NamedTuple):
    """A clip in a tar.

    Attributes:
        tar: path of the tar.
        kind: "video" or "image": what its picture is.
        picture: its video or image.
        sound: its sound, or None: then it is the video's own.
    """

    tar: str
    kind: MediaKind
    picture: TarMember
    sound: TarMember | None

    def source(self) -> list[Any]:
        """What identifies its content, for checksums: the same wherever the tar lies."""
        return [PurePosixPath(self.tar).name, self.kind, self.picture, self.sound]

    def where(self) -> str:
        """Name the tar and the file in it, for people."""
        return f"{self.tar}: {printable(self.picture.name)}"


class TarContent(NamedTuple):
    """The samples of one or several tars.

    Attributes:
        samples: {id: sample}.
        names: {id: names by which a list may call it}.
        labels: {id: labels of its json}.
        left_out: what is no sample, and why.
        damaged: an error for each tar that is damaged or truncated; its complete samples before the damage are kept.
    """

    samples: dict[str, TarSample]
    names: dict[str, list[str]]
    labels: dict[str, list[str]]
    left_out: list[LeftOut]
    damaged: list[MediaError]


def read_tars(tars: Iterable[Path]) -> TarContent:
    """List the samples of tars.

    Args:
        tars: their paths, in the order in which the first of two samples of one id is kept.
    """
    content = TarContent({}, {}, {}, [], [])
    for tar in tars:
        keys, error = _group_members(tar, content.left_out)
        for key, files in keys.items():
            _add_sample(content, tar, key, files)
        if error is not None:
            content.damaged.append(error)
            content.left_out.append(LeftOut("", str(tar), error.kind, error.problem))
    return content


Files = dict[str, TarMember]  # {suffix: file} of a key


def _group_members(tar: Path, left_out: list[LeftOut]) -> tuple[dict[str, Files], MediaError | None]:
    """The files of each key of a tar, and the error at which it ends; a key that it may have cut is left out."""
    keys: dict[str, Files] = {}
    key = ""

    def leave_out(name: str, kind: str, reason: str) -> None:
        left_out.append(LeftOut("", f"{tar}: {printable(name)}", kind, reason))

    try:
        for member in iter_members(tar):
            path = PurePosixPath(member.name)
            if isinstance(member, OtherMember):
                leave_out(member.name, "no file", f"is {member.what}")
            elif _is_unsafe(path):
                leave_out(member.name, "unsafe name", "its name could lead out of a folder, or is not printable text")
            elif path.name.startswith("."):
                leave_out(member.name, "hidden", "is hidden")
            else:
                key, suffix = str(path.with_suffix("")), path.suffix.lower()
                if suffix in keys.setdefault(key, {}):
                    leave_out(member.name, "duplicate", "is in the tar twice: the first one is taken")
                else:
                    keys[key][suffix] = member
    except MediaError as error:
        if key in keys:
            del keys[key]
            leave_out(key, "damaged", "may lack files: the tar is damaged or truncated after it")
        return keys, error
    return keys, None


def _is_unsafe(path: PurePosixPath) -> bool:
    is_text = is_printable_text(str(path))
    return path.is_absolute() or not path.name or ".." in path.parts or "\\" in str(path) or not is_text


def _add_sample(content: TarContent, tar: Path, key: str, files: Files) -> None:
    """Add the sample of a key to `content`, or why it is none."""
    shown = f"{tar}: {printable(key)}"

    def leave_out(clip: str, kind: str, reason: str) -> None:
        content.left_out.append(LeftOut(clip, shown, kind, reason))

    sample = _choose_media(tar, files)
    if not isinstance(sample, TarSample):
        return leave_out("", *sample)
    try:
        about = _read_about(tar, files.get(".json"))
    except ValueError as error:
        return leave_out("", "damaged", str(error))
    except MediaError as error:
        return leave_out("", error.kind, error.reason)
    clip = _choose_id(about, PurePosixPath(key).name)
    if not is_valid_id(clip) or len(clip.encode()) > MAX_ID_BYTES:
        return leave_out("", "unsafe name", f"its name can't be an id: it has more than {MAX_ID_BYTES} bytes")
    if clip in content.samples:
        return leave_out(clip, "duplicate", f"has the id of {content.samples[clip].where()}, which is taken")
    for member in files.values():
        is_like = media_kind(PurePosixPath(member.name)) in ("video" if sample.kind == "video" else "image", "sound")
        if is_like and member not in (sample.picture, sample.sound):
            reason = "is not used: another file of this name is the clip's"
            content.left_out.append(LeftOut("", f"{tar}: {printable(member.name)}", "unused", reason))
    content.samples[clip] = sample
    content.labels[clip] = _find_labels(about)
    url = URL_ID.search(str(about.get("url", ""))[:2000])
    content.names[clip] = [clip, normalize_name(PurePosixPath(key).name), *([url[1]] if url else [])]
    return None


def _choose_media(tar: Path, files: Files) -> TarSample | tuple[str, str]:
    """The sample that the files of a key are, or the kind and the reason why they are none."""
    of_kind: dict[MediaKind, list[TarMember]] = {"video": [], "image": [], "sound": []}
    for suffix in sorted(files, key=lambda suffix: RANKS.get(suffix, len(RANKS))):
        if kind := media_kind(PurePosixPath(f"x{suffix}")):
            of_kind[kind].append(files[suffix])
    videos, images, sounds = (of_kind[kind] for kind in ("video", "image", "sound"))
    if not videos and not images:
        if sounds:
            return SOUND_ALONE, "is a sound alone: a clip needs frames"
        return "missing", f"holds no video, image or sound ({' '.join(sorted(files))})"
    if not videos and not sounds:
        return "no sound", "is an image without a sound of its name"
    sample = TarSample(str(tar), "video" if videos else "image", (videos or images)[0], sounds[0] if sounds else None)
    for member in (sample.picture, sample.sound):
        if member is not None and not member.size:
            return "damaged", f"{printable(member.name)} is empty (0 bytes)"
        if member is not None and member.size > MAX_MEDIA:
            return "too large", f"{printable(member.name)} has {member.size / 1e9:,.0f} GB"
    return sample


def _read_about(tar: Path, member: TarMember | None) -> dict[str, Any]:
    """The json of a sample, its keys in small letters; a ValueError says what is wrong with it."""
    if member is None:
        return {}
    try:
        about = json.loads(read_member(tar, member, MAX_JSON))
    except (ValueError, RecursionError):
        raise ValueError("its json is not valid JSON") from None
    if not isinstance(about, dict):
        raise ValueError("its json is no table")
    return {key.lower(): value for key, value in about.items()}


def _choose_id(about: Mapping[str, Any], key: str) -> str:
    """The id of a clip: of its video by the json, with the seconds that were cut out, or else its key."""
    named = (about.get(name) for name in ID_KEYS)
    video = next((normalize_name(value) for value in named if is_valid_id(value)), None)
    if video is None:
        return normalize_name(key)
    clips = about.get("clips")
    if isinstance(clips, list) and len(clips) == 1 and isinstance(clips[0], list) and len(clips[0]) == 2:
        start, end = map(_seconds, clips[0])
        if start is not None and end is not None and 0 <= start < end:
            return f"{video}_{start:.3f}_{end:.3f}"
    return video


def _seconds(value: Any) -> float | None:
    """A time of video2dataset's "clips": seconds, or 00:01:02.500."""
    if is_number(value):
        return float(value)
    match = CLOCK.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else 3600 * int(match[1] or 0) + 60 * int(match[2]) + float(match[3])


def _find_labels(about: Mapping[str, Any]) -> list[str]:
    """The labels that a json states, as a list or as text: mids with commas between them, or one label."""
    found: Any = next((about[name] for name in LABEL_KEYS if about.get(name)), [])
    if isinstance(found, str):
        parts = [part.strip() for part in found.split(",")]
        found = parts if all(map(MID.fullmatch, parts)) else [found.strip()]
    labels = [str(label) for label in found if isinstance(label, (str, int))] if isinstance(found, list) else []
    return [normalize_name(label) for label in dict.fromkeys(labels) if label and is_printable_text(label)]
