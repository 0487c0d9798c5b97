"""A split through a net, once: the embeddings that correspondence, retrieval and localisation all look at."""

import sys
from dataclasses import dataclass

import torch

from dataset import shards
from dataset.benchmarks import BENCHMARKS, Stills
from dataset.flow import kept_flow
from dataset.loading import loader, noting, readable
from dataset.order import in_order
from dataset.pairs import Pairs
from dataset.transforms import Transform
from utils.embedding import embed
from utils.errors import UserError


@dataclass(frozen=True)
class Seen:
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
    places: list
    times: list
    labels: list
    skipped: dict

    def ids(self):
        """The clips' ids, N of str."""
        return [self.clips.ids[place] for place in self.places]

    def boxes(self):
        """What is annotated in each frame that was embedded: N lists of boxes.json's entries."""
        return [self.clips.boxes_at(place, time) for place, time in zip(self.places, self.times, strict=True)]

    def sample(self, k):
        """What was embedded of the k-th clip: frame (S, S, 3) uint8, of several the middle one, and sound, int16."""
        found = self.pairs[0, self.places[k]]
        frame = found["frame"]
        return frame if frame.ndim == 3 else frame[len(frame) // 2], found["sound"]


def open_split(config, split):
    """A split's `Clips` or `Shards` and its `Pairs`, one fixed instant per clip."""
    data = config.data
    clips = shards.open_split(data, split)
    motion = {"frames": data.frames, "flow": kept_flow(data, clips)}
    return clips, Pairs(clips, data.stored_size, data.sample_rate, data.frame_step, annotated=True, **motion)


def open_benchmark(config, name):
    """A public benchmark's frames and sounds in data.root: as of `open_split`."""
    clips = BENCHMARKS[name](config.data.root, config.data.on_error)
    return clips, Stills(clips, config.data.stored_size, config.data.sample_rate)


def see(model, config, clips, pairs):
    """Embed all readable clips: a `Seen`.

    Args:
        model: a net of `models`, on its device. config: its `Config`; data.on_error says what an unreadable clip does.
        clips, pairs: of `open_split` or `open_benchmark`.

    Raises:
        UserError: a clip can't be read and stops it, or fewer than 2 can be read.
    """
    skipped, device = dict(clips.skipped), next(model.parameters()).device
    batches = loader(pairs, in_order(len(pairs), config.eval.batch_size), config.train.workers, device)
    batches = readable(batches, noting(skipped, config.data.on_error), smallest=0)
    found = embed(model, batches, Transform(config, train=False), config.train.precision, config.eval.mirror)
    if not found or len(found[0]) < 2:
        where = getattr(clips, "folder", config.data.root)
        raise UserError(f"{where} has fewer than 2 readable clips: measuring needs mismatches")
    v, a, places, times = found
    labels = [clips.labels[place] if hasattr(clips, "labels") else [] for place in places.tolist()]
    return Seen(clips, pairs, v, a, places.tolist(), times.tolist(), labels, skipped)


def warn_of_unknown(labels, classes):
    """Say which labels the ontology lacks."""
    unknown = sorted({label for one in labels for label in one if label not in classes})
    if unknown:
        print(
            f"warning: ontology {classes.source} lacks {len(unknown)} labels, relevant to themselves only: "
            + ", ".join(unknown[:5]), file=sys.stderr,
        )  # fmt: skip
