"""Make a dataset from a folder of videos: SRC/NAME.mp4 (mkv, webm, ...), each with or without SRC/NAME.wav.

    python data/train_val_split_small.py my_videos data/mine                      # links to the files of my_videos
    python data/train_val_split_small.py my_videos data/mine --by copy --val 0.2  # 70% train, 20% val, 10% test

SRC may also be the folder of one split, SRC/{video,audio}, as a download makes it. Labels come from SRC/vid2genre.json,
{NAME: [mid, ...]}, or by YouTube id from --csv; other clips have none. Boxes come from SRC/boxes.json. Cuts of the same
video are in the same split. Files whose names begin with a dot are ignored. The same command resumes an interrupted
run, and later adds what is new in SRC.

    OUT/split.json                                                      the settings, and the split of each clip
    OUT/{train,val,test}/{vid2genre.json,boxes.json,video/NAME.mp4,audio/NAME.wav}
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _path  # noqa: F401

from dataset.making.assign_splits import assign_splits
from dataset.making.import_clip import import_clip
from dataset.making.processes import map_in_processes
from dataset.making.segments import clip_ids, read_segments, youtube_id
from dataset.making.text import escape_surrogates
from dataset.reading.annotations import is_valid_id, load_json, read_boxes, read_genres
from dataset.reading.clips import clip_files
from dataset.reading.media_folder import KIND_OF_SUFFIX
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import is_empty_folder, write_json
from utils.locks import lock_folder
from utils.progress_bar import progress_bar


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, make the dataset."""
    args = parse_arguments(argv)
    with lock_folder(args.out, "OUT"):
        make_dataset(args)


