"""The steps from a user's videos to the clips of a dataset: plan them, prepare them, write their tables."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from dataset.making.clips.cut_plan import measure_recording, plan_cuts
from dataset.making.clips.find_videos import SourceVideo
from dataset.making.clips.import_clip import ClipSource, prepare_clip, target_files
from dataset.making.clips.prepared_clips import PreparedClips
from dataset.making.left_out import LeftOut
from dataset.making.workers.clip_map import Workers, map_clips
from dataset.reading.annotations import Box, is_valid_id, load_json
from dataset.reading.errors import MediaError
from dataset.reading.limits import reading_limit


def plan_clips(
    found: Mapping[str, SourceVideo], length: float | None, every: float | None, workers: Workers, time_limit: float
) -> tuple[dict[str, ClipSource], list[LeftOut]]:
    """Plan the clips: each video is one, or several are cut out of it.

    Args:
        found: the user's videos by id.
        length: of the clips to cut, seconds; None: a video is a clip.
        every: from the start of one clip to that of the next, seconds; None: `length`.
        workers: where videos are read.
        time_limit: for reading a video, see `reading_limit`.

    Returns:
        {clip: what it is made of}; and the videos, and the ends of videos, that are in no clip.
    """
    if length is None:
        return {name: ClipSource(name, name, one.video, one.sound) for name, one in found.items()}, []
    sources: dict[str, ClipSource] = {}
    left_out = []
    jobs = [(name, one.video, one.sound) for name, one in found.items()]
    found_lengths = map_clips(_measure, jobs, workers, time_limit=lambda job: reading_limit(time_limit, job[1]))
    measured = {job[0]: result for job, result in found_lengths}
    for name, one in found.items():
        seconds = measured[name]
        if not isinstance(seconds, float):
            left_out.append(LeftOut(name, str(one.video), *seconds[:2]))
            continue
        cuts, rest = plan_cuts(name, seconds, length, every or length)
        for cut in cuts:
            if is_valid_id(cut.clip):
                sources[cut.clip] = ClipSource(cut.clip, name, one.video, one.sound, cut.start, cut.end)
            else:
                left_out.append(LeftOut(cut.clip, str(one.video), "name", "the name of the clip would be too long"))
        if not cuts:
            reason = f"lasts {seconds:.2f} s, less than a clip of {length:g} s"
            left_out.append(LeftOut(name, str(one.video), "short", reason))
        elif rest >= 0.01:
            reason = f"its last {rest:.2f} s are less than a clip of {length:g} s"
            left_out.append(LeftOut(name, str(one.video), "end of a recording", reason))
    return sources, left_out


def _measure(_: str, video: Path, sound: Path | None) -> float | tuple[str, str]:
    """How long a recording lasts, seconds, or why it can't be used."""
    try:
        return measure_recording(video, sound)
    except MediaError as error:
        return error.kind, error.reason if error.path == video else str(error)


def prepare_clips(
    sources: Mapping[str, ClipSource],
    prepared: PreparedClips,
    out: Path,
    known: Mapping[str, str],
    workers: Workers,
    time_limit: float,
    done: Callable[[int], object],
) -> tuple[set[str], list[LeftOut]]:
    """Check the clips, and cut and encode those that need it.

    Args:
        sources: {clip: what it is made of}.
        prepared: where files are written, and what an interrupted run has prepared.
        out: the output folder.
        known: {clip: split} of earlier runs.
        workers: where videos are read.
        time_limit: for reading and writing a clip, see `reading_limit`.
        done: called with the number of clips that are done since the last call.

    Returns:
        The clips that passed, now or in an earlier run; and those that didn't.

    Raises:
        UserError: a file can't be written.
    """
    passed: set[str] = set()
    left_out = []
    jobs: list[tuple[ClipSource, Path, Path | None]] = []
    for clip in sources.keys() | known.keys():
        mp4, wav = target_files(out / known.get(clip, "train"), clip)
        if clip in known and mp4.exists() and wav.exists():
            passed.add(clip)
        elif clip not in sources:
            left_out.append(LeftOut(clip, str(mp4), "missing", "an earlier run placed it, and it is gone"))
        elif prepared.has(sources[clip]):
            passed.add(clip)
        else:
            moved_wav = wav if clip in known and wav.exists() else None  # the run was stopped between the two
            jobs.append((sources[clip], prepared.folder, moved_wav))
    jobs.sort(key=lambda job: job[0].clip)
    done(len(passed) + len(left_out))
    for job, result in map_clips(
        prepare_clip, jobs, workers, time_limit=lambda job: reading_limit(time_limit, job[0].video)
    ):
        source, (kind, reason) = job[0], result[:2]
        if kind == "ok":
            prepared.add(source)
            passed.add(source.clip)
        else:
            left_out.append(LeftOut(source.clip, str(source.video), kind, reason))
        done(1)
    return passed, left_out


def list_sounds_left_out(
    found: Mapping[str, SourceVideo], sources: Mapping[str, ClipSource], passed: Collection[str]
) -> list[LeftOut]:
    """List the sound files of videos that became no clip.

    Args:
        found: the user's videos by id.
        sources: {clip: what it is made of}.
        passed: the clips that passed the check, or were set aside before it.
    """
    used = {source.origin for clip, source in sources.items() if clip in passed}
    reason = "its video became no clip"
    return [
        LeftOut(name, str(one.sound), "sound without video", reason)
        for name, one in found.items()
        if one.sound is not None and name not in used
    ]


def boxes_of(source: ClipSource, boxes: Mapping[str, list[Box]]) -> list[Box]:
    """List the annotated objects of a clip.

    Args:
        source: of the clip.
        boxes: by clip or by video; those of a video are moved to the time of the cut.
    """
    if source.clip in boxes or source.clip == source.origin:
        return boxes.get(source.clip, [])
    inside = [box for box in boxes.get(source.origin, ()) if source.start <= box["time"] < source.end]
    return [{**box, "time": round(box["time"] - source.start, 6)} for box in inside]


def update_table(path: Path, clips: list[str], entry: Callable[[str], Any | None]) -> dict[str, Any]:
    """Make the content of a vid2genre.json or boxes.json.

    Args:
        path: of the table; entries of an earlier run are kept where there is no new one.
        clips: of the split.
        entry: maps a clip to its entry, None to keep the earlier one.
    """
    earlier = load_json(path, "id: entry") if path.exists() else {}
    entries = {clip: entry(clip) for clip in clips}
    entries = {clip: earlier.get(clip) if value is None else value for clip, value in entries.items()}
    return {clip: value for clip, value in entries.items() if value is not None}
