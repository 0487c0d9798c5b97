"""Tiny clips and datasets in our folder format, made in milliseconds, whose content a test can know.

Pictures carry their own number in blocks that survive compression and resizing; sounds carry a click at a known time.
"""

import colorsys
import csv
import json
from fractions import Fraction

import av
import numpy as np
import soundfile
import torch

# Classes of `make_dataset`: each has its own colour and its own pitch. All are in the demo's ontology.
MIDS = ("/m/07y_7", "/m/07gql", "/m/05r5c", "/m/026t6", "/m/0l14j_", "/m/018j2")
ROWS, COLUMNS = 3, 4  # blocks of a numbered picture: 12 bits
TIME_BASE = Fraction(1, 90000)


def numbered(number, size=(64, 48)):
    """A picture of size (width, height) that shows `number` (0..4095) in bright and dark blocks: (H, W, 3) uint8."""
    bits = np.array([number >> k & 1 for k in range(ROWS * COLUMNS)], bool).reshape(ROWS, COLUMNS)
    rows = np.arange(size[1]) * ROWS // size[1]
    columns = np.arange(size[0]) * COLUMNS // size[0]
    grey = np.where(bits[rows][:, columns], 220, 40).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, 2)


def read_number(frame):
    """The number that a frame (H, W, 3) of any size shows."""
    grey = np.asarray(frame, float).mean(2)
    height, width = grey.shape
    centres = grey[
        np.ix_(
            [int((r + 0.5) * height / ROWS) for r in range(ROWS)],
            [int((c + 0.5) * width / COLUMNS) for c in range(COLUMNS)],
        )
    ]
    return sum(1 << k for k, bright in enumerate(centres.reshape(-1) > 130) if bright)


def tone(seconds, rate, pitch=440.0, amplitude=0.3, overtones=1):
    """A steady sound: (samples,) float64 in -1..1."""
    t = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, overtones + 1))
    return amplitude * wave / np.abs(wave).max()


def click(seconds, rate, at, width=0.001):
    """Near silence with one click of `width` seconds that begins at time `at`: (samples,) float64."""
    wave = 1e-3 * np.sin(np.arange(round(seconds * rate)) * 0.1)
    wave[round(at * rate) : round((at + width) * rate)] = 0.9
    return wave


def write_video(
    path, pictures, fps=25, times=None, gop=12, b_frames=0, sound=None, rate=16000, x264="", container="mp4", turn=0,
    **options,
):  # fmt: skip
    """Write an H.264 video.

    Args:
        path: file to write; its folder is made.
        pictures: list of (H, W, 3) uint8, even sides.
        fps: frame rate; or `times`, the time stamp of each picture, seconds, for any other rhythm.
        gop: largest distance between key frames. b_frames: between two others.
        sound: (samples,) float at `rate` for an AAC track beside the pictures, or None.
        x264: further settings of the encoder, "name=value:name=value".
        container: its format, whatever the file's name says.
        turn: how the pictures are to be turned to be shown, as a phone says it; degrees, counterclockwise.
        options: further options of the muxer, such as movflags="faststart".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [k / fps for k in range(len(pictures))] if times is None else times
    with av.open(str(path), "w", format=container, options=options) as out:
        encoding = {"preset": "veryfast", "crf": "18", "g": str(gop), "bf": str(b_frames), "threads": "1"}
        encoding |= {"x264-params": x264} if x264 else {}
        video = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=encoding)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = TIME_BASE
        if turn:
            video.set_display_rotation(turn)
        audio = None if sound is None else out.add_stream("aac", rate=rate, layout="mono")
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time / TIME_BASE), TIME_BASE
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(np.float32(sound)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            out.mux(audio.encode(frame))
            out.mux(audio.encode())


def write_sound(path, sound, rate=16000, subtype="PCM_16"):
    """Write (samples,) or (samples, channels) float64 in -1..1, or int16, as a wav; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, format="WAV", subtype=subtype)


def make_clip(
    folder, clip_id, seconds=2.0, fps=25, size=(64, 48), rate=16000,
    pictures=None, times=None, gop=12, b_frames=0, sound=None, pitch=440.0, click_at=None, subtype="PCM_16", aac=False,
):  # fmt: skip
    """Write one clip into a split's folder: video/ID.mp4 and audio/ID.wav.

    Args:
        folder: Path of the split, such as ROOT/train. clip_id: str.
        seconds: length of both. fps, size (width, height), gop, b_frames, times: of the video, see `write_video`.
        rate, subtype: of the wav.
        pictures: list of (H, W, 3) uint8; by default each shows its own number, see `read_number`.
        sound: (samples,) or (samples, channels) float; by default a tone of `pitch` Hz, or, where `click_at` is given,
            one click at that time, seconds.
        aac: whether the mp4 has a sound track of its own, as downloaded ones have; nothing reads it.

    Returns:
        (Path of the mp4, Path of the wav).
    """
    mp4, wav = folder / "video" / f"{clip_id}.mp4", folder / "audio" / f"{clip_id}.wav"
    if pictures is None:
        pictures = [numbered(k, size) for k in range(round(seconds * fps) if times is None else len(times))]
    if sound is None:
        sound = tone(seconds, rate, pitch, overtones=4) if click_at is None else click(seconds, rate, click_at)
    track = np.asarray(sound).reshape(len(sound), -1).mean(1) if aac else None
    write_video(mp4, pictures, fps, times, gop, b_frames, track, rate)
    write_sound(wav, sound, rate, subtype)
    return mp4, wav


