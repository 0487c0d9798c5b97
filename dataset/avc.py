"""Training and validation clips of a config as batches: frames and their seconds of sound."""

from dataset.flow import kept_flow
from dataset.loading import loader, readable
from dataset.order import EpochBatches, in_order
from dataset.pairs import Pairs
from dataset.shards import open_split
from utils.errors import UserError


class AVCData:
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
        self.smallest = self.fewest_clips(config)
        if train.batch_size % ranks or train.batch_size < self.smallest * ranks:
            raise UserError(
                f"train.batch_size is {train.batch_size}, which can't be shared out evenly among {ranks} processes, at "
                f"least {self.smallest} clips each: make it a multiple of {ranks}"
            )
        self.train, self.device = train, device
        self.splits = {split: open_split(data, split) for split in ("train", "val")}
        self.pairs = self.samples_of(config, "train", data.cache_gb, training=True)
        held_out = self.samples_of(config, "val", data.cache_gb / 4, training=False)
        in_turn = in_order(len(held_out), config.eval.batch_size)
        in_turn = in_turn[rank::ranks] if self.shares_held_out else in_turn
        self._held_out = loader(held_out, in_turn, min(train.workers, 1), device)
        self._order = EpochBatches(
            len(self.pairs), train.batch_size, train.seed, multiple=train.accumulate, share=(rank, ranks),
            samples_per_visit=data.samples_per_visit,
        )  # fmt: skip
        if not self._order.per_epoch:
            raise UserError(
                f"{data.root} has {len(self.pairs)} training clips, fewer than a batch: lower --train.batch_size "
                f"({train.batch_size}) or --train.accumulate ({train.accumulate})"
            )
        self.steps_per_epoch = self._order.per_epoch // train.accumulate

    def fewest_clips(self, config):
        """How many clips a batch needs: a mismatch takes two."""
        return 2

    def samples_of(self, config, split, cache_gb, training):
        """The `Pairs` of a split; in validation, one fixed instant per clip."""
        data, train, clips = config.data, config.train, self.splits[split]
        drawn = {"misalignment": data.misalignment, "seed": train.seed, "off_grid": train.negatives == "off_grid"}
        return Pairs(
            clips, data.stored_size, data.sample_rate, data.frame_step, cache_gb=cache_gb, frames=data.frames,
            flow=kept_flow(data, clips), **(drawn if training else {}),
        )  # fmt: skip

    def batches(self, start, skipped):
        """This process's share of endless training batches, from number `start` on.

        `skipped` (clip, message) hears of unreadable clips.
        """
        order = self._order.starting_at(start)
        return readable(loader(self.pairs, order, self.train.workers, self.device), skipped, self.smallest)

    def first(self, skipped, count=128):
        """One batch of `count` random training clips, fewer if there aren't as many: for a start from data.

        The same clips in every process, so that each of them starts alike.
        """
        order = EpochBatches(len(self.pairs), min(count, len(self.pairs)), self.train.seed)
        return next(readable(loader(self.pairs, order, 0), skipped, self.smallest))

    def held_out(self, skipped):
        """This process's share of the validation clips (or all of them), once, each at its fixed instant."""
        return readable(self._held_out, skipped, smallest=0)

    def held_out_boxes(self, places, times):
        """What is annotated in validation frames: (N,) places in the split, (N,) seconds -> N lists of boxes."""
        clips = self.splits["val"]
        return [clips.boxes_at(place, time) for place, time in zip(places.tolist(), times.tolist(), strict=True)]
