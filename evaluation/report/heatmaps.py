"""Pictures of where a net hears a sound: maps over frames, videos.

A map is shown as the probability that the sound comes from there, on one scale from 0 to 1, so that a map that says
"nowhere" looks dark beside one that says "here".
"""

from pathlib import Path

import av
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from evaluation.measures.localization import is_in_box, map_peaks, upsample

SOUNDING_COLOR, SILENT_COLOR, PEAK_COLOR = (60, 220, 120), (235, 80, 70), (255, 255, 255)
OPACITY = 0.7
GAP = 4  # between pictures, pixels
MIN_SIDE = 224  # side of a picture, pixels: small frames are enlarged


def map_probabilities(logits, size):
    """(N, h, w) logits -> (N, size, size) float32 in 0..1, interpolated before the sigmoid."""
    return 1 / (1 + np.exp(-np.clip(upsample(logits, size), -30, 30)))


def upscale_small(frame):
    """A frame (S, S, 3) uint8 at least LEAST pixels wide, so that boxes and captions can be read."""
    if len(frame) >= MIN_SIDE:
        return frame
    return np.asarray(Image.fromarray(frame).resize((MIN_SIDE, MIN_SIDE), Image.Resampling.BICUBIC))


def heatmap_rgba(share):
    """The colours of a map: (h, w) float in 0..1 -> (h, w, 4) uint8 RGBA, clear at 0, glowing at 1."""
    colour = colormaps["inferno"](0.45 + 0.55 * share)
    colour[..., 3] = share
    return (colour * 255).round().astype(np.uint8)


def overlay_heatmap(frame, share):
    """A map over its frame: (H, W, 3) uint8, (H, W) float in 0..1 -> (H, W, 3) uint8; the frame shows where it is 0."""
    colour = heatmap_rgba(share).astype(np.float32)
    weight = OPACITY / 255 * colour[..., 3:]
    return ((1 - weight) * frame + weight * colour[..., :3]).round().astype(np.uint8)


def draw_boxes(picture, entries, peak=None):
    """Draw boxes (green: sounds, red: silent) and a map's peak (white cross) on a picture: an RGB image.

    Args:
        picture: (S, S, 3) uint8. entries: list of {"box", "sounding"}. peak: (x, y) in 0..1, or None.
    """
    image = Image.fromarray(picture)
    pen, size = ImageDraw.Draw(image), np.array(image.size * 2)
    for entry in entries:
        corners = (np.array(entry["box"]) * size).tolist()
        pen.rectangle(corners, outline=SOUNDING_COLOR if entry["sounding"] else SILENT_COLOR, width=2)
    if peak is not None:
        x, y = np.array(peak) * image.size
        for line in ((x - 5, y, x + 5, y), (x, y - 5, x, y + 5)):
            pen.line(line, fill=(0, 0, 0), width=4)
            pen.line(line, fill=PEAK_COLOR, width=2)
    return image


def write_image_grid(rows, path, captions=None, left=None, top=None):
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


def write_localization_images(folder, logits, entries, ids, names, frame_of):
    """Write FOLDER/ID.jpg of each clip: the frame with its boxes, and beside it the map over it with its peak.

    Args:
        folder: Path. logits: (N, h, w) of N matching pairs. entries: list of N lists of boxes, empty where nothing is
            annotated. ids: list of N clip ids. names: list of N texts, of what is in them.
        frame_of: callable (k) -> frame (S, S, 3) uint8 of the k-th clip.
    """
    folder.mkdir(exist_ok=True)
    for k, (logit, boxes, clip, name) in enumerate(zip(logits, entries, ids, names, strict=True)):
        frame = upscale_small(frame_of(k))
        (probability,), (peak,) = (
            map_probabilities(logit[None], len(frame)),
            map_peaks(upsample(logit[None], len(frame))),
        )
        sounding = [entry["box"] for entry in boxes if entry["sounding"]]
        verdict = ("  found" if is_in_box(peak, sounding) else "  missed") if sounding else ""
        below = [name, f"largest probability {probability.max():.2f}{verdict}"]
        pictures = [draw_boxes(frame, boxes), draw_boxes(overlay_heatmap(frame, probability), boxes, peak)]
        write_image_grid([pictures], folder / f"{clip}.jpg", [below])


def write_heatmap_video(path, frames, logits, fps, sound, rate):
    """Write a video with the map over each frame, beside the sound.

    Args:
        path: of the mp4. frames: (T, S, S, 3) uint8. logits: (T, h, w). fps: frames a second.
        sound: (samples,) int16 mono at `rate` Hz, as long as the frames.
    """
    large = [upscale_small(frame) for frame in frames]
    maps = map_probabilities(logits, len(large[0]))
    pictures = (
        np.concatenate([frame, overlay_heatmap(frame, p)], axis=1) for frame, p in zip(large, maps, strict=True)
    )
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
