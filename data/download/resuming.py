"""Refuse to go on with a download by other times, which would leave two sorts of clips in a folder."""

from collections.abc import Set
from math import inf
from pathlib import Path

from data.download.folders import state_folder
from data.download.journal import Journal
from data.download.plan import TIME_TOLERANCE, CutLength, DownloadPlan, describe_times
from dataset.making.text import printable
from dataset.reading.annotations import is_number, load_json
from utils.errors import UserError
from utils.files import write_json
from utils.locks import hold_lock


def refuse_other_cuts(out: Path, plan: DownloadPlan, on_disk: Set[str]) -> None:
    """Refuse a plan that cuts otherwise than an earlier one did in a folder; note how this one does.

    Args:
        out: folder of the split.
        plan: of the list.
        on_disk: clips that exist.

    Raises:
        UserError: names the settings, or the clip that was not cut.
    """
    path = state_folder(out) / "cuts.json"
    with hold_lock(state_folder(out) / "lock"):
        before = _read_length(path) if path.exists() else None
        if before and (plan.length or any(map(before.divides, plan.segments.values()))) and plan.length != before:
            raise UserError(
                f"{out} holds clips of --seconds {before.seconds:g} --every {before.every:g}: give the same, or choose "
                "another --out"
            )
        if plan.length is None:
            return
        whole = next((name for name in plan.segments if name in on_disk and not plan.sources_of(name)), None)
        if whole is not None:
            raise UserError(
                f"{printable(whole)} exists in {out} as one clip, which --seconds would cut: choose another --out, or "
                "leave out --seconds"
            )
        if before is None:
            write_json(path, plan.length._asdict())


def _read_length(path: Path) -> CutLength:
    form = '{"seconds": s, "every": s}, as download_video_audio.py writes it'
    content = load_json(path, form)
    if (
        not isinstance(content, dict)
        or content.keys() != {"seconds", "every"}
        or not all(is_number(value) and value > 0 for value in content.values())
    ):
        raise UserError(f"{path} is damaged: it must hold {form}; choose another --out")
    return CutLength(**content)


def refuse_other_times(out: Path, csv: str, plan: DownloadPlan, on_disk: Set[str], journal: Journal) -> None:
    """Refuse a list that has other times for a clip that exists.

    Args:
        out: folder of the split.
        csv: the list, for the message.
        plan: of the list.
        on_disk: clips that exist.
        journal: knows the times of these.

    Raises:
        UserError: names the clip.
    """
    if plan.length:
        return  # the names of cuts are their times
    for clip in sorted(on_disk & plan.segments.keys()):
        event, listed = journal.last.get(clip, {}), plan.segments[clip]
        if event.get("class") != "done" or not is_number(event.get("start")) or "end" not in event:
            continue  # not made by this script: there is nothing to compare with
        start, end = event["start"], inf if event["end"] is None else event["end"]
        if abs(start - listed.start) > TIME_TOLERANCE or not (
            end == listed.end or abs(end - listed.end) <= TIME_TOLERANCE
        ):
            raise UserError(
                f"clip {printable(clip)} in {out} is of {describe_times(start, end)}, and {csv} asks for "
                f"{describe_times(listed.start, listed.end)}: choose another --out, or remove the clip's mp4 and wav"
            )
