"""Training and validation clips of a config as batches: frames and their seconds of sound."""

from dataset.loading.loader import drop_unreadable, make_loader
from dataset.loading.order import EpochBatchSampler, sequential_batches
from dataset.mixes import MixtureDataset
from dataset.pairs import PairDataset
from dataset.reading.flow import open_flow_cache
from dataset.reading.shards import open_split
from utils.errors import UserError


class AVCDataModule:
    """What a training script feeds its net with.

    Args:
        config: a `Config`.
        device: of the net; batches are pinned for a GPU.
        rank, ranks: of `ranks` processes, this is number `rank`, and gets its share of every batch.

    Attributes:
        splits: {"train": Clips, "val": Clips}, or Shards. steps_per_epoch: updates in an epoch.

    Raises:
        UserError: a split that can't be opened, fewer training clips than one update needs, or a batch that can't be
            shared out evenly.
    """

    shares_held_out = True  # of several processes, each validates its share of the clips

    def __init__(self, config, device, rank=0, ranks=1):
        data, train = config.data, config.train
        self.smallest = self.min_clips_per_batch(config)
        if train.batch_size % ranks or train.batch_size < self.smallest * ranks:
            raise UserError(
                f"train.batch_size is {train.batch_size}, which can't be shared out evenly among {ranks} processes, at "
                f"least {self.smallest} clips each: make it a multiple of {ranks}"
            )
        self.train, self.device = train, device
        self.splits = {split: open_split(data, split) for split in ("train", "val")}
        self.pairs = self.build_dataset(config, "train", data.cache_gb, training=True)
        held_out = self.build_dataset(config, "val", data.cache_gb / 4, training=False)
        in_turn = sequential_batches(len(held_out), config.eval.batch_size)
        in_turn = in_turn[rank::ranks] if self.shares_held_out else in_turn
        self._held_out = make_loader(held_out, in_turn, min(train.workers, 1), device)
        self._order = EpochBatchSampler(
            len(self.pairs), train.batch_size, train.seed, multiple=train.grad_accum_steps, share=(rank, ranks),
            samples_per_decode=data.samples_per_decode,
        )  # fmt: skip
        if not self._order.per_epoch:
            raise UserError(
                f"{data.root} has {len(self.pairs)} training clips, fewer than a batch: lower --train.batch_size "
                f"({train.batch_size}) or --train.grad_accum_steps ({train.grad_accum_steps})"
            )
        self.steps_per_epoch = self._order.per_epoch // train.grad_accum_steps

    def min_clips_per_batch(self, config):
        """How many clips a batch needs: a mismatch takes two."""
        return 2

    def build_dataset(self, config, split, cache_gb, training):
        """The `Pairs` of a split; in validation, one fixed instant per clip."""
        data, train, clips = config.data, config.train, self.splits[split]
        drawn = {"misalignment": data.misalignment, "seed": train.seed, "off_grid": train.negatives == "off_grid"}
        return PairDataset(
            clips, data.resize_size, data.sample_rate, data.frame_step, cache_gb=cache_gb, frames=data.frames,
            flow=open_flow_cache(data, clips), **(drawn if training else {}),
        )  # fmt: skip

    def train_batches(self, start, skipped):
        """This process's share of endless training batches, from number `start` on.

        `skipped` (clip, message) hears of unreadable clips.
        """
        order = self._order.starting_at(start)
        return drop_unreadable(make_loader(self.pairs, order, self.train.workers, self.device), skipped, self.smallest)

    def init_batch(self, skipped, count=128):
        """One batch of `count` random training clips, fewer if there aren't as many: for a start from data.

        The same clips in every process, so that each of them starts alike.
        """
        order = EpochBatchSampler(len(self.pairs), min(count, len(self.pairs)), self.train.seed)
        return next(drop_unreadable(make_loader(self.pairs, order, 0), skipped, self.smallest))

    def val_batches(self, skipped):
        """This process's share of the validation clips (or all of them), once, each at its fixed instant."""
        return drop_unreadable(self._held_out, skipped, smallest=0)

    def val_boxes(self, places, times):
        """What is annotated in validation frames: (N,) places in the split, (N,) seconds -> N lists of boxes."""
        clips = self.splits["val"]
        return [clips.boxes_at(place, time) for place, time in zip(places.tolist(), times.tolist(), strict=True)]


class MixtureDataModule(AVCDataModule):
    """What train_PixelPlayer.py feeds its net with: as `AVCData`, with samples of `Mixes`.

    Attributes:
        steps_per_epoch: updates in an epoch of mix.repeats passes over the training clips.
    """

    shares_held_out = False  # a fixed mixture's clips would fall to different processes

    def __init__(self, config, device, rank=0, ranks=1):
        super().__init__(config, device, rank, ranks)
        self.steps_per_epoch *= config.mix.repeats

    def min_clips_per_batch(self, config):
        """As many as a mixture has: with fewer, the ring would mix a clip with itself."""
        return config.mix.sources

    def build_dataset(self, config, split, cache_gb, training):
        """The `Mixes` of a split."""
        return MixtureDataset(
            self.splits[split], config.data, config.mix, config.train.seed, cache_gb, middle=not training
        )
