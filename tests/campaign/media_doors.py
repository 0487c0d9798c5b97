"""Read one file through every door in a forked child, and say where they disagree, crash, hang or take too much."""

import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

TIME_LIMIT = 30.0  # of all doors together, seconds
MAX_MEMORY = 1_000_000  # of the child beyond what it begins with, kB
CHECK_ONLY = ("black", "out of step")  # what check_data refuses beyond what readers refuse
TOLERANCE = 12.0  # of the same frame in two doors, mean of the absolute difference of its levels
SIDE = 48  # of the frames that are compared, pixels
MACHINE_WORDS = re.compile(r"errno|\[error|0x[0-9a-f]{4}|traceback|returned \d|average", re.IGNORECASE)


def read_everywhere(video: Path, wav: Path, must: str, compare: bool = True) -> str:
    """Read a file in a child: what is wrong with how it was handled, "" if nothing.

    Args:
        video, wav: of the clip.
        must: "pass" (every door reads it), "refuse" (none does), or "" (all agree).
        compare: the frame that the doors show; frames of a few pixels differ by how they are resized.
    """
    return in_child(lambda: judge(video, wav, must, compare))


def in_child(find_problem: Callable[[], str]) -> str:
    """Call a function in a child process, with limits of time and memory.

    Args:
        find_problem: returns what is wrong, "" if nothing.

    Returns:
        The same, or that it crashes, hangs or takes too much memory.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _report(write_end, find_problem)
    os.close(write_end)
    deadline = time.monotonic() + TIME_LIMIT
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(read_end)
            return f"hangs: more than {TIME_LIMIT:.0f} s"
        time.sleep(0.005)
    with os.fdopen(read_end) as file:
        text = file.read()
    code = os.waitstatus_to_exitcode(done[1])
    return text if code == 0 else f"ends the process with code {code}: {text}"


def _report(write_end: int, find_problem: Callable[[], str]) -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        text = find_problem()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if not text and memory > MAX_MEMORY:
            text = f"takes {memory / 1e6:.1f} GB"
    except BaseException:
        text = traceback.format_exc()[-600:]
    os.write(write_end, text.encode()[:4000])
    os._exit(0)


def judge(video: Path, wav: Path, must: str, compare: bool) -> str:
    """Read a file through every door and compare them, as `read_everywhere`."""
    from dataset.making.checks.clip_checks import check_clip
    from dataset.reading.errors import MediaError

    result = check_clip("x", video, wav)
    said = {"check": (result.kind, result.message)}
    frames: dict[str, np.ndarray | None] = {}
    for door, read in doors(video, wav).items():
        try:
            frames[door] = read()
            said[door] = "ok", ""
        except MediaError as error:
            said[door] = error.kind, str(error)
        except Exception:
            return f"{door}: {traceback.format_exc()[-500:]}"
    for door, (_, text) in said.items():
        if "\n" in text.replace(str(video), "") or MACHINE_WORDS.search(text.replace(str(video), "")):
            return f"{door}: not a plain sentence: {text!r}"
    return disagreement(said, must, frames) or (difference(frames) if compare else "")


def disagreement(said: dict[str, tuple[str, str]], must: str, frames: dict[str, np.ndarray | None]) -> str:
    """Say which doors disagree, "" if none.

    Args:
        said: {door: (kind, message)}.
        must: as of `read_everywhere`.
        frames: of each door; a file without pictures can be embedded for its sound.
    """
    verdict = said["check"][0]
    passes = {door for door, (kind, _) in said.items() if kind == "ok"}
    if must == "pass" and len(passes) < len(said):
        return f"refuses a valid file: { {door: said[door] for door in said.keys() - passes} }"
    if must == "refuse" and (passes - {"search", "embed"} or frames.get("embed") is not None):
        return f"reads what must be refused: {sorted(passes)}"
    if verdict == "ok" and len(passes) < len(said):
        return f"check_data passes it, refused by { {door: said[door] for door in said.keys() - passes} }"
    if verdict not in ("ok", *CHECK_ONLY) and passes >= {"training", "shards"}:
        return f"check_data refuses what training and shards read: {said['check']}"
    return ""


def difference(frames: dict[str, np.ndarray | None]) -> str:
    """Compare the frame at 1 s of all doors, "" if they show the same."""
    shown = {door: frame.astype(int) for door, frame in frames.items() if frame is not None}
    for door, frame in shown.items():
        away = np.abs(frame - shown.get("training", frame)).mean()
        if away > TOLERANCE:
            return f"{door} shows another frame than training: {away:.0f} levels away"
    return ""


def doors(video: Path, wav: Path) -> dict[str, Callable[[], np.ndarray | None]]:
    """The ways in which a clip is read, by name; each returns the frame at 1 s, (SIDE, SIDE, 3) uint8, or None."""
    from dataset.making.clips.cut import cut_clip
    from dataset.making.shards.shard_writer import ShardClip, ShardSettings, store_clip
    from dataset.reading.clip_reader import ClipReader
    from dataset.reading.clips import clip_files
    from dataset.reading.media_folder import MediaItem, detect_kind, frame_image
    from dataset.reading.moments import iter_moments

    item = MediaItem(video.name, "video", video.name, video.parent)
    folder = video.parent

    def training() -> np.ndarray:
        with ClipReader("x", video, wav) as clip:
            times = [*np.arange(clip.first, min(clip.video_end, 60), 0.04).tolist(), clip.video_end]
            clip.frames(times, 16)
            clip.sound(clip.first, 16000)
            clip.frame_stack(clip.first, 3, 16) if clip.video_end > 0.2 else None
            [clip.frame(time, 16) for time in times[::40]]
            return clip.frame(min(1.0, clip.last), SIDE)

    def shards() -> None:
        mp4, sound = clip_files(folder / "split", "x")
        for link, target in ((mp4, video), (sound, wav)):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        settings = ShardSettings(fps=5.0, size=64, square=False, quality=90, rate=16000, clips=1)
        with open(folder / "x.tar", "w+b") as tar:
            store_clip(tar, "0", folder / "split", ShardClip("x", [], [0.5], 1, 1), settings)

    def embed() -> np.ndarray | None:
        frame = None
        moments = iter_moments(item._replace(sound_name=os.path.relpath(wav, folder)), SIDE, 16000, 0.5)
        for moment in islice(moments, 2000):  # embed.py has its time limit for what lasts for hours
            frame = moment.frame if abs(moment.time - 1.0) < 0.01 else frame
        return frame

    def search() -> np.ndarray:
        assert detect_kind(video) in ("video", "image", "sound")
        return np.asarray(frame_image(item, 1.0).resize((SIDE, SIDE), Image.Resampling.BOX))

    def cut() -> np.ndarray:
        cut_clip(video, wav, 0.0, 1e9, folder / "cut.mp4", folder / "cut.wav", fps=0)
        with ClipReader("x", folder / "cut.mp4", folder / "cut.wav") as clip:
            return clip.frame(min(1.0, clip.last), SIDE)

    return {"training": training, "shards": shards, "embed": embed, "search": search, "import": cut}


if __name__ == "__main__":
    sys.exit("run python -m tests.campaign media")
