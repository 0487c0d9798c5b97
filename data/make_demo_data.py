"""Draw and synthesise the demo set: two-second clips of twelve instruments, in the layout the trainer reads.

    python data/make_demo_data.py                     # data/demo: 1500 train, 120 val and 200 test clips
    python data/make_demo_data.py --sheet sheet.png   # the same, and a contact sheet to look at

Nothing is downloaded. Every clip comes from np.random.default_rng([seed, split, index]) alone, so the same
settings give the same set whatever the number of workers. An interrupted run goes on where it stopped.

    ROOT/demo.json               the settings
    ROOT/SPLIT/vid2genre.json    {id: [mid]}, the class that sounds
    ROOT/SPLIT/boxes.json        {id: [{"time": s, "box": [x0, y0, x1, y1], "label": mid, "sounding": bool}]}
    ROOT/SPLIT/video/ID.mp4      H.264 at 25 frames a second, AAC
    ROOT/SPLIT/audio/ID.wav      mono, 16 bit; sample 0 is time 0 of the video
"""

import argparse
import functools
import json
import os
import signal
import string
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import _path  # noqa: F401
import av
import numpy as np
import soundfile
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy.signal import fftconvolve
from tqdm import tqdm

from data.demo_clips.classes import CLASSES
from data.demo_clips.looks import Pen, hsv, pick
from utils.arguments import at_least

VERSION = 1  # of the generator: raise it whenever the same settings no longer give the same clips
SPLITS = ("train", "val", "test")
SECONDS, FPS = 2, 25
FRAME_TIMES = np.arange(SECONDS * FPS) / FPS
BOX_TIMES = FRAME_TIMES[::5]
ID_LETTERS = string.ascii_letters + string.digits + "-_"
MARGIN = 12  # px of background beyond the frame, for the camera to drift into
PART = ".part"  # suffix of files being written


# ---------------------------------------------------------------------------------------------------- scene


class Wave(NamedTuple):
    """A sinusoidal motion about 0: amplitude (any unit), frequency (Hz), phase (radians)."""

    size: np.ndarray
    hz: float
    phase: float

    def at(self, times):
        """Return the displacement at times (n,) in seconds: (n, *size.shape)."""
        return np.multiply.outer(np.sin(2 * np.pi * self.hz * times + self.phase), self.size)


class Thing(NamedTuple):
    """One instrument of the scene: at rest at `spot` px, turned by `angle` radians, `scale` px a unit."""

    label: int
    parts: list
    hull: np.ndarray
    scale: float
    spot: np.ndarray
    angle: float
    sway: Wave
    swing: Wave

    def pose(self, times, camera):
        """Return the centres (n, 2) in px and the angles (n,) in radians at times (n,) in seconds."""
        return self.spot + self.sway.at(times) + camera.at(times), self.angle + self.swing.at(times)

    def boxes(self, times, camera, size):
        """Return the bounding boxes (n, 4), x0 y0 x1 y1 as fractions of the frame's size (width, height)."""
        centre, angle = self.pose(times, camera)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x, y = self.scale * self.hull.T
        x, y = x * c - y * s + centre[:, :1], x * s + y * c + centre[:, 1:]
        return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1) / np.tile(size, 2)


class Scene(NamedTuple):
    """What a clip shows: frame size (width, height) in px, camera drift in px, the sounding thing first."""

    id: str
    size: np.ndarray
    camera: Wave
    things: list


def draw_wave(rng, size, low, high):
    """Return a Wave of the given size with a frequency between low and high Hz."""
    return Wave(np.asarray(size), rng.uniform(low, high), rng.uniform(0, 2 * np.pi))


def draw_thing(rng, label, size, breadth):
    """Return a Thing of class `label` at a random spot in a frame of `size` (width, height) px.

    breadth is the geometric mean of its box's sides, as a share of the frame's.
    """
    pen = Pen()
    CLASSES[label].draw(pen, rng)
    flip = [pick(rng, (-1, 1)), 1]
    hull = pen.hull() * flip
    middle = (hull.min(0) + hull.max(0)) / 2
    parts = [(points * flip - middle, colour, width) for points, colour, width in pen.parts]
    angle = np.radians(rng.uniform(*CLASSES[label].turn)) * pick(rng, (-1, 1))
    sway = draw_wave(rng, rng.uniform(0, 0.025, 2) * size, 0.2, 1)
    swing = draw_wave(rng, rng.uniform(0.01, 0.08), 0.3, 1.2)
    thing = Thing(label, parts, hull - middle, 1.0, np.zeros(2), angle, sway, swing)
    return scaled(thing, rng, size, breadth)


