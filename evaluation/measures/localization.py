"""Where does the sound come from? Peak accuracy, distractors, cIoU and its AUC. Pure functions on arrays.

A map is (h, w) float, larger where the sound is believed to come from. Places are (x, y) in 0..1 of the frame, from
its top left corner; boxes are (x0, y0, x1, y1) in the same units.
"""

import numpy as np
import torch
import torch.nn.functional as F

THRESHOLDS = np.linspace(0, 1, 21)  # of the cIoU, for its AUC


def upsample(maps, size):
    """Maps at the size of a picture, by bilinear interpolation: (N, h, w) float -> (N, size, size) float32."""
    maps = torch.as_tensor(np.asarray(maps), dtype=torch.float32)[:, None]
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()


def map_peaks(maps):
    """Places of the largest values: (N, h, w) -> (N, 2) float64, the centre of the pixel; of equal ones the first."""
    height, width = maps.shape[1:]
    row, column = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), (height, width))
    return np.stack([(column + 0.5) / width, (row + 0.5) / height], 1)


def is_in_box(place, boxes):
    """Whether a place (x, y) lies in one of the boxes, edges included."""
    return any(x0 <= place[0] <= x1 and y0 <= place[1] <= y1 for x0, y0, x1, y1 in boxes)


def box_mask(boxes, size):
    """Pixels whose centre lies in one of the boxes: (size, size) float32, 0 or 1."""
    centres = (np.arange(size) + 0.5) / size
    mask = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in boxes:
        columns, rows = (centres >= x0) & (centres <= x1), (centres >= y0) & (centres <= y1)
        mask |= rows[:, None] & columns[None]
    return mask.astype(np.float32)


def ciou(maps, truths):
    """Consensus intersection over union of maps and annotated regions.

    A map predicts the pixels above its median, half of the picture. With the prediction p in 0 / 1 and the truth g:
    sum(p g) / (sum(g) + sum(p where g = 0)). As published results on Flickr-SoundNet and VGG-SS are computed (Senocak
    et al., arXiv 1803.03849; EZ-VSL, arXiv 2203.09324).

    Args:
        maps: (N, S, S) float, upsampled. truths: (N, S, S) float in 0..1, how many annotators agree on each pixel.

    Returns:
        (N,) float64 in 0..1; 0 where nothing is annotated.
    """
    maps, truths = np.asarray(maps), np.asarray(truths, np.float64)
    predicted = maps > np.median(maps, axis=(1, 2), keepdims=True)
    union = truths.sum((1, 2)) + (predicted & (truths == 0)).sum((1, 2))
    hit = (predicted * truths).sum((1, 2))
    return np.divide(hit, union, out=np.zeros(len(maps)), where=union > 0)


def ciou_measures(maps, truths):
    """Share of maps with a cIoU of at least 0.5, and the area under that share over thresholds 0, 0.05, ..., 1.

    Each beside always the centre: the map that falls with the distance from the centre.

    Args:
        maps, truths: of `ciou`; N at least 1.

    Returns:
        dict of floats: ciou@0.5, auc, ciou@0.5_centre, auc_centre.
    """
    line = (np.arange(maps.shape[1]) + 0.5) / maps.shape[1] - 0.5
    centred = np.broadcast_to(-np.hypot(line[:, None], line[None]), maps.shape)
    out = {}
    for suffix, candidate in (("", maps), ("_centre", centred)):
        values = ciou(candidate, truths)
        shares = [(values >= threshold - 1e-9).mean() for threshold in THRESHOLDS]
        out |= {f"ciou@0.5{suffix}": float((values >= 0.5).mean())}
        out |= {f"auc{suffix}": float(np.trapezoid(shares, THRESHOLDS))}
    return out


def box_measures(maps, frames):
    """How often a map's peak lies on an object that sounds, and on one that doesn't (OtS sec. 5.2).

    Args:
        maps: (N, S, S) float, upsampled to the frame.
        frames: list of N lists of {"box": (x0, y0, x1, y1), "sounding": bool}, what is in each frame; in each frame at
            least one object sounds.

    Returns:
        dict of floats: peak_accuracy, the share of frames whose peak lies in a sounding box; centre_accuracy, the same
        of always the frame's centre; random_accuracy, of a random place. Over the frames with a silent object as well:
        two_object_accuracy and two_object_centre, the same two; distractor_accuracy and distractor_centre, how often
        the peak, or the centre, lies on a silent object and on none that sounds; all 0 if there are no such frames.
        frames, two_object_frames: how many. And those of `ciou_measures`, where the sounding boxes are the truth.
    """
    size = maps.shape[1]
    sounding = [[entry["box"] for entry in entries if entry["sounding"]] for entries in frames]
    silent = [[entry["box"] for entry in entries if not entry["sounding"]] for entries in frames]
    truths = np.stack([box_mask(boxes, size) for boxes in sounding])
    two = np.array([bool(boxes) for boxes in silent])

    def share(values, where):
        return float(np.asarray(values)[where].mean()) if where.any() else 0.0

    out, every = {}, np.ones(len(frames), bool)
    for name, places in (("peak", map_peaks(maps)), ("centre", np.full((len(frames), 2), 0.5))):
        on = np.array([is_in_box(place, boxes) for place, boxes in zip(places, sounding, strict=True)])
        off = np.array([is_in_box(place, boxes) for place, boxes in zip(places, silent, strict=True)]) & ~on
        suffix = "accuracy" if name == "peak" else name
        out |= {f"{name}_accuracy": share(on, every)}
        out |= {f"two_object_{suffix}": share(on, two), f"distractor_{suffix}": share(off, two)}
    out["random_accuracy"] = float(truths.mean())
    out |= {"frames": len(frames), "two_object_frames": int(two.sum())}
    return out | ciou_measures(maps, truths)
