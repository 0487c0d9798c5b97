"""Campaign: data/check_data.py. Odd clips, on which all readers must agree; moves and repairs that lose nothing.

Promised: what check_data passes every reader reads, and what it refuses every reader refuses; however a dataset is
linked and named, and whatever is in the way, --move_bad and --repair replace no file, lose none, and leave the rest.
"""

import atexit
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import doors
import numpy as np
from helpers import make_clip, tone, write_genres, write_sound
from oddities import make_oddity, oddities

from tests.campaign.case import Case, problem, run_command

SCRIPT = "data/check_data.py"
READ_IN_PART = {"wav with an mp3 in it": {"embed"}}  # by these, so they don't meet what is wrong at the end
OTHER_DISK = Path("/dev/shm")
NAMES = {
    "plain": "b", "spaces": "  a b  ", "quotes": "a'\"`$(x)", "dash": "--csv", "unicode": "Größe_音楽",
    "nfd": "Gro\u0308sse",
    "long": "x" * 251, "dots": "..a..b", "newline": "a\nb", "percent": "%03d", "colon": "http:x", "comma": "a,b;c",
    "right_to_left": "a\u202eb", "not_utf8": "a\udcffb",
}  # fmt: skip


def cases() -> Iterator[Case]:
    """Yield odd clips, and datasets of all kinds to move from and to repair."""
    for name, make in oddities().items():
        yield Case(f"clip_{name}", partial(_agrees, name, make))
    for layout in LAYOUTS:
        for option in ("--move_bad", "--repair"):
            yield Case(f"{option[2:]}_{layout}", partial(_run, layout, "b", option, "plain"))
    for name in NAMES:
        for option in ("--move_bad", "--repair"):
            yield Case(f"{option[2:]}_name_{name}", partial(_run, "plain", NAMES[name], option, "plain"))
    for target in TARGETS:
        for option in ("--move_bad", "--repair"):
            yield Case(f"{option[2:]}_to_{target}", partial(_run, "plain", "b", option, target))
            yield Case(f"{option[2:]}_links_to_{target}", partial(_run, "links", "b", option, target))


def _agrees(name: str, make: Callable, folder: Path) -> str:
    make_oddity(make, folder / "train")
    found = {door: said for door, said in doors.disagreements(folder / "train").items()}
    wrong = {door: said for door, said in found.items() if door not in {"check", *READ_IN_PART.get(name, ())}}
    return f"check_data says {found['check'] or 'ok'!r}, others {wrong}" if wrong else ""


# ------------------------------------------------------------------------------------------------ moves and repairs


@cache
def _clips() -> Path:
    """A split of two clips: a is good, b is 100 ms late."""
    folder = Path(tempfile.mkdtemp(prefix="checks_"))
    atexit.register(_remove, folder, os.getpid())
    for number, clip in enumerate("ab"):
        notes = [tone(0.2, 16000, pitch, 0.4, 3) for pitch in np.random.default_rng(number).uniform(100, 900, 10)]
        _, wav = make_clip(folder, clip, sound=np.concatenate(notes), aac=True)
    write_sound(wav, np.concatenate([np.zeros(1600), *notes]))
    return folder


def _remove(folder: Path, maker: int) -> None:
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)


def _split(folder: Path, bad: str, good: str = "a", listed: bool = True) -> Path:
    """Copy the clips into a split; the bad one gets the name `bad`."""
    for name, source in ((good, "a"), (bad, "b")):
        for half in ("video/{}.mp4", "audio/{}.wav"):
            target = folder / half.format(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_clips() / half.format(source), target)
    write_genres(folder, {name: [] for name in (good, bad) if listed and name.isprintable()})
    return folder


def _plain(folder: Path, bad: str) -> None:
    for split in ("train", "val"):
        _split(folder / "root" / split, bad, f"a{split}")


def _same_names(folder: Path, bad: str) -> None:
    for disk, split in (("disk1", "train"), ("disk2", "val")):
        _split(folder / disk / "clips", bad)
        (folder / "root").mkdir(exist_ok=True)
        (folder / "root" / split).symlink_to(folder / disk / "clips")


def _one_folder(folder: Path, bad: str) -> None:
    _split(folder / "clips", bad)
    (folder / "root").mkdir()
    for split in ("train", "val"):
        (folder / "root" / split).symlink_to("../clips")


def _one_split(folder: Path, bad: str) -> None:
    _split(folder / "root", bad)


def _linked(link: Callable[[Path, Path], object], folder: Path, bad: str) -> None:
    """The files of the clips are links to those of another folder."""
    source, root = _split(folder / "source", bad), folder / "root" / "train"
    for path in source.rglob("*.*"):
        if path.suffix in (".mp4", ".wav"):
            target = root / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(path, target)
    shutil.copyfile(source / "vid2genre.json", root / "vid2genre.json")


def _shared_videos(folder: Path, bad: str) -> None:
    """Both splits take their videos from one folder."""
    train, val = _split(folder / "root" / "train", bad), folder / "root" / "val"
    val.mkdir()
    (val / "video").symlink_to(train / "video")
    shutil.copytree(train / "audio", val / "audio")
    shutil.copyfile(_clips() / "audio" / "a.wav", val / "audio" / f"{bad}.wav")
    shutil.copyfile(train / "vid2genre.json", val / "vid2genre.json")


def _linked_table(folder: Path, bad: str) -> None:
    split = _split(folder / "root" / "train", bad)
    (split / "vid2genre.json").rename(folder / "labels.json")
    (split / "vid2genre.json").symlink_to(folder / "labels.json")