def scaled(thing, rng, size, breadth):
    """Return the thing at a size (see draw_thing) and a random spot."""
    still = Wave(np.zeros(2), 0, 0)
    x0, y0, x1, y1 = thing._replace(scale=1.0, spot=np.zeros(2)).boxes(np.zeros(1), still, size)[0]
    w, h = x1 - x0, y1 - y0
    scale = min(breadth / np.sqrt(w * h), 0.64 / max(w, h))
    spot = rng.uniform(scale * np.array([w, h]) / 2, 1 - scale * np.array([w, h]) / 2) * size
    return thing._replace(scale=scale, spot=spot)


def fits(boxes, off_centre):
    """Say whether the things' boxes, each (n, 4), stay in the frame and apart.

    With off_centre, the first must never hold the frame's centre either.
    """
    swept = [np.concatenate([b[:, :2].min(0), b[:, 2:].max(0)]) for b in boxes]
    inside = all(b.min() > 0.005 and b.max() < 0.995 for b in swept)
    a, b = swept[0], swept[-1]
    apart = len(swept) < 2 or np.any(a[2:] + 0.01 < b[:2]) or np.any(b[2:] + 0.01 < a[:2])
    return inside and apart and not (off_centre and np.all(a[:2] < 0.5) and np.all(a[2:] > 0.5))


def draw_scene(rng, label):
    """Return a Scene in which class `label` sounds; in a quarter of them a silent one is in sight too."""
    name = "".join(ID_LETTERS[k] for k in rng.integers(len(ID_LETTERS), size=11))
    long = pick(rng, (176, 192, 208, 224))
    size = np.array([long, pick(rng, [n for n in (160, 176, 192) if n <= long])])
    if rng.random() < 0.12:
        size = size[::-1]
    camera = draw_wave(rng, rng.uniform(-0.03, 0.03, 2) * size, 0.1, 0.4)
    labels = [label]
    if rng.random() < 0.25:
        labels.append((label + int(rng.integers(1, len(CLASSES)))) % len(CLASSES))
    low, high = (0.36, 0.56) if len(labels) == 1 else (0.32, 0.46)
    off_centre = rng.random() < 0.5
    things = [draw_thing(rng, k, size, rng.uniform(low, high)) for k in labels]
    while not fits([thing.boxes(BOX_TIMES, camera, size) for thing in things], off_centre):
        things = [scaled(thing, rng, size, rng.uniform(low, high)) for thing in things]
    return Scene(name, size, camera, things)


def box_list(scene):
    """Return the scene's entry in boxes.json."""
    entries = []
    tracks = [thing.boxes(BOX_TIMES, scene.camera, scene.size).clip(0, 1).round(4) for thing in scene.things]
    for k, time in enumerate(BOX_TIMES):
        for thing, track in zip(scene.things, tracks, strict=True):
            entry = {"time": round(float(time), 3), "box": track[k].tolist()}
            entries.append(entry | {"label": CLASSES[thing.label].mid, "sounding": thing is scene.things[0]})
    return entries


# --------------------------------------------------------------------------------------------------- picture


