"""One clip of the demo: draw its scene, render and encode its files."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
from PIL import Image

from data.demo_clips.classes import CLASSES
from data.demo_clips.frames import render_frames
from data.demo_clips.melody import add_room, play_melody
from data.demo_clips.scene import FPS, box_list, draw_scene
from utils.files import atomic_path, atomic_write

SPLITS = ("train", "val", "test")


class DemoClip(NamedTuple):
    """What the tables of a split hold of a clip: its id, its class and its entry in boxes.json."""

    id: str
    mid: str
    boxes: list[dict]


def make_clip(split: str, index: int, label: int, root: Path, seed: int, rate: int) -> DemoClip:
    """Make one clip, unless its files exist. It depends on `seed`, `split` and `index` alone.

    Args:
        split: "train", "val" or "test".
        index: of the clip in its split.
        label: index of the class of the sounding object.
        root: folder of the dataset.
        seed: of the dataset.
        rate: of the sound, Hz.
    """
    scene_rng, frame_rng, sound_rng = np.random.default_rng([seed, SPLITS.index(split), index]).spawn(3)
    scene = draw_scene(scene_rng, label)
    wav, mp4 = root / split / "audio" / f"{scene.id}.wav", root / split / "video" / f"{scene.id}.mp4"
    if not (wav.exists() and mp4.exists()):
        samples = add_room(sound_rng, play_melody(sound_rng, CLASSES[label], rate), rate)
        write_wav(wav, samples, rate)
        width, height = map(int, scene.size)
        with atomic_path(mp4) as temporary:
            write_mp4(str(temporary), render_frames(scene, frame_rng), (width, height), samples, rate)
    return DemoClip(scene.id, CLASSES[label].mid, box_list(scene))


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write a wav file of 16 bit, atomically.

    Args:
        path: file to write.
        samples: (samples,) int16, the sound.
        rate: of the samples, Hz.
    """
    content = io.BytesIO()  # libsndfile hides the system's error
    soundfile.write(content, samples, rate, format="WAV", subtype="PCM_16")
    with atomic_write(path) as file:
        file.write(content.getvalue())


def write_mp4(path: str, frames: Iterable[Image.Image], size: tuple[int, int], samples: np.ndarray, rate: int) -> None:
    """Write an mp4 file of H.264 and AAC.

    Args:
        path: file to write.
        frames: RGB images, `FPS` a second.
        size: their width and height, pixels.
        samples: (samples,) int16, the sound.
        rate: of the samples, Hz.
    """
    with av.open(path, "w", format="mp4") as out:
        # Key frames are at most 12 apart: random access is cheap. One thread: the processes share the cores.
        # No macroblock tree: with it, x264 sometimes encodes the same frames to other bytes.
        options = {"preset": "veryfast", "crf": "28", "g": "12", "threads": "1", "x264-params": "mbtree=0"}
        video = out.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("aac", rate=rate, layout="mono", options={"aac_coder": "fast", "b": str(2 * rate)})
        for frame in frames:
            out.mux(video.encode(av.VideoFrame.from_image(frame)))
        out.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts = rate, 0
        out.mux(audio.encode(sound))
        out.mux(audio.encode())
