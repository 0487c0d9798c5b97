"""Training and validation batches of a run: frames and their sounds, or mixtures."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from dataset.features.frozen import FrameEncoder, FrozenFeatures, open_features
from dataset.features.mixes import MixtureFeatureDataset
from dataset.features.pairs import FeatureDataset
from dataset.loading.loader import Batch, Key, SampleDataset, SkipHandler, drop_unreadable, make_loader
from dataset.loading.order import EpochBatchSampler, sequential_batches
from dataset.making.splits.benchmark_leaks import find_benchmark_leaks, find_benchmark_lists
from dataset.making.text import count_text
from dataset.mixes import MixtureDataset, fixed_mixtures, mixture_batches
from dataset.pairs import PairDataset
from dataset.reading.annotations import Box
from dataset.reading.flow import open_flow_cache
from dataset.reading.reader import ClipDataset, open_split
from dataset.small_splits import warn_of_small_splits
from utils.errors import UserError


class AVCDataModule:
    """Training and validation batches for audio-visual correspondence.

    Args:
        config: a `configs.schema.Config`.
        device: of the net; batches are pinned for a GPU.
        rank: number of this process among those that train together.
        world_size: number of these processes; each gets its part of every batch.

    Attributes:
        splits: {"train": clips, "val": clips}.
        steps_per_epoch: updates in an epoch.
        warnings: that a split is too small to measure on, and that training clips are of a benchmark's videos.

    Raises:
        UserError: a split, or a list of a benchmark, can't be read, there are fewer training clips than an update
            needs, or a batch can't be divided evenly among the processes.
    """

    needs = "a negative pair needs"  # what decides how many clips a batch has at least

    def __init__(self, config: Any, device: torch.device | str, rank: int = 0, world_size: int = 1) -> None:
        data, train = config.data, config.train
        self.min_clips = self.min_clips_per_batch(config)
        if train.batch_size < self.min_clips * world_size:
            raise UserError(
                f"train.batch_size is {train.batch_size}, but must be at least {self.min_clips * world_size}: in each "
                f"process {self.needs} {self.min_clips} clips"
            )
        if train.batch_size % world_size:
            raise UserError(
                f"train.batch_size is {train.batch_size}, which can't be divided evenly among {world_size} processes: "
                f"make it a multiple of {world_size}"
            )
        self.seed, self.workers, self.device = train.seed, train.workers, device
        self.splits: dict[str, ClipDataset] = {split: open_split(data, split) for split in ("train", "val")}
        small = warn_of_small_splits({"val": len(self.splits["val"])})
        leaks = find_benchmark_leaks(self.splits["train"].ids, find_benchmark_lists(data.root))
        self.warnings = [*([small] if small else []), *(f"warning: {leak}" for leak in leaks)]
        self._train_dataset: SampleDataset = self.build_dataset(config, "train", data.cache_gb, training=True)
        self._train_order = EpochBatchSampler(
            len(self._train_dataset),
            train.batch_size,
            train.seed,
            multiple=train.grad_accum_steps,
            rank=rank,
            world_size=world_size,
            samples_per_decode=data.samples_per_decode,
        )
        if not self._train_order.per_epoch:
            raise UserError(
                f"{data.root} has {count_text(len(self._train_dataset), 'training clip')}, fewer than a batch: lower "
                f"--train.batch_size ({train.batch_size}) or --train.grad_accum_steps ({train.grad_accum_steps})"
            )
        self.steps_per_epoch = self._train_order.per_epoch // train.grad_accum_steps
        val_dataset = self.build_dataset(config, "val", data.cache_gb / 4, training=False)
        val_order = self.validation_order(config, rank, world_size)
        self._val_loader = make_loader(val_dataset, val_order, train.workers, device)

    def min_clips_per_batch(self, config: Any) -> int:
        """Return how many clips a batch needs with this `config`: two, as a negative is a pair of two clips."""
        return 2

    def validation_order(self, config: Any, rank: int, world_size: int) -> list[list[Key]]:
        """List the batches of validation clips of a process: every world_size-th of all.

        Args:
            config: a `configs.schema.Config`.
            rank: number of the process.
            world_size: number of the processes that share the clips.
        """
        return sequential_batches(len(self.splits["val"]), config.eval.batch_size)[rank::world_size]

    def build_dataset(self, config: Any, split: str, cache_gb: float, training: bool) -> SampleDataset:
        """Build the dataset of a split.

        Args:
            config: a `configs.schema.Config`.
            split: "train" or "val".
            cache_gb: memory for a cache of decoded clips, GB.
            training: sample random times; else one fixed time of each clip, with its sound.
        """
        data, train, clips = config.data, config.train, self.splits[split]
        return PairDataset(
            clips,
            data.resize_size,
            data.sample_rate,
            data.frame_step,
            misalignment=data.misalignment if training else 0.0,
            seed=train.seed if training else 0,
            cache_gb=cache_gb,
            off_grid=training and train.negatives == "off_grid",
            frames=data.frames,
            flow=open_flow_cache(data, clips),
            moments=data.moments if training else 1,
        )

    def use_features(
        self, config: Any, encoder: FrameEncoder | None, log: Callable[[str], None], on_skip: SkipHandler
    ) -> None:
        """Train on the features of a frozen encoder, which are computed now or were before; call it before training.

        Args:
            config: a `configs.schema.Config`.
            encoder: of the frames; None to train on frames.
            log: prints a line.
            on_skip: called with the id and the error message of each clip that can't be read.

        Raises:
            UserError: see `dataset.features.frozen.open_features`.
        """
        if encoder is None:
            return
        with torch.random.fork_rng(devices=[]):  # training is the same whether they are computed or read
            features = open_features(config, self.splits["train"], encoder, self.device, log, on_skip)
        self._train_dataset = self.build_feature_dataset(config, features)

    def build_feature_dataset(self, config: Any, features: FrozenFeatures) -> SampleDataset:
        """Build the training dataset that reads a frozen encoder's features in place of frames.

        Args:
            config: a `configs.schema.Config`.
            features: of the training clips.
        """
        data = config.data
        return FeatureDataset(
            self.splits["train"], features, data.sample_rate, data.misalignment, self.seed, data.moments
        )

    def train_batches(self, start: int, on_skip: SkipHandler) -> Iterator[Batch]:
        """Load this process's part of the training batches, without end.

        Args:
            start: number of the first batch.
            on_skip: called with the id and the error message of each clip that can't be read.
        """
        order = self._train_order.starting_at(start)
        batches = make_loader(self._train_dataset, order, self.workers, self.device)
        return drop_unreadable(batches, on_skip, self.min_clips)

    def init_batch(self, on_skip: SkipHandler, count: int = 128) -> Batch:
        """Load one batch of random training clips for a data-dependent initialization, the same in every process.

        Args:
            on_skip: called with the id and the error message of each clip that can't be read.
            count: clips, or all if there are fewer.
        """
        clips = len(self._train_dataset)
        order = EpochBatchSampler(clips, min(count, clips), self.seed)
        batch = next(drop_unreadable(make_loader(self._train_dataset, order, 0), on_skip, self.min_clips))
        if batch["sounds"].ndim == 3:  # of several moments of a clip the first one
            batch |= {name: batch[name][:, 0] for name in ("frames", "features", "sounds") if name in batch}
        return batch

    def val_batches(self, on_skip: SkipHandler) -> Iterator[Batch]:
        """Load this process's part of the validation clips once, each at its fixed time.

        Args:
            on_skip: called with the id and the error message of each clip that can't be read.
        """
        return drop_unreadable(self._val_loader, on_skip, min_clips=0)

    def val_boxes(self, indices: Tensor, times: Tensor) -> list[list[Box]]:
        """Get the objects that are annotated in frames of validation clips.

        Args:
            indices: (N,) of the clips.
            times: (N,) of the frames, seconds.
        """
        clips = self.splits["val"]
        return [clips.boxes_at(index, time) for index, time in zip(indices.tolist(), times.tolist(), strict=True)]


class MixtureDataModule(AVCDataModule):
    """Training and validation batches of clips for mixtures, see `AVCDataModule`.

    Attributes:
        steps_per_epoch: updates in an epoch of mix.repeats passes over the training clips.
    """

    needs = "a mixture has (mix.sources)"

    def __init__(self, config: Any, device: torch.device | str, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(config, device, rank, world_size)
        self.steps_per_epoch *= config.mix.repeats

    def min_clips_per_batch(self, config: Any) -> int:
        """Return how many clips a batch needs with this `config`: those of a mixture, which must be different."""
        return config.mix.sources

    def validation_order(self, config: Any, rank: int, world_size: int) -> list[list[Key]]:
        """List batches of the clips that a process's share of the fixed mixtures needs.

        Args:
            config: a `configs.schema.Config`.
            rank: number of the process.
            world_size: number of the processes that share the mixtures.
        """
        mixtures = chain.from_iterable(
            mixture_batches(fixed_mixtures(self.splits["val"], config.mix), rank, world_size)
        )
        clips = sorted(set(chain.from_iterable(mixtures)))
        return [[(0, clips[k]) for _, k in batch] for batch in sequential_batches(len(clips), config.eval.batch_size)]

    def build_dataset(self, config: Any, split: str, cache_gb: float, training: bool) -> SampleDataset:
        """Build the dataset of a split.

        Args:
            config: a `configs.schema.Config`.
            split: "train" or "val".
            cache_gb: memory for a cache of decoded clips, GB.
            training: sample a random part of each clip; else its middle.
        """
        clips, data, mix = self.splits[split], config.data, config.mix
        return MixtureDataset(clips, data, mix, config.train.seed, cache_gb, middle=not training)

    def build_feature_dataset(self, config: Any, features: FrozenFeatures) -> SampleDataset:
        """Build the training dataset that reads a frozen encoder's features in place of frames.

        Args:
            config: a `configs.schema.Config`.
            features: of the training clips.
        """
        return MixtureFeatureDataset(
            self.splits["train"], features, config.data.sample_rate, config.mix, config.train.seed
        )
