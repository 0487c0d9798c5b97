"""`check_data.py --list`: which clips of a list are in a dataset, and missing.csv with those that aren't."""

import csv
import io
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from data.checking.kept_results import KeptResults
from data.checking.report import write_report
from dataset.making.lists.list_index import ListIndex, clips_on_disk
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import VideoList
from dataset.making.split_folders import SplitFolder
from dataset.making.text import count_text, escape_surrogates


def report_list(listed: VideoList, splits: Sequence[SplitFolder], results: KeptResults, path: Path) -> None:
    """Print how many clips of a list are in a dataset, and write the others with the reason: `id,reason`.

    Args:
        listed: the list.
        splits: of the dataset.
        results: of all their clips.
        path: of missing.csv.
    """
    segments = clips_on_disk(listed)
    ids = listed.clip_ids() if segments is listed.segments else [segment.video for segment in segments]
    reasons = find_missing(segments, splits, results)
    rows = [(clip, reasons[segment]) for clip, segment in zip(ids, segments, strict=True) if segment in reasons]
    text = io.StringIO()
    csv.writer(text).writerows([("id", "reason"), *(map(escape_surrogates, row) for row in rows)])
    write_report(path, "--csv", [text.getvalue()])
    here = len(segments) - len(rows)
    print(f"{here:,} of {count_text(len(segments), 'clip')} of {listed.path} are here and ok, {len(rows):,} missing")


def find_missing(
    segments: Sequence[Segment], splits: Sequence[SplitFolder], results: KeptResults
) -> Mapping[Segment, str]:
    """Find the clips of a list that a dataset lacks, or has refused, and say why.

    Args:
        segments: the list's clips, of `clips_on_disk`.
        splits: of the dataset.
        results: of all their clips.

    Returns:
        {clip: reason}.
    """
    index = ListIndex(segments)
    reasons = dict.fromkeys(segments, "no clip has this name")
    here: set[Segment] = set()
    for split in splits:
        for clip in split.ids:
            match = index.find(clip)
            if match is None:
                continue
            name = f"{split.name}/{clip}"
            is_ok = results.kind((split.name, clip)) in ("ok", "unlisted")
            for segment in match.segments:
                if match.how == "inside" and segment.end < inf:
                    reasons[segment] = f"{name} is a part of it"
                elif match.how == "video" and len(match.segments) > 1:
                    reasons[segment] = f"{name} may be any of {len(match.segments)} clips of this video"
                elif is_ok:
                    here.add(segment)
                else:
                    result = results[split.name, clip]
                    reasons[segment] = f"{name} is refused, {result.kind}: {result.message}"
    return {segment: reason for segment, reason in reasons.items() if segment not in here}
