"""Leave the clips of a benchmark out of training, with all other clips of the same videos."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dataset.making.left_out import LeftOut
from dataset.making.lists.list_index import listed_videos, videos_of
from dataset.making.lists.video_lists import read_list


def read_excluded(paths: Iterable[Path]) -> tuple[dict[str, str], list[str]]:
    """Read the videos that lists of any format name.

    Args:
        paths: of the lists.

    Returns:
        ({video: name of its list}, what each list was taken for).

    Raises:
        UserError: a list can't be read.
    """
    lists = [read_list(path) for path in paths]
    videos = {video: listed.path.name for listed in lists for video in listed_videos(listed.segments)}
    return videos, [f"left out of training: {listed.describe()}" for listed in lists]


def find_excluded(
    recording_of: Mapping[str, str],
    files: Mapping[str, tuple[str, Path]],
    parts: Mapping[str, str],
    excluded: Mapping[str, str],
) -> list[LeftOut]:
    """Find the clips whose video is excluded; a list's own test part keeps them.

    Args:
        recording_of: {clip: its recording}.
        files: {clip: (name of its video file without the suffix, its path)}.
        parts: {clip: "train", "val" or "test"} by the list of the split, {} if there is none.
        excluded: {video: name of its list}, of `read_excluded`.
    """
    if not excluded:
        return []
    list_of: dict[str, str] = {}  # of a recording
    for clip, (name, _) in files.items():
        recording = recording_of[clip]
        videos = [recording, *videos_of(name), *(videos_of(clip) if clip != name else ())]
        video = next(filter(excluded.__contains__, videos), None)
        if video is not None:
            list_of[recording] = excluded[video]
    return [
        LeftOut(clip, str(path), "excluded", f"{list_of[recording_of[clip]]} has this clip, or another of its video")
        for clip, (_, path) in files.items()
        if recording_of[clip] in list_of and parts.get(clip) != "test"
    ]