def _half_missing(folder: Path, bad: str) -> None:
    split = _split(folder / "root" / "train", bad)
    (split / "audio" / f"{bad}.wav").unlink()


def _unlisted(folder: Path, bad: str) -> None:
    _split(folder / "root" / "train", bad, listed=False)


LAYOUTS: dict[str, Callable[[Path, str], None]] = {
    "plain": _plain,
    "same_names": _same_names,
    "one_folder": _one_folder,
    "one_split": _one_split,
    "links": partial(_linked, lambda path, target: target.symlink_to(path)),
    "relative_links": partial(_linked, lambda path, target: target.symlink_to(os.path.relpath(path, target.parent))),
    "hard_links": partial(_linked, lambda path, target: target.hardlink_to(path)),
    "shared_videos": _shared_videos,
    "linked_table": _linked_table,
    "half_missing": _half_missing,
    "unlisted": _unlisted,
}


def _blocked(half: str, content: bytes | None, folder: Path) -> Path:
    """A target in which something has the place of a file, a folder if `content` is None."""
    path = folder / "target" / "train" / half
    path.parent.mkdir(parents=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    return folder / "target"


def _written(path: str, content: str, folder: Path) -> Path:
    (folder / "target" / path).parent.mkdir(parents=True)
    (folder / "target" / path).write_text(content)
    return folder / "target"


def _linked_target(to: str, folder: Path) -> Path:
    (folder / "target").symlink_to(folder / to)
    return folder / "target"


def _linked_split(folder: Path) -> Path:
    """The folder of the split in the target is a link back to the dataset."""
    (folder / "target").mkdir()
    (folder / "target" / "train").symlink_to(folder / "root" / "train")
    return folder / "target"


def _other_disk(folder: Path) -> Path:
    if not OTHER_DISK.is_dir():
        return folder / "target"
    path = Path(tempfile.mkdtemp(dir=OTHER_DISK, prefix="checks_"))
    atexit.register(_remove, path, os.getpid())
    return path / "target"


def _file(folder: Path) -> Path:
    (folder / "target").write_bytes(b"mine")
    return folder / "target"


TARGETS: dict[str, Callable[[Path], Path]] = {
    "other_disk": _other_disk,
    "root": lambda folder: folder / "root",
    "split": lambda folder: folder / "root" / "train",
    "inside": lambda folder: folder / "root" / "refused",
    "inside_split": lambda folder: folder / "root" / "train" / "refused",
    "parent": lambda folder: folder,
    "file": _file,
    "below_file": lambda folder: _file(folder) / "deeper",
    "device": lambda folder: Path("/dev/null"),
    "link_to_root": partial(_linked_target, "root"),
    "link_to_nothing": partial(_linked_target, "nowhere"),
    "link_to_split": _linked_split,
    "wav_in_the_way": partial(_blocked, "audio/b.wav", b"mine"),
    "mp4_in_the_way": partial(_blocked, "video/b.mp4", b""),
    "folder_in_the_way": partial(_blocked, "audio/b.wav", None),
    "other_table": partial(_written, "train/vid2genre.json", '{"b": ["/m/0"]}'),
    "damaged_table": partial(_written, "train/vid2genre.json", "{"),
    "table_is_a_list": partial(_written, "train/vid2genre.json", "[]"),
    "foreign_list": partial(_written, "moved.csv", "a,b\n1,2\n"),
    "foreign_repairs": partial(_written, "repaired.csv", "a,b\n1,2\n"),
    "damaged_list": partial(_written, "moved.csv", '"\x00'),
    "long_path": lambda folder: folder / "/".join(["x" * 200] * 25),
    "zero_byte": lambda folder: folder / "a b",
}  # fmt: skip


def _contents(*roots: Path) -> Counter:
    """How often each content occurs among all media files; a link counts as the file that it leads to."""
    found: Counter = Counter()
    for root in roots:
        for path in root.rglob("*"):
            if path.suffix in (".mp4", ".wav") and path.is_file():
                found[path.read_bytes()] += 1
    return found


def _run(layout: str, bad: str, option: str, target: str, folder: Path) -> str:
    """Run the command twice: nothing may be lost or replaced, by the second run neither."""
    LAYOUTS[layout](folder, bad)
    out = TARGETS[target](folder) if target in TARGETS else folder / "target"
    others = [out] if not out.is_relative_to(folder) and out.is_dir() else []
    roots = [folder, *([out.parent] if OTHER_DISK in out.parents else [])]
    before, sources = _contents(*roots), _contents(folder / "root")
    for _ in range(2):
        outcome = run_command([SCRIPT, folder / "root", option, out, "--workers", "1"], cwd=folder)
        wrong = problem(outcome)
        after = _contents(*roots, *others)
        if option == "--move_bad" and after != before and layout not in ("one_folder", "shared_videos"):
            wrong = wrong or f"{before.total()} files before, {after.total()} after"
        if before - after:
            wrong = wrong or f"{(before - after).total()} contents are lost"
        if option == "--repair" and _contents(folder / "root") != sources:
            wrong = wrong or "changes the source"
        if wrong:
            return wrong
    is_plain = target == "plain" and layout not in ("shared_videos",)
    if outcome.code == 0 and is_plain and not _contents(out):
        return "does nothing"
    return "" if outcome.code == 0 or not is_plain else f"refuses: {outcome.err.strip().splitlines()[-1]}"
