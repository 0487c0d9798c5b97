"""Make a folder of videos, split it, and judge what train_val_split_small.py left: for `tests.campaign.splits`."""

import csv
import json
import os
import tempfile
import unicodedata
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from helpers import make_clip, numbered, tone, write_video

from tests.campaign.case import Case, Outcome, problem, refusal, run_command

SCRIPT = "data/train_val_split_small.py"
TABLES = ("vid2genre.json", "boxes.json", "g.json", "g.csv", "s.csv")
KINDS = ("mp4", "mkv", "mute", "wav", "junk", "text", "half")
Recording = Callable[[str], str]


@cache
def media() -> dict[str, bytes]:
    """Make one small file of each kind, bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mp4, wav = make_clip(folder, "a", 1.2, aac=True)
        write_video(folder / "a.mkv", [numbered(k) for k in range(30)], sound=tone(1.2, 16000), container="matroska")
        write_video(folder / "mute.mp4", [numbered(k) for k in range(30)])
        write_video(folder / "long.mp4", [numbered(k) for k in range(50)], fps=10, sound=tone(5, 16000))
        made = {
            "mp4": mp4,
            "wav": wav,
            "mkv": folder / "a.mkv",
            "mute": folder / "mute.mp4",
            "long": folder / "long.mp4",
        }
        found = {kind: path.read_bytes() for kind, path in made.items()}
    return found | {"junk": os.urandom(99), "text": b"some text\n", "half": found["mp4"][:-700], "empty": b""}


def put(folder: Path, *names: str) -> None:
    """Write files: a name may end with "=KIND", see `media`; an mp4 by default."""
    for name in names:
        name, _, kind = name.partition("=")
        path = folder / (name if "." in name.rpartition("/")[2] else f"{name}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(media()[kind or "mp4"])


def snapshot(folder: Path, without: Path) -> dict[Path, bytes | str]:
    """List all files and links of a folder, with their content."""
    found: dict[Path, bytes | str] = {}
    for below, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(below, name) != without]
        for path in (Path(below, name) for name in [*files, *folders]):
            if path.is_symlink():
                found[path] = os.readlink(path)
            elif path.is_file():
                found[path] = path.read_bytes()
    return found


def judge(outcome: Outcome, src: Path, out: Path, before: dict, moved: bool, recording: Recording | None) -> str:
    """Describe what is wrong with what a run left, "" if nothing.

    Args:
        outcome: of the command.
        src: the user's folder.
        out: the dataset.
        before: `snapshot` of the user's folder.
        moved: whether files were to be moved.
        recording: {clip: its recording} as the case knows it, or None.
    """
    found = problem(outcome)
    if found:
        return found
    if not moved and snapshot(src, out) != before:
        return "the user's files changed"
    if outcome.code:
        return "" if not list(out.glob("*/vid2genre.json")) else "refused, and left a dataset"
    side: dict[str, str] = {}
    for table in out.glob("*/vid2genre.json"):
        clips = json.loads(table.read_text())
        files = {kind: {path.stem for path in (table.parent / kind).iterdir()} for kind in ("video", "audio")}
        if not clips or files["video"] != set(clips) or files["audio"] != set(clips):
            return f"{table.parent.name} is empty, or holds other files than it lists"
        if side.keys() & clips.keys():
            return f"in two splits: {side.keys() & clips.keys()}"
        side |= dict.fromkeys(clips, table.parent.name)
    if recording:
        sides = {(recording(clip), name) for clip, name in side.items()}
        if len({name for name, _ in sides}) < len(sides):
            return f"a recording on two sides: {sorted(sides)}"
    return unaccounted(side, out, before)


def unaccounted(side: dict[str, str], out: Path, before: dict) -> str:
    """Name the files that are neither in a split nor in left_out.csv, "" if there is none."""
    with open(out / "left_out.csv", encoding="utf-8", newline="") as file:
        left_out = {row["file"] for row in csv.DictReader(file)}
    stems = {spell(clip) for clip in side}
    hidden = [path for path in left_out if Path(path).is_dir()]
    for path in before:
        stem = spell(path.stem)
        in_split = any(clip == stem or clip.startswith(f"{stem}_") or clip.endswith(f"_{stem}") for clip in stems)
        listed = str(path).encode("utf-8", "backslashreplace").decode() in left_out
        below = any(str(path).startswith(f"{folder}/") or str(path) == folder for folder in hidden)
        if not (in_split or listed or below or path.name in TABLES or path.is_dir()):
            return f"passed over without a word: {path.name!r}"
    return ""


def spell(name: str) -> str:
    """Spell a name so that it compares without case and form."""
    return unicodedata.normalize("NFC", name).lower()


def run_case(
    make: Callable[[Path], None], words: tuple[str, ...], recording: Recording | None, refused: str, folder: Path
) -> str:
    """Make a folder, split it twice, and judge it.

    Args:
        make: fills the user's folder.
        words: further options; "SRC" and "OUT" stand for the folders.
        recording: as of `judge`.
        refused: what a refusal must name; "" where the folder need not be refused.
        folder: empty, to work in.
    """
    src, out = folder / "src", folder / "out"
    src.mkdir()
    make(src)
    words = tuple(word.replace("SRC", str(src)) for word in words)
    if "--inside" in words:
        words, out = tuple(word for word in words if word != "--inside"), src / "out"
    before = snapshot(src, out)
    argv = [SCRIPT, src, out, "--workers", "1", *words]
    outcome = run_command(argv)
    if refused:
        return refusal(outcome, refused) or judge(outcome, src, out, before, False, None)
    if "--dry_run" in words:
        return problem(outcome) or ("the dry run wrote" if out.exists() or snapshot(src, out) != before else "")
    found = judge(outcome, src, out, before, "move" in words, recording)
    if found or outcome.code:
        return found
    first = (out / "split.json").read_bytes()
    found = judge(run_command(argv), src, out, before, "move" in words, recording)
    changed = (out / "split.json").read_bytes() != first
    return found or ("the same command changed the splits" if changed else "")


def case(
    name: str,
    files: str | Callable[[Path], None],
    *words: str,
    recording: Recording | None = None,
    refused: str = "",
) -> Case:
    """Make a case from the names of its files, separated by |, or from a function that makes them."""
    make = files if callable(files) else partial(put_all, files)
    return Case(name, partial(run_case, make, words, recording, refused))


def put_all(files: str, src: Path) -> None:
    """Write the files whose names, separated by |, are given."""
    put(src, *filter(None, files.split("|")))
