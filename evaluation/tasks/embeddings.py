"""Embed a split once: correspondence, retrieval and localization share the result of one forward pass."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.loading.loader import Batch, SampleDataset, drop_unreadable, make_loader, make_skip_handler
from dataset.loading.order import sequential_batches
from dataset.making.text import count_text
from dataset.pairs import PairDataset
from dataset.reading.benchmarks.all_benchmarks import BENCHMARKS
from dataset.reading.benchmarks.benchmark import Benchmark, BenchmarkDataset, Choose
from dataset.reading.chosen_clips import ChosenClips
from dataset.reading.flow import open_flow_cache
from dataset.reading.reader import ClipDataset, open_split
from dataset.transforms.frames import PairTransform
from evaluation.measures.ontology import Ontology
from models.interfaces import FrameSoundEncoder, ObjectMapNet, device_of
from utils import distributed
from utils.config import Config
from utils.device import to_device
from utils.errors import UserError
from utils.precision import autocast
from utils.tensors import require_finite, to_host


class Embeddings(NamedTuple):
    """Embeddings of N clips, each at one time or at M moments, on the CPU.

    Attributes:
        v: (N, ...) float32, of the frames; (N, M, ...) of several moments.
        a: (N, ...) float32, of the sounds; (N, M, ...) of several moments.
        indices: (N,) int64, of the clips in their split.
        times: (N,) float64, of the frames, seconds.
        objects: (N, h, w) float32, object maps of the frames; (N, M, h, w) of several moments; None if not asked for.
    """

    v: Tensor
    a: Tensor
    indices: Tensor
    times: Tensor
    objects: Tensor | None = None


class EvalSplit(NamedTuple):
    """A split, or a public benchmark, opened for an evaluation.

    Attributes:
        clips: its clips.
        dataset: `dataset[0, index]` is a clip's frame and sound, always at the same time.
    """

    clips: ClipDataset | Benchmark
    dataset: SampleDataset


@dataclass(frozen=True)
class SplitEmbeddings:
    """Embeddings of the N readable clips of a split.

    Attributes:
        clips, dataset: of the `EvalSplit`.
        v: (N, ...) float32, of the frames, on the CPU.
        a: (N, ...) float32, of the sounds, on the CPU.
        indices: N indices into the split.
        times: N times of the frames, seconds.
        labels: N lists of AudioSet mids, empty for a benchmark.
        skipped: {id: reason} of the clips that can't be read.
        moments: M of each clip; more than 1: v, a and objects are (N, M, ...).
        objects: (N, h, w) float32, object maps of the frames; None without eval.object_weight.
    """

    clips: ClipDataset | Benchmark
    dataset: SampleDataset
    v: Tensor
    a: Tensor
    indices: list[int]
    times: list[float]
    labels: list[list[str]]
    skipped: dict[str, str]
    moments: int = 1
    objects: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ids(self) -> list[str]:
        """The ids of the N clips."""
        return [self.clips.ids[index] for index in self.indices]

    def sample(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Load what was embedded of the k-th clip.

        Args:
            k: 0..N-1.

        Returns:
            The frame (S, S, 3) uint8, the middle one of several, and the sound (rate,) int16.
        """
        sample = self.dataset[0, self.indices[k]]
        frame = sample["frame"]
        return frame if frame.ndim == 3 else frame[len(frame) // 2], sample["sound"]


def open_eval_split(config: Config, split: str) -> EvalSplit:
    """Open a split of data.root for an evaluation at one fixed time per clip, an annotated one where there are boxes.

    Args:
        config: of the net.
        split: "train", "val" or "test".
    """
    return as_eval_split(config, open_split(config.data, split))


def as_eval_split(config: Config, clips: ClipDataset) -> EvalSplit:
    """Prepare the clips of a split for an evaluation, see `open_eval_split`.

    Args:
        config: of the net.
        clips: of the split.

    Raises:
        UserError: they don't hold what the settings ask for.
    """
    data = config.data
    clips.check_settings(data)
    dataset = PairDataset(
        clips, data.resize_size, data.sample_rate, data.frame_step, annotated=True, frames=data.frames,
        flow=open_flow_cache(data, clips),
    )  # fmt: skip
    return EvalSplit(clips, dataset)


def open_eval_moments(config: Config, clips: ClipDataset) -> EvalSplit:
    """Open a split for an evaluation at data.moments times of each clip: the middles of as many equal parts of it.

    Args:
        config: of the net.
        clips: the split.
    """
    data = config.data
    dataset = PairDataset(
        clips, data.resize_size, data.sample_rate, data.frame_step, moments=data.moments, even=True
    )  # fmt: skip
    return EvalSplit(clips, dataset)


def open_benchmark(config: Config, name: str, choose: Choose | None = None) -> EvalSplit:
    """Open a public benchmark of sound localization.

    Args:
        config: its data.root is the benchmark's folder.
        name: a key of `BENCHMARKS`.
        choose: the clips to measure on; None: all.
    """
    data = config.data
    benchmark = BENCHMARKS[name](data.root, data.on_error, choose)
    return EvalSplit(benchmark, BenchmarkDataset(benchmark, data.resize_size, data.sample_rate, data.seconds))


def embed_split(model: FrameSoundEncoder, config: Config, split: EvalSplit) -> SplitEmbeddings:
    """Embed all readable clips of a split.

    Args:
        model: the net, on its device.
        config: its settings; data.on_error says what an unreadable clip does.
        split: from `open_eval_split`, `open_eval_moments` or `open_benchmark`.

    Raises:
        UserError: a clip can't be read and data.on_error is "stop", or fewer than 2 clips can be read.
    """
    clips, dataset, skipped = split.clips, split.dataset, dict(split.clips.skipped)
    batches = readable_batches(config, split, skipped, device_of(model))
    transform = PairTransform(config, train=False)
    with_objects = config.eval.object_weight > 0 and isinstance(model, ObjectMapNet)
    v, a, indices, times, objects = embed_batches(
        model, batches, transform, config.train.precision, config.eval.flip_tta, with_objects
    )
    if len(v) < 2:
        folder = config.data.root if isinstance(clips, Benchmark) else clips.folder
        chosen = f"the list of --ids leaves {folder} with" if isinstance(clips, ChosenClips) else f"{folder} has"
        raise UserError(f"{chosen} fewer than 2 readable clips: an evaluation needs pairs of different clips")
    where, labels = (indices.tolist(), times.tolist()), labels_of(clips, indices.tolist())
    return SplitEmbeddings(clips, dataset, v, a, *where, labels, skipped, dataset.moments, objects)


def readable_batches(
    config: Config, split: EvalSplit, skipped: dict[str, str], device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Load the frame and the sound of every readable clip of a split.

    Args:
        config: the settings.
        split: from `open_eval_split`, `open_eval_moments` or `open_benchmark`.
        skipped: gets {id: reason} of the clips that can't be read.
        device: that the batches go to.

    Raises:
        UserError: a clip can't be read and data.on_error is "stop".
    """
    order = sequential_batches(len(split.dataset), -(-config.eval.batch_size // split.dataset.moments))
    loader = make_loader(split.dataset, order, config.train.workers, device)
    return drop_unreadable(loader, make_skip_handler(skipped, config.data.on_error), min_clips=0)


def labels_of(clips: ClipDataset | Benchmark, indices: list[int]) -> list[list[str]]:
    """List the labels of the `clips` at `indices`, AudioSet mids; a benchmark has none."""
    return [[] if isinstance(clips, Benchmark) else clips.labels[index] for index in indices]


@torch.no_grad()
def embed_batches(
    model: FrameSoundEncoder,
    batches: Iterable[Batch],
    transform: Callable[[Batch], tuple[Tensor, Tensor]],
    precision: str = "auto",
    flip: bool = False,
    with_objects: bool = False,
) -> Embeddings:
    """Embed the frame and the sound of every clip, in eval mode.

    Of several processes, each embeds its own batches and keeps them: `gather_clips` exchanges what is small.

    Args:
        model: the net, on its device.
        batches: collated batches.
        transform: maps a batch to the net's frames and spectrograms, see `dataset.transforms.frames.PairTransform`.
        precision: a value of train.precision.
        flip: average the embeddings of each frame and its mirror image.
        with_objects: also compute the object maps of the frames; for an `ObjectMapNet`.

    Returns:
        The embeddings, in the order of the batches; of 0 clips if none is readable.

    Raises:
        UserError: an embedding is not finite.
    """
    model.eval()
    device = device_of(model)
    parts: list[Embeddings] = []
    for batch in batches:
        if not len(batch["indices"]):
            continue
        batch = to_device(batch, device)
        frames, spectrograms = transform(batch)
        with autocast(device, precision):
            found = [*_embed(model, frames, flip, with_objects), model.embed_sounds(spectrograms)]
        found = [require_finite(one, "embeddings") for one in to_host(*(one.float() for one in found))]
        if batch["sounds"].ndim == 3:  # (M * B, ...) of M moments, see `PairTransform`
            found = [one.unflatten(0, (-1, len(batch["indices"]))).transpose(0, 1) for one in found]
        v, *objects, a = found
        parts.append(Embeddings(v, a, batch["indices"].cpu(), batch["times"].cpu(), *objects))
    if not parts:
        return Embeddings(torch.empty(0), torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0))
    return Embeddings(*(torch.cat(tensors) for tensors in zip(*parts, strict=True) if tensors[0] is not None))


def _embed(model: FrameSoundEncoder, frames: Tensor, flip: bool, with_objects: bool) -> tuple[Tensor, ...]:
    """Embed normalized frames: their embeddings, and their object maps if asked for."""
    if with_objects:
        assert isinstance(model, ObjectMapNet)
        return model.embed_with_objects(frames, flip)
    return (model.embed_with_flip(frames) if flip else model.embed_frames(frames),)


def gather_clips(indices: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Gather what each process has of its own clips.

    Args:
        indices: (n,) int64, of this process's clips.
        values: each (n, ...), on the CPU; small ones: every process gets all.

    Returns:
        indices (N,) and values (N, ...) of the clips of all processes, in the order of the indices.
    """
    columns = zip(*distributed.all_gather_object((indices, *values)), strict=True)
    joined = [torch.cat([part for part in column if len(part)] or [column[0]]) for column in columns]
    order = joined[0].argsort()
    return tuple(values[order] for values in joined)


def moment_vectors(model: FrameSoundEncoder, embeddings: SplitEmbeddings) -> tuple[np.ndarray, np.ndarray]:
    """Compute unit vectors of clips, whose dot product is the mean over M moments of the moments' own.

    Args:
        model: the net that embedded the split.
        embeddings: of N clips, at M moments each.

    Returns:
        (N, M * D) float32 of the frames and of the sounds.
    """
    sides = (model.frame_vectors, embeddings.v), (model.sound_vectors, embeddings.a)
    vectors = [vectors_of(side.flatten(0, 1)).view(len(side), -1) for vectors_of, side in sides]
    frames, sounds = ((side / embeddings.v.shape[1] ** 0.5).numpy() for side in vectors)
    return frames, sounds


def retrieval_vectors(model: FrameSoundEncoder, embeddings: SplitEmbeddings) -> tuple[np.ndarray, np.ndarray]:
    """Compute the unit vectors that retrieval compares.

    Args:
        model: the net that embedded the split.
        embeddings: of N clips.

    Returns:
        (N, D) float32 of the frames and of the sounds.
    """
    return model.frame_vectors(embeddings.v).numpy(), model.sound_vectors(embeddings.a).numpy()


def warn_unknown_labels(labels: list[list[str]], ontology: Ontology) -> None:
    """Print a warning that lists the `labels` of clips, N lists of mids, that the `ontology` lacks."""
    unknown = sorted({label for clip_labels in labels for label in clip_labels if label not in ontology})
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        print(
            f"warning: ontology {ontology.source} lacks {count_text(len(unknown), 'label')} of the clips ({shown}): "
            "each is relevant to itself only", file=sys.stderr,
        )  # fmt: skip
