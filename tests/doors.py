"""Every way that a clip is read, each reading all that it may ever ask for: {name: read(folder)}, which raises."""

import io
from types import SimpleNamespace

from helpers import write_genres

from configs.schema import Mix
from dataset.making.checks.clip_checks import check_clip
from dataset.making.shards.shard_writer import ShardClip, ShardSettings, store_clip
from dataset.mixes import MixtureDataset
from dataset.pairs import PairDataset, sample_times
from dataset.reading.clips import Clips, clip_files
from dataset.reading.errors import ClipError, MediaError
from dataset.reading.flow import FlowCache
from dataset.reading.media_folder import MediaItem
from dataset.reading.moments import iter_moments

SIZE, RATE, STEP, STACK = 32, 16000, 0.04, 8
QUALITY_KINDS = ("black", "out of step")  # of clips that can be read and still are no good for training


def open_only(folder):
    write_genres(folder, {"a": []})
    return Clips(folder.parent, folder.name)


def train_single_frames(folder):
    """AVE-Net and AVOL-Net, without a cache: every time that may be drawn; and the whole clip, as with a cache."""
    clips = open_only(folder)
    with clips.open(0) as clip:
        for time in sample_times(clip.first, clip.last, STEP):
            clip.sound(time, RATE)
            clip.frames([time], SIZE)
    PairDataset(clips, SIZE, RATE, STEP)._decode_whole(clips.open(0).__enter__(), 0)


def train_frame_stacks(folder):
    """AVE+MF."""
    with open_only(folder).open(0) as clip:
        for time in sample_times(clip.first, clip.last, 0.2):
            clip.frame_stack(time, STACK, SIZE)
            clip.sound(time, RATE)


def train_flow(folder):
    """AVE+OF."""
    with open_only(folder).open(0) as clip:
        for time in sample_times(clip.first, clip.last, 0.2):
            FlowCache("farneback", SIZE, 1, folder / "flow")(clip, time)
            clip.sound(time, RATE)


def train_mixtures(folder):
    """PixelPlayer."""
    clips = open_only(folder)
    data = SimpleNamespace(resize_size=SIZE, sample_rate=11000, frame_step=STEP)
    mixtures = MixtureDataset(clips, data, Mix(samples=8000, frames=1), middle=True)
    with clips.open(0) as clip:
        mixtures._decode_whole(clip, 0)


def build_shards(folder):
    settings = ShardSettings(fps=25.0, size=SIZE, square=True, quality=90, rate=RATE, clips=1)
    store_clip(io.BytesIO(), "0", folder, ShardClip("a", [], [], 0, 0), settings)


def embed(folder):
    """A clip of which neither frames nor sound can be embedded is refused; so is one that lacks one of them."""
    item = MediaItem("video/a.mp4", "video", "audio/a.wav", folder)
    moments = list(iter_moments(item, SIZE, RATE))
    if not any(moment.sound is not None for moment in moments):
        raise MediaError("silent", item.sound, "gives no sound")
    if not any(moment.frame is not None for moment in moments):
        raise MediaError("no picture", item.path, "gives no frame")


DOORS = {
    "single frames": train_single_frames,
    "frame stacks": train_frame_stacks,
    "flow": train_flow,
    "mixtures": train_mixtures,
    "shards": build_shards,
    "embed": embed,
}


def check(folder):
    """What check_data says: "" if all readers must read the clip."""
    result = check_clip("a", *clip_files(folder, "a"))
    return "" if result.kind in ("ok", *QUALITY_KINDS) else f"{result.kind}: {result.message}"


def verdict(door, folder):
    """Why a door refuses the clip, "" if it reads it."""
    try:
        DOORS[door](folder)
    except (ClipError, MediaError) as error:
        return f"{error.kind}: {error.reason}"
    return ""


def disagreements(folder):
    """{door: what it says} of those that don't agree with check_data; "check" is what that says."""
    checked = check(folder)
    found = {door: verdict(door, folder) for door in DOORS}
    wrong = {door: said for door, said in found.items() if bool(said) != bool(checked)}
    return {"check": checked, **wrong} if wrong else {}