def draw_background(rng, width, height):
    """Return an RGB image, width x height px: a gradient, a pattern, clutter that is no instrument, grain."""
    w, h = 2 * width, 2 * height  # drawn at twice the size, for smooth edges

    def colour(spread=0.25):
        return hsv(hue + rng.uniform(-spread, spread), rng.uniform(0.08, 0.5), rng.uniform(0.45, 1) ** 0.7)

    hue, angle = rng.random(), rng.uniform(0, 2 * np.pi)
    side = np.linspace(-0.5, 0.5, 64)
    ramp = (np.cos(angle) * side + np.sin(angle) * side[:, None])[..., None]
    pixels = (0.5 - ramp) * colour(0.1) + (0.5 + ramp) * colour(0.1)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((w, h), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image, "RGBA")
    pattern = pick(rng, ("plain", "stripes", "blobs", "checks", "floor", "floor"))
    ink, step = colour() + (int(rng.integers(60, 200)),), int(rng.integers(24, 70))
    if pattern == "stripes":
        slant = int(rng.integers(-h, h))
        for x in range(-h, w + h, step):
            pen.line([(x, 0), (x + slant, h)], fill=ink, width=step // 3)
    elif pattern == "blobs":
        for x, y, r in rng.uniform((0, 0, 10), (w, h, 90), (12, 3)):
            pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)
    elif pattern == "checks":
        for x in range(0, w, step):
            for y in range((x // step % 2) * step, h, 2 * step):
                pen.rectangle([x, y, x + step, y + step], fill=ink)
    elif pattern == "floor":
        pen.rectangle([0, h * rng.uniform(0.5, 0.8), w, h], fill=colour() + (255,))
    for _ in range(int(rng.integers(0, 7))):
        draw_clutter(pen, rng, w, h, colour(0.5))
    image = image.reduce(2)
    grain = rng.normal(0, rng.uniform(0, 8), (height // 5, width // 5)).clip(-40, 40) + 128
    grain = Image.fromarray(grain.astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
    image = ImageChops.add(image, grain.convert("RGB"), 1, -128)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.8)))


def draw_clutter(pen, rng, w, h, colour):
    """Draw a box, a picture frame, a disc, a ring, a triangle or a stick somewhere on a w x h px canvas."""
    x, y = rng.uniform(0, w), rng.uniform(0, h)
    a, b = rng.uniform(0.05, 0.16, 2) * w
    edge, thick = tuple(c // 2 for c in colour), int(rng.integers(3, 14))
    kind = pick(rng, ("box", "frame", "disc", "ring", "triangle", "stick"))
    if kind == "box":
        pen.rectangle([x - a, y - b, x + a, y + b], fill=colour, outline=edge, width=3)
    elif kind == "frame":
        pen.rectangle([x - a, y - b, x + a, y + b], outline=colour, width=thick)
    elif kind == "disc":
        pen.ellipse([x - a, y - a, x + a, y + a], fill=colour, outline=edge, width=3)
    elif kind == "ring":
        pen.ellipse([x - a, y - a, x + a, y + a], outline=colour, width=thick)
    elif kind == "triangle":
        pen.polygon([(x - a, y + b), (x + a, y + b), (x, y - b)], fill=colour, outline=edge)
    else:
        pen.line([(x - 2 * a, y - 2 * b + a), (x + 2 * a, y + 2 * b - a)], fill=colour, width=thick)


def draw_light(rng, width, height):
    """Return the light as an RGB image to multiply frames with: its strength, direction and colour vary."""
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    ramp = np.cos(angle) * np.linspace(-1, 1, width) + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    level = rng.uniform(0.85, 1.1) * (1 - fall * (0.5 + ramp / 2.83))
    light = level[..., None] * rng.uniform(0.9, 1, 3) * 255
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))


def draw_sprite(thing, rng):
    """Return the thing upright, with a soft shadow, as an RGBA image of 1.5 px for each px of the frame."""
    fine, scale = 2, 1.5 * thing.scale
    half = np.abs(thing.hull).max(0) * scale + 8
    w, h = (2 * np.ceil(half)).astype(int)
    image = Image.new("RGBA", (int(w) * fine, int(h) * fine))
    pen = ImageDraw.Draw(image)
    for points, colour, width in thing.parts:
        xy = ((points * scale + [w / 2, h / 2]) * fine).ravel().tolist()
        if width:
            pen.line(xy, fill=colour, width=max(round(width * scale * fine), 2), joint="curve")
        else:
            pen.polygon(xy, fill=colour)
    image = image.reduce(fine)
    depth = ImageChops.offset(image.getchannel("A").point(lambda a: a * 0.4), int(rng.integers(-3, 4)), 3)
    shadow = Image.new("RGBA", image.size)
    shadow.putalpha(depth.filter(ImageFilter.GaussianBlur(2.5)))
    return Image.alpha_composite(shadow, image)


def paste_turned(frame, sprite, centre, angle):
    """Paste the sprite, 1.5 px for each px of the frame, at centre px, turned by angle radians."""
    c, s = np.cos(angle), np.sin(angle)
    reach = np.abs([[c, s], [s, c]]) @ sprite.size / 3 + 1  # half the turned sprite's width and height, px
    corner = np.floor(centre - reach)
    width, height = np.ceil(2 * reach).astype(int) + 1
    # The transform takes a place in the output to its place in the sprite.
    back = 1.5 * np.array([[c, s], [-s, c]])
    shift = back @ (corner - centre) + np.array(sprite.size) / 2
    matrix = (*back[0], shift[0], *back[1], shift[1])
    turned = sprite.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    frame.paste(turned, tuple(corner.astype(int).tolist()), turned)


def render_frames(scene, rng):
    """Yield the clip's frames, RGB images of the scene's size, at FRAME_TIMES."""
    width, height = map(int, scene.size)
    background = draw_background(rng, width + 2 * MARGIN, height + 2 * MARGIN)
    light = draw_light(rng, width, height)
    sprites = [draw_sprite(thing, rng) for thing in scene.things]
    poses = [thing.pose(FRAME_TIMES, scene.camera) for thing in scene.things]
    for k, (x, y) in enumerate(MARGIN - scene.camera.at(FRAME_TIMES)):
        # A resize of a box with fractional corners is a smooth shift, at half the cost of a transform.
        frame = background.resize((width, height), Image.Resampling.BILINEAR, (x, y, x + width, y + height))
        for sprite, (centres, angles) in zip(sprites, poses, strict=True):
            paste_turned(frame, sprite, centres[k], angles[k])
        yield ImageChops.multiply(frame, light)


# ----------------------------------------------------------------------------------------------------- sound

SCALES = ([0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 4, 7, 9], [0, 3, 5, 7, 10])


def perform(rng, instrument, rate):
    """Return SECONDS of the instrument playing a random melody without a rest: float samples, any level."""
    note = instrument.voice(rng, rate)
    low, high = instrument.register
    semitones = np.add.outer(12 * np.arange(6), pick(rng, SCALES)).ravel() + rng.uniform(0, 6)
    pitches = low * 2 ** (semitones / 12)
    pitches = pitches[pitches <= high]
    short, long = instrument.beat
    beat = np.exp(rng.uniform(np.log(short), np.log(long)))
    step, time = int(rng.integers(len(pitches))), -rng.uniform(0, beat)  # the clip may begin within a note
    out = np.zeros(SECONDS * rate)
    while time < SECONDS:
        length = float(np.clip(beat * pick(rng, (0.5, 1, 1, 2)), short, long))
        step = int(np.clip(step + rng.integers(-3, 4), 0, len(pitches) - 1))
        force = rng.uniform(0.3, 1)
        tone = (0.4 + 0.6 * force) * note(pitches[step], length, force)
        start = int(time * rate)
        tone = tone[max(-start, 0) :]
        start = max(start, 0)
        out[start : start + len(tone)] += tone[: len(out) - start]
        time += length
    return out


def record(rng, dry, rate):
    """Return the dry sound as a microphone hears it: room, tone colour, noise, level; int16 samples."""
    n = len(dry)
    decay = rng.uniform(0.1, 0.5)
    tail = np.arange(int(decay * rate)) / rate
    room = rng.standard_normal(len(tail)) * np.exp(-6.9 * tail / decay)
    wet = fftconvolve(dry, room / np.linalg.norm(room))[:n]
    hz = np.maximum(np.fft.rfftfreq(n, 1 / rate), 40)
    tilt = rng.uniform(-2, 2)  # dB an octave
    sound = np.fft.rfft(dry + rng.uniform(0, 0.35) * wet) * 10 ** (tilt * np.log2(hz / 1000) / 20)
    sound = np.fft.irfft(sound, n)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * hz ** -rng.uniform(0, 1), n)
    snr = rng.uniform(15, 40)  # dB
    sound = sound / sound.std() + noise / noise.std() * 10 ** (-snr / 20)
    return np.round(32767 * rng.uniform(0.2, 0.9) * sound / np.abs(sound).max()).astype(np.int16)


