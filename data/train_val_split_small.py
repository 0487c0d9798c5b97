"""Make a dataset of a flat folder of videos: SRC/NAME.mp4 (mkv, webm, ...), with SRC/NAME.wav or without; or of one
split's folder, SRC/{video,audio}, such as a download's.

    python data/train_val_split_small.py my_videos data/mine                      # links to the files of my_videos
    python data/train_val_split_small.py my_videos data/mine --by copy --val 0.2  # 70% train, 20% val, 10% test

Labels come from SRC/vid2genre.json, {NAME: [mid, ...]}, or by YouTube id from --csv; a clip without any gets none. What
SRC/boxes.json has of a clip goes with it. Two cuts of one video are never on both sides. Files that begin with a dot
are not looked at. Stopped half-way, the same command goes on from there; later it adds what is new in SRC.

    OUT/split.json                                                      the settings, and where each clip belongs
    OUT/{train,val,test}/{vid2genre.json,boxes.json,video/NAME.mp4,audio/NAME.wav}
"""

import argparse
import errno
import hashlib
import os
import random
import shutil
import sys
from math import inf
from pathlib import Path

import _path  # noqa: F401
from tqdm import tqdm

from data.check_data import plain
from dataset.making.checks import check_clip
from dataset.making.cut import cut_clip
from dataset.making.processes import map_in_processes
from dataset.making.segments import clip_ids, read_segments, youtube_id
from dataset.reading.annotations import is_valid_id, load_json, read_boxes, read_genres
from dataset.reading.audio import write_wav
from dataset.reading.errors import MediaError
from dataset.reading.media import read_audio
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mpg", ".mpeg", ".wmv")
DRAFT = ".split-"  # the names of files being written begin with it


def find_videos(folder):
    """The videos of a flat folder, by name: ({stem: Path}, {name of a file: why it can't be a clip}).

    Raises:
        UserError: no such folder, no video in it, or two of one name.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name one that holds videos")
    folder = media_folder(folder, "video")
    videos, refused = {}, {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEOS or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in videos:
            raise UserError(f"{folder} holds {path.name} and {videos[path.stem].name}: rename one or put it elsewhere")
        if not is_valid_id(path.stem):
            refused[path.name] = "a clip can't have this name"
        elif plain(path.stem) != path.stem:
            refused[path.name] = "its name is not UTF-8"
        else:
            videos[path.stem] = path
    return videos, refused


def media_folder(folder, kind):
    """Where a source's "video" or "audio" files lie: in a folder of that name, else in the source itself."""
    return folder / kind if (folder / kind).is_dir() else folder


def assign_splits(clips, shares, seed, known=()):
    """Give each clip a split: {clip: split}. Clips of one video go together.

    Args:
        clips: names. shares: {split: share of the clips}. seed: of the order in which videos are given out.
        known: {clip: split}, of earlier: it stays, and further clips of these videos follow.
    """
    groups = {}
    for clip in sorted({*clips, *known}):
        groups.setdefault(youtube_id(clip), []).append(clip)
    out, count = dict(known), sum(map(len, groups.values()))
    least = 1 if len(groups) >= len(shares) else 0  # a handful of videos still gives each split one
    open_places = {split: max(share * count, least) for split, share in shares.items()}
    open_places["train"] = count - sum(open_places[split] for split in shares if split != "train")
    for split in out.values():
        open_places[split] -= 1
    videos = sorted(groups)
    random.Random(seed).shuffle(videos)
    for video in videos:
        of_video = {out[clip] for clip in groups[video] if clip in out}
        split = of_video.pop() if of_video else max(open_places, key=open_places.get)
        for clip in groups[video]:
            open_places[split] -= clip not in out
            out.setdefault(clip, split)
    return out


def make_label_lookup(folder, csv):
    """A function clip -> list of mids: of SRC's vid2genre.json, or of a segment file where one is given."""
    if csv is None:
        path = folder / "vid2genre.json"
        genres = read_genres(path) if path.exists() else {}
        return lambda clip: genres.get(clip, [])
    segments = read_segments(csv)
    exact = dict(zip(clip_ids(segments), segments, strict=True))
    of_video = {}
    for segment in segments:
        of_video.setdefault(segment.video, {}).update(dict.fromkeys(segment.labels))
    return lambda clip: list(exact[clip].labels if clip in exact else of_video.get(youtube_id(clip), ()))


def place_clip(clip, video, wav, folder, by):
    """Bring one clip into a split's folder, if it is fit for training; returns why it isn't, or "".

    Args:
        video, wav: Paths, the wav None where there is none. folder: Path of the split. by: "link", "copy" or "move".
    """
    mp4_to, wav_to = folder / "video" / f"{clip}.mp4", folder / "audio" / f"{clip}.wav"
    if mp4_to.is_file() and wav_to.is_file():
        return ""
    name = f"{DRAFT}{hashlib.sha256(clip.encode()).hexdigest()[:24]}"
    mp4_draft, wav_draft = mp4_to.with_name(f"{name}.mp4"), wav_to.with_name(f"{name}.wav")
    wav = wav_to if wav_to.is_file() else wav  # an earlier run was stopped between the two
    try:
        if video.suffix.lower() != ".mp4":
            cut_clip(video, wav or video, 0.0, inf, mp4_draft, wav_draft, fps=0)
        elif wav is None:
            write_wav(wav_draft, read_audio(video))
        mp4 = mp4_draft if mp4_draft.exists() else video
        wav = wav or wav_draft
        verdict = check_clip(clip, mp4, wav)
        if verdict.kind != "ok":
            return verdict.message
        for path, to, draft in ((wav, wav_to, wav_draft), (mp4, mp4_to, mp4_draft)):
            if path != to:
                _link_or_copy(path, to, draft, by)
    except MediaError as error:
        return error.reason if error.path == video else str(error)
    except OSError as error:
        return f"can't be read or written ({error.strerror})"
    finally:
        mp4_draft.unlink(missing_ok=True)
        wav_draft.unlink(missing_ok=True)
    return ""


