"""Pictures of where a net hears a sound: maps over frames, mismatched pairs, videos.

A map is shown as the probability that the sound comes from there, on one scale from 0 to 1, so that a map that says
"nowhere" looks dark beside one that says "here".
"""

from pathlib import Path

import av
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from utils.localization import inside, peaks, upsample

SOUNDING, SILENT, PEAK = (60, 220, 120), (235, 80, 70), (255, 255, 255)
OPACITY = 0.65
GAP = 4  # between pictures, pixels
LEAST = 224  # side of a picture, pixels: small frames are enlarged


def probabilities(logits, size):
    """(N, h, w) logits -> (N, size, size) float32 in 0..1, interpolated before the sigmoid."""
    return 1 / (1 + np.exp(-np.clip(upsample(logits, size), -30, 30)))


def enlarged(frame):
    """A frame (S, S, 3) uint8 at least LEAST pixels wide, so that boxes and captions can be read."""
    if len(frame) >= LEAST:
        return frame
    return np.asarray(Image.fromarray(frame).resize((LEAST, LEAST), Image.Resampling.BICUBIC))


def heat(frame, probability):
    """A map over its frame: (S, S, 3) uint8, (S, S) float in 0..1 -> (S, S, 3) uint8; the frame shows where it is 0."""
    colour = colormaps["turbo"](probability)[..., :3] * 255
    weight = OPACITY * probability[..., None]
    return ((1 - weight) * frame + weight * colour).round().astype(np.uint8)


def with_boxes(picture, entries, peak=None):
    """Draw boxes (green: sounds, red: silent) and a map's peak (white cross) on a picture: an RGB image.

    Args:
        picture: (S, S, 3) uint8. entries: list of {"box", "sounding"}. peak: (x, y) in 0..1, or None.
    """
    image = Image.fromarray(picture)
    pen, size = ImageDraw.Draw(image), np.array(image.size * 2)
    for entry in entries:
        corners = (np.array(entry["box"]) * size).tolist()
        pen.rectangle(corners, outline=SOUNDING if entry["sounding"] else SILENT, width=2)
    if peak is not None:
        x, y = np.array(peak) * image.size
        for line in ((x - 5, y, x + 5, y), (x, y - 5, x, y + 5)):
            pen.line(line, fill=(0, 0, 0), width=4)
            pen.line(line, fill=PEAK, width=2)
    return image


def grid(rows, path, captions=None, left=None, top=None):
    """Write rows of equal pictures as one picture.

    Args:
        rows: list of lists of RGB images of one size. path: of the PNG or JPEG.
        captions: list of lists of text under each picture, or None. left, top: text beside each row, above each column.
    """
    width, height = rows[0][0].size
    below = 14 if captions else 0
    x0, y0 = (110 if left else 0), (18 if top else 0)
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (x0 + columns * (width + GAP), y0 + len(rows) * (height + below + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for r, row in enumerate(rows):
        y = y0 + r * (height + below + GAP)
        if left:
            pen.text((2, y + height // 2 - 6), left[r][:17], fill="black")
        for c, image in enumerate(row):
            x = x0 + c * (width + GAP)
            sheet.paste(image, (x, y))
            if captions:
                pen.text((x + 2, y + height), captions[r][c][: width // 6], fill="black")
    for c, text in enumerate(top or ()):
        pen.text((x0 + c * (width + GAP) + 2, 3), text[: width // 6], fill="black")
    sheet.save(path)


def localization_figures(logits, entries, ids, look, cross, out, pictures):
    """A picture for each clip, an overview, and what the net answers to mismatched pairs (OtS fig. 7).

    Args:
        logits: (N, h, w) of N matching pairs. entries: list of N lists of boxes, empty where nothing is annotated.
        ids: list of N clip ids.
        look: callable (k) -> frame (S, S, 3) uint8, spectrogram, names of the k-th clip.
        cross: callable (list of K places) -> (K, K, h, w) logits of each frame with each sound.
        out: Path of the folder: localization/ID.jpg, localization.png and mismatched.png go there.
        pictures: how many clips get a picture of their own.
    """
    (out / "localization").mkdir(exist_ok=True)
    cells = {}
    overview = set(np.linspace(0, len(logits) - 1, min(24, len(logits))).round().astype(int).tolist())
    for k in sorted(overview | set(range(min(pictures, len(logits))))):
        frame, _, names = look(k)
        frame, logit = enlarged(frame), logits[k : k + 1]
        (probability,), (peak,) = probabilities(logit, len(frame)), peaks(upsample(logit, len(frame)))
        plain, mapped = with_boxes(frame, entries[k]), with_boxes(heat(frame, probability), entries[k], peak)
        verdict = ""
        if any(entry["sounding"] for entry in entries[k]):
            hit = inside(peak, [entry["box"] for entry in entries[k] if entry["sounding"]])
            verdict = "  found" if hit else "  missed"
        cells[k] = (mapped, names + verdict)
        if k < pictures:
            below = [names, f"largest probability {probability.max():.2f}{verdict}"]
            grid([[plain, mapped]], out / "localization" / f"{ids[k]}.jpg", [below])
    chosen = [cells[k] for k in sorted(overview)]
    rows = [chosen[k : k + 6] for k in range(0, len(chosen), 6)]
    images, texts = ([[cell[part] for cell in row] for row in rows] for part in (0, 1))
    grid(images, out / "localization.png", texts)
    draw_mismatched(look, cross, len(logits), out / "mismatched.png")


def draw_mismatched(look, cross, count, path, most=6):
    """Frames down, sounds across, each frame's map for each sound: only what sounds should light up (OtS fig. 7)."""
    chosen = {}
    for k in range(min(count, 200)):  # clips of different classes
        frame, _, name = look(k)
        if name not in chosen:
            chosen[name] = k, enlarged(frame)
        if len(chosen) == most:
            break
    names, frames = list(chosen), [frame for _, frame in chosen.values()]
    logits = cross([k for k, _ in chosen.values()])
    rows = [
        [Image.fromarray(heat(frame, p)) for p in probabilities(of_frame, len(frame))]
        for frame, of_frame in zip(frames, logits, strict=True)
    ]
    grid(rows, path, left=names, top=[f"sound: {name}" for name in names])


def write_film(path, frames, logits, fps, sound, rate):
    """Write a video with the map over each frame, beside the sound.

    Args:
        path: of the mp4. frames: (T, S, S, 3) uint8. logits: (T, h, w). fps: frames a second.
        sound: (samples,) int16 mono at `rate` Hz, as long as the frames.
    """
    maps = probabilities(logits, frames.shape[1])
    pictures = (np.concatenate([frame, heat(frame, p)], axis=1) for frame, p in zip(frames, maps, strict=True))
    write_video(path, pictures, fps, sound, rate)


def write_video(path, pictures, fps, sound, rate):
    """Write pictures and their sound as H.264 and AAC.

    Args:
        path: of the mp4. pictures: iterable of (H, W, 3) uint8 of one size; an odd last row or column is left out.
        fps: pictures a second. sound: (samples,) int16 mono at `rate` Hz, as long as the pictures.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "20"})
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("aac", rate=rate, layout="mono")
        for k, picture in enumerate(pictures):
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if k == 0:
                video.width, video.height = width, height
            even = np.ascontiguousarray(picture[:height, :width])
            out.mux(video.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        out.mux(video.encode())
        track = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        track.sample_rate, track.pts = rate, 0
        out.mux(audio.encode(track))
        out.mux(audio.encode())