# ----------------------------------------------------------------------------------------------------- files


def write_mp4(path, frames, size, samples, rate):
    """Write RGB frames of size (width, height) and int16 mono samples to an mp4 file of H.264 and AAC."""
    with av.open(str(path), "w", format="mp4") as out:
        # Key frames are at most 12 apart: random access is cheap. One thread: the workers own the cores.
        # Without the macroblock tree: with it, x264 now and then codes the same frames to other bytes.
        options = {"preset": "veryfast", "crf": "28", "g": "12", "threads": "1", "x264-params": "mbtree=0"}
        video = out.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = int(size[0]), int(size[1]), "yuv420p"
        options = {"aac_coder": "fast", "b": str(2 * rate)}
        audio = out.add_stream("aac", rate=rate, layout="mono", options=options)
        for frame in frames:
            out.mux(video.encode(av.VideoFrame.from_image(frame)))
        out.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts = rate, 0
        out.mux(audio.encode(sound))
        out.mux(audio.encode())


def make_clip(job, root, seed, rate):
    """Make clip (split, index, label) unless its files are there; return its id, mid and list of boxes."""
    split, index, label = job
    scene_rng, picture_rng, sound_rng = np.random.default_rng([seed, SPLITS.index(split), index]).spawn(3)
    scene = draw_scene(scene_rng, label)
    wav, mp4 = root / split / "audio" / f"{scene.id}.wav", root / split / "video" / f"{scene.id}.mp4"
    if not (wav.exists() and mp4.exists()):
        samples = record(sound_rng, perform(sound_rng, CLASSES[label], rate), rate)
        soundfile.write(f"{wav}{PART}", samples, rate, format="WAV", subtype="PCM_16")
        os.replace(f"{wav}{PART}", wav)
        write_mp4(f"{mp4}{PART}", render_frames(scene, picture_rng), scene.size, samples, rate)
        os.replace(f"{mp4}{PART}", mp4)
    return scene.id, CLASSES[label].mid, box_list(scene)


