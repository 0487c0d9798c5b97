"""Clips with masks of the demo, in AVSBench's layout: S4 has one sounding instrument, MS3 two that sound together.

OUT/masks/Single-source/s4_data/visual_frames/test/CLASS/ID/ID_1.png ... ID_5.png
                               /gt_masks/test/CLASS/ID/ID_1.png ... ID_5.png    255 where it is drawn, else 0
                               /audio_wav/test/CLASS/ID.wav                     five seconds, one for each frame
         /Single-source/s4_meta_data.csv
         /Multi-sources/ms3_data/visual_frames/ID/ID.mp4_1.png ...
                                /gt_masks/test/ID/ID_1.png ...                  of both instruments
                                /audio_wav/test/ID.wav
         /Multi-sources/ms3_meta_data.csv
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

from data.demo_clips.classes import CLASSES, WORDS
from data.demo_clips.clip import write_wav
from data.demo_clips.duets import pair_of
from data.demo_clips.frames import render_frames, render_masks
from data.demo_clips.melody import add_room, play_melody
from data.demo_clips.scene import SECONDS, draw_sounding_scene
from utils.files import save_image

FOLDER = "masks"
FRAMES = 5  # of a clip: one for each second of its sound
STREAMS = {"s4": 4, "ms3": 5}  # the numbers that tell their random numbers from those of the splits


class MaskedFiles(NamedTuple):
    """Files of a clip with masks.

    Attributes:
        frames: FRAMES paths.
        masks: FRAMES paths.
        wav: the sound.
    """

    frames: list[Path]
    masks: list[Path]
    wav: Path

    def exist(self) -> bool:
        """Check that all of them exist."""
        return all(path.exists() for path in (*self.frames, *self.masks, self.wav))


def masked_labels(part: str, index: int) -> list[int]:
    """Choose the classes that sound in clip `index` of the `part` "s4" or "ms3": indices in `CLASSES`."""
    return [index % len(CLASSES)] if part == "s4" else list(pair_of(index))


def masked_name(part: str, index: int) -> str:
    """Name clip `index` of the `part` "s4" or "ms3"."""
    return "_".join([WORDS[label] for label in masked_labels(part, index)] + [f"{index:05d}"])


def masked_files(root: Path, part: str, index: int) -> MaskedFiles:
    """List the files of a clip.

    Args:
        root: folder of the demo set.
        part: "s4" or "ms3".
        index: of the clip in its part.
    """
    name, numbers = masked_name(part, index), range(1, FRAMES + 1)
    if part == "s4":
        folder, below = root / FOLDER / "Single-source" / "s4_data", Path("test", WORDS[masked_labels(part, index)[0]])
        frames = [folder / "visual_frames" / below / name / f"{name}_{k}.png" for k in numbers]
    else:
        folder, below = root / FOLDER / "Multi-sources" / "ms3_data", Path("test")
        frames = [folder / "visual_frames" / name / f"{name}.mp4_{k}.png" for k in numbers]
    masks = [folder / "gt_masks" / below / name / f"{name}_{k}.png" for k in numbers]
    return MaskedFiles(frames, masks, folder / "audio_wav" / below / f"{name}.wav")


def make_masked_clip(part: str, index: int, root: Path, seed: int, rate: int) -> None:
    """Make one clip, unless its files exist. It depends on `seed`, `part` and `index` alone.

    Args:
        part: "s4" or "ms3".
        index: of the clip in its part.
        root: folder of the demo set.
        seed: of the demo set.
        rate: of the sound, Hz.
    """
    files = masked_files(root, part, index)
    if files.exist():
        return
    scene_rng, frame_rng, sound_rng = np.random.default_rng([seed, STREAMS[part], index]).spawn(3)
    labels = masked_labels(part, index)
    scene = draw_sounding_scene(scene_rng, labels, str(index))
    times = np.arange(FRAMES) * (SECONDS / FRAMES)  # slowed, so that nothing leaves the frame within FRAMES seconds
    for path in (files.frames[0], files.masks[0], files.wav):
        path.parent.mkdir(parents=True, exist_ok=True)
    for path, picture in zip(files.frames, render_frames(scene, frame_rng, times), strict=True):
        save_image(path, picture)
    for path, masks in zip(files.masks, render_masks(scene, times), strict=True):
        save_image(path, _union(masks))
    voices = [play_melody(sound_rng, CLASSES[label], rate, FRAMES) for label in labels]
    together = np.sum([voice / voice.std() for voice in voices], axis=0)
    write_wav(files.wav, add_room(sound_rng, together, rate), rate)


def _union(masks: list[Image.Image]) -> Image.Image:
    """The pixels of any of one or two masks."""
    return ImageChops.lighter(masks[0], masks[-1])
