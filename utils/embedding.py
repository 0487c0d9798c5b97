"""Embed a split with any net: the one forward pass that all measures share."""

import torch

from utils import distributed
from utils.engine import autocast, to_device


@torch.no_grad()
def embed(model, batches, transform, precision="auto", mirror=False):
    """Embeddings of every clip's frame and sound, in eval mode.

    Args:
        model: a net of `models`. batches: iterable of collated batches. transform: `dataset.transforms.Transform`.
        precision: a train.precision. mirror: embed a frame together with its mirror image.

    Returns:
        (v, a, indices, times): (N, ...) float32 and (N, ...) float32 embeddings, (N,) int64 places in the split, (N,)
        float64 seconds, on the CPU; an empty tuple if no clip is readable. Of several processes, each brings its own
        batches, and each gets all of them, in the order of the places.
    """
    model.eval()
    device = next(model.parameters()).device
    found = []
    for batch in batches:
        if not len(batch["indices"]):
            continue
        batch = to_device(batch, device)
        frames, spectrograms = transform(batch)
        with autocast(device, precision):
            v = model.embed_with_mirror(frames) if mirror else model.embed_frames(frames)
            a = model.embed_sounds(spectrograms)
        found.append((v.float().cpu(), a.float().cpu(), batch["indices"].cpu(), batch["times"].cpu()))
    if distributed.ranks() > 1:
        found = [batch for share in distributed.from_all(found) for batch in share]
        found.sort(key=lambda batch: batch[2][0].item())
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))