def write_json(path, value):
    """Write value to a JSON file in one step: a reader sees the old file or the new one, never a part."""
    Path(f"{path}{PART}").write_text(json.dumps(value) + "\n")
    os.replace(f"{path}{PART}", path)


def claim_folder(root, settings):
    """Make root's folders and demo.json; exit with code 2 where root holds anything but this demo set."""
    note = root / "demo.json"
    if note.exists():
        try:
            found = json.loads(note.read_text())
        except (OSError, ValueError):
            found = None
        if found != settings:
            refuse(f"{root} holds a demo set of other settings, {found}, not {settings}; name another folder "
                   f"with --out, or delete this one yourself")  # fmt: skip
    elif root.exists() and (not root.is_dir() or any(p.name != note.name + PART for p in root.iterdir())):
        refuse(f"{root} is not empty and holds no demo set; name a new or an empty folder with --out")
    for split in SPLITS:
        for kind in ("audio", "video"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
    if not note.exists():
        write_json(note, settings)


def refuse(reason):
    """Print why to stderr and exit with code 2."""
    print(f"make_demo_data: {reason}.", file=sys.stderr)
    sys.exit(2)


def is_complete(root, settings):
    """Say whether all clips and both JSON files of every split are there (the JSON files come last)."""
    for split in SPLITS:
        folder = root / split
        if not ((folder / "vid2genre.json").exists() and (folder / "boxes.json").exists()):
            return False
        ids = json.loads((folder / "vid2genre.json").read_text())
        sounds, films = set(os.listdir(folder / "audio")), set(os.listdir(folder / "video"))
        if len(ids) != settings[split] or not all(f"{i}.wav" in sounds and f"{i}.mp4" in films for i in ids):
            return False
    return True


def make_all(root, settings, workers):
    """Make what is missing of the set, on `workers` processes, and then its JSON files."""
    for stale in root.glob(f"*/*/*{PART}"):
        stale.unlink()
    jobs = []
    for number, split in enumerate(SPLITS):
        labels = np.arange(settings[split]) % len(CLASSES)
        # The fourth word sets this generator apart from those of the clips.
        np.random.default_rng([settings["seed"], number, 0, 1]).shuffle(labels)
        jobs += [(split, k, int(label)) for k, label in enumerate(labels)]
    work = functools.partial(make_clip, root=root, seed=settings["seed"], rate=settings["sample_rate"])
    with ProcessPoolExecutor(workers) as pool:
        # Ctrl-C reaches every process: the workers, which inherit this, leave it to the parent.
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
        results = pool.map(work, jobs)
        signal.signal(signal.SIGINT, usual)
        try:
            pause = 0.1 if sys.stderr.isatty() else 20  # seconds; in a file every change would be another line
            clips = list(tqdm(results, total=len(jobs), unit="clip", desc=str(root), mininterval=pause))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for split in SPLITS:
        mine = [clip for clip, job in zip(clips, jobs, strict=True) if job[0] == split]
        write_json(root / split / "boxes.json", {name: boxes for name, _, boxes in mine})
        write_json(root / split / "vid2genre.json", {name: [mid] for name, mid, _ in mine})


def report(root):
    """Print the set's size and the shares of its scenes that matter to a localisation score."""
    counts, inside, silent = [], [], []
    for split in SPLITS:
        boxes = json.loads((root / split / "boxes.json").read_text())
        counts.append(f"{len(boxes)} {split}")
        for entries in boxes.values():
            silent.append(any(not e["sounding"] for e in entries))
            for x0, y0, x1, y1 in (e["box"] for e in entries if e["sounding"]):
                inside.append(x0 <= 0.5 <= x1 and y0 <= 0.5 <= y1)
    size = sum(entry.stat().st_size for entry in root.rglob("*") if entry.is_file()) / 1e6
    print(f"{root}: {', '.join(counts)} clips, {size:.1f} MB")
    print(f"the frame's centre is in the sounding box in {np.mean(inside):.1%} of the labelled frames")
    print(f"a silent instrument is in sight in {np.mean(silent):.1%} of the clips")


def write_sheet(root, path, columns=8, cell=168):
    """Write a contact sheet: a row of clips for each class, green boxes round what sounds, red if silent."""
    genres = json.loads((root / "train" / "vid2genre.json").read_text())
    boxes = json.loads((root / "train" / "boxes.json").read_text())
    sheet = Image.new("RGB", (columns * cell, len(CLASSES) * cell), "white")
    for row, instrument in enumerate(CLASSES):
        names = [name for name, mids in genres.items() if instrument.mid in mids][:columns]
        for column, name in enumerate(names):
            with av.open(str(root / "train" / "video" / f"{name}.mp4")) as film:
                image = next(film.decode(video=0)).to_image()
            image.thumbnail((cell - 4, cell - 16))
            pen = ImageDraw.Draw(image)
            for entry in (e for e in boxes[name] if e["time"] == 0):
                corners = [c * s for c, s in zip(entry["box"], image.size * 2, strict=True)]
                pen.rectangle(corners, outline="lime" if entry["sounding"] else "red")
            sheet.paste(image, (column * cell, row * cell + 12))
            title = f"{instrument.name}  {name}"
            ImageDraw.Draw(sheet).text((column * cell, row * cell), title, fill="black")
    sheet.save(path, "PNG")
    print(f"contact sheet: {path}")


def main():
    """Read the command line, make the set, say what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("data/demo"), help="folder of the set (data/demo)")
    for split, clips in zip(SPLITS, (1500, 120, 200), strict=True):
        parser.add_argument(f"--{split}", type=at_least(1), default=clips, help=f"{split} clips ({clips})")
    parser.add_argument("--seed", type=at_least(0), default=0, help="another seed, another set (0)")
    parser.add_argument("--sample_rate", type=int, default=16000, choices=(16000, 22050, 32000, 44100, 48000),
                        help="of the sound, Hz (16000)")  # fmt: skip
    parser.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="processes (all cores)")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet of the set to this PNG file")
    args = parser.parse_args()
    settings = {k: getattr(args, k) for k in (*SPLITS, "seed", "sample_rate")} | {"version": VERSION}
    try:
        claim_folder(args.out, settings)
        if is_complete(args.out, settings):
            print(f"{args.out} is complete: nothing to do")
        else:
            make_all(args.out, settings, args.workers)
        report(args.out)
        if args.sheet:
            write_sheet(args.out, args.sheet)
    except KeyboardInterrupt:
        print("\nmake_demo_data: stopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    except (OSError, av.FFmpegError, BrokenProcessPool) as error:
        print(
            f"make_demo_data: {error}; once that is put right, the same command goes on from here.",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
