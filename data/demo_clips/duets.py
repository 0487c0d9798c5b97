"""Duets of the demo, in IS3's layout: pictures of two instruments, each with a sound, a box and a mask of its own.

OUT/duets/images/A_B_NUMBER_CLASS.jpg           the picture, once for each of its instruments, A and B
         /audio_wav/A_B_NUMBER_CLASS.wav        the sound of the instrument CLASS; its middle belongs to the picture
         /gt_segmentation/A_B_NUMBER_CLASS.png  255 where it is drawn, else 0
         /IS3_annotation.json                   [{"image", "audio", "class", "gt_box": [x0, y0, x1, y1]}, ...]
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.demo_clips.classes import CLASSES, WORDS
from data.demo_clips.clip import write_wav
from data.demo_clips.frames import render_frames, render_masks
from data.demo_clips.melody import add_room, play_melody
from data.demo_clips.scene import SECONDS, draw_sounding_scene
from utils.files import save_image

BOX_SIZE = 224  # the boxes are in pixels of the picture resized to this square
FOLDER, TABLE = "duets", "IS3_annotation.json"
STREAM = 3  # the number that tells its random numbers from those of the splits


def pair_of(index: int) -> tuple[int, int]:
    """Choose the two classes of a picture: pairs cyclically, each class as often as the others in every 12 pictures.

    Args:
        index: of the picture.

    Returns:
        Their indices in `CLASSES`; they differ.
    """
    first, turn = index % len(CLASSES), index // len(CLASSES)
    return first, (first + 1 + turn % (len(CLASSES) - 1)) % len(CLASSES)


def duet_names(index: int) -> list[str]:
    """Name the two annotated sounds of the picture `index`: its name and the sounding class."""
    words = [WORDS[label] for label in pair_of(index)]
    return [f"{'_'.join(words)}_{index:05d}_{word}" for word in words]


def duet_files(root: Path, index: int) -> list[list[Path]]:
    """List the files of a picture.

    Args:
        root: folder of the demo set.
        index: of the picture.

    Returns:
        For each of its two sounds: image, wav and mask.
    """
    forms = (("images", "jpg"), ("audio_wav", "wav"), ("gt_segmentation", "png"))
    return [[root / FOLDER / kind / f"{name}.{suffix}" for kind, suffix in forms] for name in duet_names(index)]


def make_duet(index: int, root: Path, seed: int, rate: int) -> list[dict[str, Any]]:
    """Make one picture and its two sounds, unless their files exist. They depend on `seed` and `index` alone.

    Args:
        index: of the picture.
        root: folder of the demo set.
        seed: of the demo set.
        rate: of the sounds, Hz.

    Returns:
        Its entries in the table.
    """
    scene_rng, frame_rng, *sound_rngs = np.random.default_rng([seed, STREAM, index]).spawn(4)
    labels = pair_of(index)
    scene = draw_sounding_scene(scene_rng, list(labels), str(index))
    middle = np.array([SECONDS / 2])
    picture, masks = next(render_frames(scene, frame_rng, middle)), next(render_masks(scene, middle))
    entries = []
    for files, label, mask, rng in zip(duet_files(root, index), labels, masks, sound_rngs, strict=True):
        image, wav, segmentation = files
        paths = {kind: f"{path.parent.name}/{path.name}" for kind, path in (("image", image), ("audio", wav))}
        entries.append(paths | {"class": WORDS[label], "gt_box": mask_box(mask)})
        if all(path.exists() for path in files):
            continue
        save_image(image, picture, quality=90)
        save_image(segmentation, mask)
        write_wav(wav, add_room(rng, play_melody(rng, CLASSES[label], rate), rate), rate)
    return entries


def mask_box(mask: Image.Image) -> list[int]:
    """Compute the box around the pixels of a mask above 0: x0, y0, x1, y1, pixels of a square of `BOX_SIZE`."""
    box = mask.getbbox() or (0, 0, 0, 0)
    return [round(BOX_SIZE * side / size) for side, size in zip(box, mask.size * 2, strict=True)]
