"""Frames and seconds of sound of any files through a net."""

import numpy as np
import torch

from collection.storage import Collection
from dataset.loading.prefetch import prefetch
from dataset.reading.errors import MediaError
from dataset.reading.media_folder import iter_moments
from dataset.transforms.frames import prepare_frames
from dataset.transforms.sounds import prepare_sounds
from utils.engine import autocast
from utils.errors import UserError


def refuse_multiframe(net):
    """Raises a `UserError` for a net that sees more than one frame: files are looked at one frame a second."""
    data = net.config.data
    if not hasattr(net.model, "frame_vectors") or data.frames > 1 or data.flow != "none":
        raise UserError(
            f"{net.path} is a {net.config.model.name}, which has no vector of a single frame: take a checkpoint of "
            "AVENet, AVOLNet or L3Net"
        )


@torch.no_grad()
def embed_frames(net, frames):
    """What the net makes of B frames: (B, S, S, 3) uint8 -> (B, ...) float32 on the CPU, as eval.py has it."""
    config = net.config
    pixels = prepare_frames(torch.from_numpy(frames).to(net.device), config.data.frame_size)
    embed = net.model.embed_with_flip if config.eval.flip_tta else net.model.embed_frames
    with autocast(net.device, config.train.precision):
        return embed(pixels).float().cpu()


@torch.no_grad()
def embed_sounds(net, sounds):
    """Of B seconds of sound: (B, rate) int16 -> (B, ...) float32 on the CPU."""
    config = net.config
    heard = prepare_sounds(torch.from_numpy(sounds).to(net.device), config.data.sample_rate, config.spectrogram)
    with autocast(net.device, config.train.precision):
        return net.model.embed_sounds(heard).float().cpu()


def vectors_of(net, seen):
    """Unit vectors of moments, each (D,) float32 or None where there is no frame, or no sound.

    Args:
        net: a `Net`. seen: list of `dataset.reading.media_folder.Moment`.

    Returns:
        list of (frame's vector, sound's vector).
    """
    found = [[None, None] for _ in seen]
    for side, embed, vectors in (
        (0, embed_frames, net.model.frame_vectors),
        (1, embed_sounds, net.model.sound_vectors),
    ):
        there = [k for k, moment in enumerate(seen) if moment[side + 1] is not None]
        if there:
            rows = vectors(embed(net, np.stack([seen[k][side + 1] for k in there]))).numpy()
            for k, row in zip(there, rows, strict=True):
                found[k][side] = row
    return found


def embed_files(net, items, hop, threads, done):
    """Embed files, decoding ahead, in batches of eval.batch_size moments. A file is embedded whole or not at all.

    Args:
        net: a `Net`. items: list of `dataset.reading.media_folder.MediaItem`. hop: of `dataset.reading.media_folder.iter_moments`, seconds.
        threads: that decode. done: callable, called once for each file.

    Returns:
        `Collection` of the files that can be read; {name: reason} of the others is its about["skipped"].
    """
    data, size = net.config.data, net.config.eval.batch_size
    streams = [iter_moments(item, data.resize_size, data.sample_rate, hop) for item in items]
    rows, waiting, skipped = [], [], {}  # rows: (number of the file, time, frame's vector, sound's vector)

    def through_net():
        if waiting:
            found = vectors_of(net, [moment for _, moment in waiting])
            rows.extend((number, moment.time, *two) for (number, moment), two in zip(waiting, found, strict=True))
            waiting.clear()

    for number, found in prefetch(streams, threads):
        if found is None:
            done()
        elif isinstance(found, MediaError):
            skipped[items[number].name] = found.reason
        elif isinstance(found, Exception):  # decoders fail in many ways, and one file of thousands stops nothing
            skipped[items[number].name] = f"can't be read ({type(found).__name__}: {found})"
        else:
            waiting.append((number, found))
            if len(waiting) == size:
                through_net()
    through_net()
    return _collected(net, [row for row in rows if items[row[0]].name not in skipped], items, skipped)


def _collected(net, rows, items, skipped):
    """The `Collection` of (number of the item, time, frame's vector, sound's vector)."""
    arrays, width = {}, next((len(side) for row in rows for side in row[2:] if side is not None), 0)
    for side, name in ((2, "frame"), (3, "sound")):
        there = np.array([row[side] is not None for row in rows], bool)
        vectors = np.zeros((len(rows), width), np.float32)
        if there.any():
            vectors[there] = np.stack([row[side] for row in rows if row[side] is not None])
        arrays |= {f"{name}s": vectors, f"has_{name}": there}
    arrays["times"] = np.array([row[1] for row in rows], np.float64)
    arrays["files"] = np.array([row[0] for row in rows], np.int32)
    files = [[item.name, item.kind, item.sound_name] for item in items]
    return Collection(**arrays, about={"files": files, "skipped": skipped})