def _link_or_copy(path, to, draft, by):
    """Have a file at `to`, in one step."""
    if path != draft:
        draft.unlink(missing_ok=True)
        if by == "link":
            draft.symlink_to(path.resolve())
        elif by == "move" and _renamed(path, to):
            return
        else:
            shutil.copy2(path, draft)
    os.replace(draft, to)
    if by == "move" and path != draft:
        path.unlink()


def _renamed(path, to):
    try:
        os.replace(path, to)
    except OSError as error:
        if error.errno != errno.EXDEV:  # another disk: copy first
            raise
        return False
    return True


def open_output(out, settings, splits):
    """{clip: split} of an earlier run to OUT with the same settings, or {}; makes OUT's folder.

    Raises:
        UserError: OUT is not empty and no dataset of these settings.
    """
    note, earlier = out / "split.json", {}
    if note.exists():
        content = load_json(note, "the settings of this script")
        if not isinstance(content, dict) or content.get("settings") != settings:
            raise UserError(f"{out} was made with other settings, {note} says which: name another folder, or use those")
        earlier = content.get("clips")
        if not isinstance(earlier, dict) or not all(is_valid_id(c) and s in splits for c, s in earlier.items()):
            raise UserError(f"{note} is damaged: name another folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty and was not made by this script: name a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    return earlier


def place_all(src, out, splits, where, videos, args):
    """Place all clips, on several processes: {clip: why it was left out}."""
    for split in splits:
        for kind in ("video", "audio"):
            (out / split / kind).mkdir(parents=True, exist_ok=True)
    for stale in out.glob(f"*/*/{DRAFT}*"):
        stale.unlink()
    jobs = []
    for clip, video in videos.items():
        wav = media_folder(src, "audio") / f"{clip}.wav"
        jobs.append((clip, video, wav if wav.is_file() else None, out / where[clip], args.by))
    pause = 0.1 if sys.stderr.isatty() else 20  # seconds; in a file every change would be another line
    results = map_in_processes(place_clip, jobs, args.workers)
    found = {job[0]: reason for job, reason in tqdm(results, total=len(jobs), unit="clip", mininterval=pause)}
    return {clip: "the decoder crashes on it" if why is None else why for clip, why in found.items() if why != ""}


def main(argv=None):
    """Read the command line, divide the clips, place them, list what was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("src", type=Path, help="flat folder of videos, or a folder with video/ and audio/")
    parser.add_argument("out", type=Path, help="dataset folder to make")
    parser.add_argument("--val", type=float, default=0.1, help="share of the clips for validation, 0..1 [0.1]")
    parser.add_argument("--test", type=float, default=0.1, help="share of the clips for testing, 0..1 [0.1]")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another division [0]")
    parser.add_argument("--by", choices=("link", "copy", "move"), default="link",
                        help="how mp4 and wav get to OUT [link]; what is no mp4 is encoded anew and stays")  # fmt: skip
    parser.add_argument("--csv", type=Path, help="segment file with labels by YouTube id [SRC/vid2genre.json]")
    parser.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="processes [all cores]")
    args = parser.parse_args(argv)
    shares = {"train": 1 - args.val - args.test, "val": args.val, "test": args.test}
    if not all(0 <= share <= 1 for share in shares.values()) or not shares["train"]:
        raise UserError(f"--val {args.val} and --test {args.test} must be shares of 0..1 that leave some for training")
    shares = {split: share for split, share in shares.items() if share}
    videos, refused = find_videos(args.src)
    labels, boxes = make_label_lookup(args.src, args.csv), read_boxes(args.src / "boxes.json")
    settings = {"src": str(args.src.resolve()), "csv": args.csv and str(args.csv.resolve())}
    settings |= {key: getattr(args, key) for key in ("val", "test", "seed", "by")}
    earlier = open_output(args.out, settings, list(shares))
    where = assign_splits(videos, shares, args.seed, earlier)
    if not where:
        raise UserError(f"{args.src} holds no video: name a folder with NAME.mp4, NAME.mkv, NAME.webm, ...")
    write_json(args.out / "split.json", {"settings": settings, "clips": where})
    unfit = place_all(args.src, args.out, shares, where, videos, args)
    counts = []
    for split in shares:
        mp4s = {clip: args.out / split / "video" / f"{clip}.mp4" for clip, s in where.items() if s == split}
        placed = [clip for clip, mp4 in mp4s.items() if mp4.is_file() and clip not in unfit]
        write_json(args.out / split / "vid2genre.json", {clip: labels(clip) for clip in placed})
        if boxes:
            write_json(args.out / split / "boxes.json", {clip: boxes[clip] for clip in placed if clip in boxes})
        counts.append(f"{split} {len(placed)}")
    refused |= {videos[clip].name: why for clip, why in unfit.items()}
    for name, why in sorted(refused.items()):
        print(f"left out: {name if name.isprintable() else ascii(name)}: {plain(why)}")
    print(f"{args.out}: {', '.join(counts)} clips; {len(refused)} left out, and untouched in {args.src}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