def make_dataset(args: argparse.Namespace) -> None:
    """Assign the clips to splits, import them, list what was left out; `args` is the command line."""
    fractions = split_fractions(args.val, args.test)
    videos, refused = find_videos(args.src)
    labels, boxes = make_label_lookup(args.src, args.csv), read_boxes(args.src / "boxes.json")
    settings = {"src": str(args.src.resolve()), "csv": args.csv and str(args.csv.resolve())}
    settings |= {key: getattr(args, key) for key in ("val", "test", "seed", "by")}
    earlier = open_output(args.out, settings, list(fractions))
    split_of = assign_splits(videos, fractions, args.seed, earlier)
    if not split_of:
        raise UserError(f"{args.src} holds no video: give a folder with NAME.mp4, NAME.mkv, NAME.webm, ...")
    write_json(args.out / "split.json", {"settings": settings, "clips": split_of})
    left_out = import_clips(args, videos, split_of, list(fractions))
    counts = []
    for split in fractions:
        folder = args.out / split
        clips = [
            c for c, s in split_of.items() if s == split and c not in left_out and clip_files(folder, c)[0].is_file()
        ]
        write_json(folder / "vid2genre.json", {clip: labels(clip) for clip in clips})
        if boxes:
            write_json(folder / "boxes.json", {clip: boxes[clip] for clip in clips if clip in boxes})
        counts.append(f"{split} {len(clips)}")
    refused |= {videos[clip].name: reason for clip, reason in left_out.items()}
    for name, reason in sorted(refused.items()):
        print(f"left out: {name if name.isprintable() else ascii(name)}: {escape_surrogates(reason)}")
    print(f"{args.out}: {', '.join(counts)} clips; {len(refused)} left out, and untouched in {args.src}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("src", type=Path, metavar="SRC", help="folder of videos, or a folder with video/ and audio/")
    add("out", type=Path, metavar="OUT", help="dataset folder to make")
    add("--val", type=float, default=0.1, metavar="X", help="fraction of the clips for validation, 0..1 [0.1]")
    add("--test", type=float, default=0.1, metavar="X", help="fraction of the clips for testing, 0..1 [0.1]")
    add("--seed", type=int, default=0, help="seed of the random division [0]")
    by = "how mp4 and wav files get to OUT; other formats are encoded\nagain and stay in SRC [link]"
    add("--by", choices=("link", "copy", "move"), default="link", help=by)
    add("--csv", type=Path, metavar="FILE", help="segment file with labels by YouTube id [SRC/vid2genre.json]")
    add("--workers", type=at_least(1), default=os.cpu_count(), metavar="N", help="number of processes [all cores]")
    return parser.parse_args(argv)


def split_fractions(val: float, test: float) -> dict[str, float]:
    """Compute the fraction of clips of each split that gets any, for fractions `val` and `test`."""
    fractions = {"train": 1 - val - test, "val": val, "test": test}
    if not all(0 <= fraction <= 1 for fraction in fractions.values()) or not fractions["train"]:
        raise UserError(f"--val {val} and --test {test} must be fractions, 0..1, that leave some clips for training")
    return {split: fraction for split, fraction in fractions.items() if fraction}


def find_videos(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the videos of a `folder`, sorted by name.

    Returns:
        {name without suffix: path}, and {file name: why it can't be a clip}.

    Raises:
        UserError: there is no such folder, or two videos have the same name.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give one that holds videos")
    folder = media_folder(folder, "video")
    videos: dict[str, Path] = {}
    refused = {}
    for path in sorted(folder.iterdir()):
        is_video = KIND_OF_SUFFIX.get(path.suffix.lower()) == "video"
        if not is_video or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in videos:
            raise UserError(f"{folder} holds {path.name} and {videos[path.stem].name}: rename one of them")
        if not is_valid_id(path.stem):
            refused[path.name] = "a clip can't have this name"
        elif escape_surrogates(path.stem) != path.stem:
            refused[path.name] = "its name is not UTF-8"
        else:
            videos[path.stem] = path
    return videos, refused


def media_folder(folder: Path, kind: str) -> Path:
    """Find where the "video" or "audio" files (`kind`) of a source lie: in `folder`/kind, else in `folder` itself."""
    return folder / kind if (folder / kind).is_dir() else folder


def make_label_lookup(folder: Path, csv: Path | None) -> Callable[[str], list[str]]:
    """Make a function from a clip to its mids, from folder/vid2genre.json, or from a segment file, `csv`, if given."""
    if csv is None:
        path = folder / "vid2genre.json"
        genres = read_genres(path) if path.exists() else {}
        return lambda clip: genres.get(clip, [])
    segments = read_segments(csv)
    exact = dict(zip(clip_ids(segments), segments, strict=True))
    of_video: dict[str, dict[str, None]] = {}
    for segment in segments:
        of_video.setdefault(segment.video, {}).update(dict.fromkeys(segment.labels))
    return lambda clip: list(exact[clip].labels if clip in exact else of_video.get(youtube_id(clip), ()))


def open_output(out: Path, settings: dict[str, Any], splits: list[str]) -> dict[str, str]:
    """Create the output folder, or open that of an earlier run.

    Args:
        out: the folder.
        settings: of this run.
        splits: names of the splits.

    Returns:
        {clip: split} of an earlier run with the same settings, or {}.

    Raises:
        UserError: the folder is not empty and holds no dataset of these settings.
    """
    note = out / "split.json"
    earlier: Any = {}
    if note.exists():
        content = load_json(note, "the settings of this script")
        if not isinstance(content, dict) or content.get("settings") != settings:
            raise UserError(f"{out} was made with other settings, see {note}: choose another folder, or use the same")
        earlier = content.get("clips")
        if not isinstance(earlier, dict) or not all(is_valid_id(c) and s in splits for c, s in earlier.items()):
            raise UserError(f"{note} is damaged: choose another folder")
    elif out.exists() and not is_empty_folder(out):
        raise UserError(f"{out} is not empty and was not made by this script: choose a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    return earlier


def import_clips(
    args: argparse.Namespace, videos: dict[str, Path], split_of: dict[str, str], splits: list[str]
) -> dict[str, str]:
    """Import all clips on several processes.

    Args:
        args: the command line.
        videos: {clip: path}.
        split_of: {clip: split}.
        splits: names of the splits.

    Returns:
        {clip: why it was left out}.
    """
    for split in splits:
        for kind in ("video", "audio"):
            (args.out / split / kind).mkdir(parents=True, exist_ok=True)
    for stale in args.out.glob("*/*/.*.tmp"):
        stale.unlink()
    jobs = []
    for clip, video in videos.items():
        wav = media_folder(args.src, "audio") / f"{clip}.wav"
        jobs.append((clip, video, wav if wav.is_file() else None, args.out / split_of[clip], args.by))
    left_out = {}
    with progress_bar(len(jobs)) as bar:
        for job, reason in map_in_processes(import_clip, jobs, args.workers):
            if reason != "":
                left_out[job[0]] = "the decoder crashes on it" if reason is None else reason
            bar.update()
    return left_out


if __name__ == "__main__":
    with exit_on_user_error():
        main()