def write_json(path, content):
    """Write any JSON content; the file's folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_genres(folder, labels=None):
    """Write a split's vid2genre.json: {id: [mid, ...]}, by default one label for each mp4 that lies there."""
    ids = sorted(path.stem for path in (folder / "video").glob("*.mp4"))
    write_json(folder / "vid2genre.json", {clip: [MIDS[0]] for clip in ids} if labels is None else labels)


def make_dataset(
    root, train=12, val=6, test=6, classes=3, seconds=1.5, fps=10, size=(64, 64), rate=8000, boxes=True, seed=0
):
    """Make a dataset from which a net can learn: a square whose colour goes with the pitch of the sound.

    Clip i of a split is of class i % classes: one of MIDS, a hue and a pitch (an octave apart), each varied a little;
    the square's place, the background and the loudness are random. Every fourth clip has its neighbour class's label
    beside its own. The square lies still, so that its box in boxes.json holds for every frame.

    Args:
        root: Path of the dataset. train, val, test: clips; a split of 0 clips is not made. classes: up to 6.
        boxes: whether each split has a boxes.json.

    Returns:
        root.
    """
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val), ("test", test)):
        genres, places = {}, {}
        for i in range(count):
            kind, clip = i % classes, f"{split}_{i:04d}"
            side = int(rng.integers(size[0] // 4, size[0] // 2))
            x, y = (int(rng.integers(0, full - side)) for full in size)
            picture = np.full((size[1], size[0], 3), rng.integers(60, 180), np.uint8)
            hue = (kind + rng.uniform(-0.15, 0.15)) / classes
            picture[y : y + side, x : x + side] = np.array(colorsys.hsv_to_rgb(hue % 1, 1, 1)) * 255
            pictures = [picture] * round(seconds * fps)
            pitch = 150 * 2**kind * rng.uniform(0.94, 1.06)
            sound = tone(seconds, rate, pitch, rng.uniform(0.1, 0.6), overtones=3)
            sound += 0.003 * rng.standard_normal(len(sound))
            make_clip(root / split, clip, seconds, fps, size, rate, pictures=pictures, sound=sound, aac=True)
            genres[clip] = [MIDS[kind]] + ([MIDS[(kind + 1) % classes]] if i % 4 == 3 else [])
            box = [x / size[0], y / size[1], (x + side) / size[0], (y + side) / size[1]]
            places[clip] = [
                {"time": k / 5, "box": box, "label": MIDS[kind], "sounding": True} for k in range(int(seconds * 5))
            ]
        if count:
            write_genres(root / split, genres)
            if boxes:
                write_json(root / split / "boxes.json", places)
    return root


class FixedDraws:
    """In the place of a RandomStream: every number lies at the same fraction of the way between its bounds.

    Args:
        fraction: 0 for the lower bound, 1 for the upper one. size: of the batch.
        by_name: other fractions for the numbers of these names.
    """

    def __init__(self, fraction, size, **by_name):
        self.fraction, self.size, self.by_name = fraction, size, by_name

    def uniform(self, *names, low=0.0, high=1.0):
        fractions = torch.tensor([self.by_name.get(name, self.fraction) for name in names]).expand(self.size, -1)
        return low + (high - low) * (fractions[:, 0] if len(names) == 1 else fractions)


def relative_error(found, wanted):
    """The largest difference of two tensors or arrays relative to the largest value: float32 sums on other processors
    and in batches of other sizes add up in another order.
    """
    found, wanted = (torch.as_tensor(values).detach() for values in (found, wanted))
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def small_checkpoint(path, seed=0, **settings):
    """Write best.pt of an untrained net of the smallest size, AVE-Net by default; returns its Path.

    Args:
        path: Path. seed: of the weights. settings: {dotted name: value} beside `kill_and_resume.SMALL`.
    """
    import torch
    import torch.nn.functional as F
    from kill_and_resume import SMALL

    from configs.schema import Config
    from models import build_net
    from utils import checkpoint
    from utils.config import CONFIG_VERSION, override, to_dict

    config = override(Config(), {**SMALL, **settings})
    torch.manual_seed(seed)
    model = build_net(config.model)
    # Else all vectors point the same way (docs/starting_well.md); in eval mode too, by batch norm's kept statistics.
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.momentum = 1.0
    frames = F.interpolate(torch.randn(32, 3, 4, 4), size=(32, 32))
    frames = frames if config.data.frames == 1 else frames[:, :, None].expand(-1, -1, 8, -1, -1)
    model.data_dependent_init(frames, F.interpolate(torch.randn(32, 1, 8, 4), size=(32, 50)))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"config": to_dict(config), "config_version": CONFIG_VERSION, "model": model.state_dict()}
    checkpoint.save(path, content | {"ema": None, "step": 0, "metrics": {}})
    return path


def small_pixelplayer(path, **settings):
    """Write best.pt of an untrained PixelPlayer of the smallest size; returns its Path.

    Args:
        path: Path. settings: {dotted name: value}.
    """
    import torch

    from configs.demo_PixelPlayer import config as demo
    from models import build_net
    from utils import checkpoint
    from utils.config import CONFIG_VERSION, override, to_dict

    small = {"model.width": 4, "model.sound_width": 4, "model.num_channels": 4}
    sizes = {"data.frame_size": 64, "data.resize_size": 72, "train.precision": "fp32"}
    config = override(demo, {**small, **sizes, **settings})
    torch.manual_seed(0)
    model = build_net(config.model)
    model.data_dependent_init(torch.randn(8, 1, 3, 64, 64), torch.randn(8, 1, 128, 64))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"config": to_dict(config), "config_version": CONFIG_VERSION, "model": model.state_dict()}
    checkpoint.save(path, content | {"ema": None, "step": 0, "metrics": {}})
    return path


def read_left_out(path):
    """{file: reason} of a left_out.csv."""
    with open(path, encoding="utf-8", newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}
