"""Embed a split once: the forward pass whose embeddings correspondence, retrieval and localization share."""

import sys
from dataclasses import dataclass

import torch

from dataset.loading.loader import drop_unreadable, make_loader, make_skip_handler
from dataset.loading.order import sequential_batches
from dataset.pairs import PairDataset
from dataset.reading import shards
from dataset.reading.flow import open_flow_cache
from dataset.reading.public_benchmarks import BENCHMARKS, BenchmarkDataset
from dataset.transforms.frames import PairTransform
from utils import distributed
from utils.engine import autocast, to_device
from utils.errors import UserError


def retrieval_vectors(model, seen):
    """What retrieval compares: (N, D) float32 vectors of a `Seen`'s frames and of its sounds."""
    return [model.frame_vectors(seen.v).numpy(), model.sound_vectors(seen.a).numpy()]


@dataclass(frozen=True)
class SplitEmbeddings:
    """N clips of a split, each at one fixed instant, as a net sees them.

    Attributes:
        clips: the split's `Clips` or `Shards`. pairs: its `Pairs`, `pairs[0, place]` is what was embedded.
        v, a: (N, ...) float32 embeddings of frames and sounds, on the CPU.
        places: N places in `clips`. times: N instants, seconds. labels: N lists of mids.
        skipped: {id: reason} of the clips that can't be read.
    """

    clips: object
    pairs: object
    v: torch.Tensor
    a: torch.Tensor
    indices: list
    times: list
    labels: list
    skipped: dict

    def ids(self):
        """The clips' ids, N of str."""
        return [self.clips.ids[place] for place in self.indices]

    def boxes(self):
        """What is annotated in each frame that was embedded: N lists of boxes.json's entries."""
        return [self.clips.boxes_at(place, time) for place, time in zip(self.indices, self.times, strict=True)]

    def sample(self, k):
        """What was embedded of the k-th clip: frame (S, S, 3) uint8, of several the middle one, and sound, int16."""
        found = self.pairs[0, self.indices[k]]
        frame = found["frame"]
        return frame if frame.ndim == 3 else frame[len(frame) // 2], found["sound"]


def open_eval_split(config, split):
    """A split's `Clips` or `Shards` and its `Pairs`, one fixed instant per clip."""
    data = config.data
    clips = shards.open_split(data, split)
    motion = {"frames": data.frames, "flow": open_flow_cache(data, clips)}
    return clips, PairDataset(clips, data.resize_size, data.sample_rate, data.frame_step, annotated=True, **motion)


def open_benchmark(config, name):
    """A public benchmark's frames and sounds in data.root: as of `open_split`."""
    clips = BENCHMARKS[name](config.data.root, config.data.on_error)
    return clips, BenchmarkDataset(clips, config.data.resize_size, config.data.sample_rate)


def embed_split(model, config, clips, pairs):
    """Embed all readable clips: a `Seen`.

    Args:
        model: a net of `models`, on its device. config: its `Config`; data.on_error says what an unreadable clip does.
        clips, pairs: of `open_split` or `open_benchmark`.

    Raises:
        UserError: a clip can't be read and stops it, or fewer than 2 can be read.
    """
    skipped, device = dict(clips.skipped), next(model.parameters()).device
    batches = make_loader(pairs, sequential_batches(len(pairs), config.eval.batch_size), config.train.workers, device)
    batches = drop_unreadable(batches, make_skip_handler(skipped, config.data.on_error), smallest=0)
    found = embed_batches(
        model, batches, PairTransform(config, train=False), config.train.precision, config.eval.flip_tta
    )
    if not found or len(found[0]) < 2:
        where = getattr(clips, "folder", config.data.root)
        raise UserError(f"{where} has fewer than 2 readable clips: measuring needs mismatches")
    v, a, places, times = found
    labels = [clips.labels[place] if hasattr(clips, "labels") else [] for place in places.tolist()]
    return SplitEmbeddings(clips, pairs, v, a, places.tolist(), times.tolist(), labels, skipped)


def warn_unknown_labels(labels, classes):
    """Say which labels the ontology lacks."""
    unknown = sorted({label for one in labels for label in one if label not in classes})
    if unknown:
        print(
            f"warning: ontology {classes.source} lacks {len(unknown)} labels, relevant to themselves only: "
            + ", ".join(unknown[:5]), file=sys.stderr,
        )  # fmt: skip


@torch.no_grad()
def embed_batches(model, batches, transform, precision="auto", mirror=False):
    """Embeddings of every clip's frame and sound, in eval mode.

    Args:
        model: a net of `models`. batches: iterable of collated batches. transform: `dataset.transforms.frames.PairTransform`.
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
            v = model.embed_with_flip(frames) if mirror else model.embed_frames(frames)
            a = model.embed_sounds(spectrograms)
        found.append((v.float().cpu(), a.float().cpu(), batch["indices"].cpu(), batch["times"].cpu()))
    if distributed.world_size() > 1:
        found = [batch for share in distributed.all_gather_object(found) for batch in share]
        found.sort(key=lambda batch: batch[2][0].item())
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))
