"""Train a copy of an encoder on with labels, and a linear classifier on its features with it.

It starts at the linear probe (`evaluation.measures.linear_classifier`), and then trains all weights: with a random
classifier the first steps would spoil the features (Kumar et al., arXiv 2202.10054).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.loading.loader import Batch, Key, SampleDataset, drop_unreadable, make_loader, make_skip_handler
from dataset.transforms.frames import prepare_frames
from dataset.transforms.sounds import prepare_sounds
from evaluation.measures.linear_classifier import FittedProbe, cross_entropy, fit_probe, held_out_of, log_odds
from models.interfaces import PartlyFixed, device_of
from models.layers import global_max_pool
from utils.config import Config
from utils.device import to_device
from utils.errors import UserError
from utils.precision import LossScaler, autocast, resolve_precision
from utils.progress_bar import progress_bar

EPOCHS = 6  # at most: after each one the clips that choose are asked
LEARNING_RATES = (1e-4, 1e-3)  # of Adam, for all weights
BATCH = 32  # clips in a step, or eval.batch_size if that is less
NORM_EPS = 1e-8  # added to the variance of features


class LabelledClips(NamedTuple):
    """N clips, or files, with their classes.

    Attributes:
        dataset: `dataset[epoch, row]` is a frame or a sound of one of them.
        rows: the rows of each of the N; of a clip in a split one, its index.
        truth: (N, C) bool, which has which class.
    """

    dataset: SampleDataset
    rows: Sequence[Sequence[int]]
    truth: np.ndarray

    def chosen(self, which: np.ndarray) -> "LabelledClips":
        """Keep the clips that `which`, (N,) bool, marks."""
        return LabelledClips(self.dataset, [self.rows[int(k)] for k in np.flatnonzero(which)], self.truth[which])


class EncoderClassifier(PartlyFixed):
    """A copy of an encoder, and a linear classifier of its pooled, standardized features.

    Args:
        encoder: that is copied.
        probe: the classifier to start from, fitted to the encoder's features.
        keep_statistics: the encoder's batch norm statistics stay as they are.
    """

    def __init__(self, encoder: nn.Module, probe: FittedProbe, keep_statistics: bool = False) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        classes, dims = probe.weights.shape
        self.norm, self.head = nn.BatchNorm1d(dims, NORM_EPS, affine=False), nn.Linear(dims, classes)
        self.fixed_statistics = ("encoder",) if keep_statistics else ()
        self.probe = probe
        starts = {"norm.running_mean": probe.mean, "norm.running_var": probe.scale**2}
        starts |= {"head.weight": probe.weights, "head.bias": probe.bias}
        self.load_state_dict({name: torch.from_numpy(value) for name, value in starts.items()}, strict=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the logits of the C classes from `inputs` of the encoder, (B, ...) -> (B, C) float32."""
        features = global_max_pool(self.encoder(inputs))
        with torch.autocast(features.device.type, enabled=False):
            return self.head(self.norm(features))

    def loss(self, inputs: Tensor, truth: Tensor) -> Tensor:
        """Compute the cross-entropy of the classes that the probe knows.

        Args:
            inputs: (B, ...) of the encoder, B of 2 or more.
            truth: (B, C) bool.

        Returns:
            a scalar: of a softmax where each clip has one class, else the mean over classes of their own ones.
        """
        known = torch.from_numpy(self.probe.known).to(truth.device)
        logits, truth = self(inputs)[:, known], truth[:, known]
        if self.probe.softmax:
            return F.cross_entropy(logits, truth.float())
        return F.binary_cross_entropy_with_logits(logits, truth.float())


class Candidate:
    """A classifier that is trained with one learning rate, as it was at its best.

    Args:
        model: on its device.
        side: "vision" or "audio": what it is trained on.
        rate: learning rate of Adam.
        precision: of the steps, train.precision.

    Attributes:
        error: the lowest cross-entropy of the clips that choose.
        epochs: after how many that was.
    """

    def __init__(self, model: EncoderClassifier, side: str, rate: float, precision: str) -> None:
        self.model, self.side, self.rate = model, side, rate
        self.optimizer, device = torch.optim.Adam(model.parameters(), lr=rate), device_of(model)
        self.precision = resolve_precision(device, precision)
        self._scaler = LossScaler(device, self.precision, [self.optimizer])
        self.error, self.epochs = float("inf"), 0
        self._best = copy.deepcopy(model.state_dict())

    def learn(self, inputs: Tensor, truth: Tensor) -> None:
        """Take a step on a batch: `inputs` (B, ...) and `truth` (B, C) as of `EncoderClassifier.loss`."""
        self.model.train()
        with autocast(inputs.device, self.precision):
            loss = self.model.loss(inputs, truth)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.backward(loss)
        self._scaler.step()

    def judge(self, scores: np.ndarray, truth: np.ndarray, epochs: int) -> None:
        """Keep the weights if they are the best so far.

        Args:
            scores: (K, C) log-odds of the clips that choose.
            truth: (K, C) bool.
            epochs: that are over.
        """
        error = cross_entropy(scores, truth)
        if error < self.error:  # never if it is not a number
            self.error, self.epochs, self._best = error, epochs, copy.deepcopy(self.model.state_dict())

    def restore(self) -> None:
        """Go back to the best weights."""
        self.model.load_state_dict(self._best)


class FineTuner:
    """Trains candidates on the same batches, and scores clips.

    Args:
        config: of the net; data.on_error says what an unreadable clip does.
        skipped: gets {id: reason} of the clips that can't be read.
        workers: processes that read.
        flip: mirrors frames, in the shape that the encoder takes: scores are means over both, as eval.flip_tta asks;
            None: of the frames alone.
    """

    def __init__(
        self, config: Config, skipped: dict[str, str], workers: int, flip: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.config, self.skipped, self.workers, self.flip = config, skipped, workers, flip

    def train(
        self,
        candidates: Sequence[Candidate],
        clips: LabelledClips,
        epochs: int,
        after_epoch: Callable[[int], object] = lambda epochs: None,
    ) -> None:
        """Train all candidates for some epochs; of a file with several rows, one is drawn in each.

        Args:
            candidates: on the same device.
            clips: to learn from, 2 or more.
            epochs: how many.
            after_epoch: called with the number of those that are over.
        """
        order: list[list[Key]] = []
        clip_of_row = {row: k for k, rows in enumerate(clips.rows) for row in rows}
        parts = -(-len(clips.rows) // min(BATCH, self.config.eval.batch_size))
        for epoch in range(1, epochs + 1):  # epoch 0 is what evaluations see
            random = np.random.default_rng([0, epoch])
            drawn = [(epoch, int(random.choice(clips.rows[k]))) for k in random.permutation(len(clips.rows))]
            order += [drawn[len(drawn) * k // parts : len(drawn) * (k + 1) // parts] for k in range(parts)]
        batches = self._load(clips.dataset, order, device_of(candidates[0].model))
        torch.manual_seed(0)  # of encoders that drop something
        cudnn = torch.backends.cudnn.flags(enabled=True, deterministic=True)
        with cudnn, progress_bar(len(clips.rows) * epochs, "clip", log_interval=10) as bar:
            for epoch in range(1, epochs + 1):
                for batch in islice(batches, parts):
                    truth = torch.from_numpy(clips.truth[[clip_of_row[row] for row in batch["indices"].tolist()]])
                    for candidate in candidates if len(truth) > 1 else ():  # one clip has no variance
                        inputs = side_inputs(batch, candidate.side, self.config)
                        candidate.learn(inputs, truth.to(inputs.device))
                    bar.update(len(truth))
                after_epoch(epoch)

    @torch.no_grad()
    def score(self, candidates: Sequence[Candidate], clips: LabelledClips) -> list[np.ndarray]:
        """Score clips in evaluation mode: the mean of the logits over the rows of each.

        Args:
            candidates: on the same device.
            clips: N, of which no truth is used.

        Returns:
            (N, C) float64 log-odds of each candidate.
        """
        rows = [(k, row) for k, own in enumerate(clips.rows) for row in own]
        clip_of_row, size = {row: k for k, row in rows}, self.config.eval.batch_size
        order = [[(0, row) for _, row in rows[k : k + size]] for k in range(0, len(rows), size)]
        sums, counts = np.zeros((len(candidates), *clips.truth.shape)), np.zeros(len(clips.rows))
        for batch in self._load(clips.dataset, order, device_of(candidates[0].model)):
            owners = [clip_of_row[row] for row in batch["indices"].tolist()]
            np.add.at(counts, owners, 1)
            for candidate, total in zip(candidates, sums, strict=True):
                inputs = side_inputs(batch, candidate.side, self.config)
                model = candidate.model.eval()
                with autocast(inputs.device, candidate.precision):
                    logits = model(inputs)
                    if self.flip and candidate.side == "vision":
                        logits = (logits + model(self.flip(inputs))) / 2
                np.add.at(total, owners, logits.cpu().double().numpy())
        probes = [candidate.model.probe for candidate in candidates]
        means = sums / np.maximum(counts, 1)[:, None]
        return [log_odds(one, probe.known, probe.softmax) for one, probe in zip(means, probes, strict=True)]

    def _load(self, dataset: SampleDataset, order: list[list[Key]], device: torch.device) -> Iterator[Batch]:
        loader = make_loader(dataset, order, self.workers, device)
        on_skip = make_skip_handler(self.skipped, self.config.data.on_error)
        return (to_device(batch, device) for batch in drop_unreadable(loader, on_skip, min_clips=0))


def side_inputs(batch: Batch, side: str, config: Config) -> Tensor:
    """Prepare what an encoder takes of a batch, without augmentation.

    Args:
        batch: collated, on the device of the net.
        side: "vision": the frames; "audio": the sounds.
        config: of the net.

    Returns:
        (B, 3, S, S) frames, see `prepare_frames`, or (B, 1, F, T) spectrograms.
    """
    if side == "audio":
        return prepare_sounds(batch["sounds"], config.data.sample_rate, config.spectrogram)
    return prepare_frames(batch["frames"], config.data.frame_size, flows=batch.get("flows"))


class Start(NamedTuple):
    """What the fine-tuning of an encoder starts from.

    Attributes:
        encoder: a module on its device.
        features: (N, D) float, the encoder's features of the N clips to learn from.
        chooser: (K, D) float, of the clips that choose; None where a part of the N does.
        keep_statistics: as of `EncoderClassifier`.
    """

    encoder: Any
    features: np.ndarray
    chooser: np.ndarray | None = None
    keep_statistics: bool = False


def fine_tune(
    tuner: FineTuner, starts: dict[str, Start], train: LabelledClips, choose: LabelledClips | None = None
) -> list[Candidate]:
    """Fine-tune encoders with the best of LEARNING_RATES and of 0 to EPOCHS epochs; the encoders stay as they are.

    Args:
        tuner: trains.
        starts: {"vision" or "audio": what its fine-tuning starts from}.
        train: the clips to learn from, 2 or more.
        choose: clips that choose rate and epochs. None: a fifth of the clips to learn from chooses, and then all of
            them are learned from at that rate, for as many epochs.

    Returns:
        a trained candidate for each start, with its rate and epochs.
    """
    fitted, chosen_by = train, choose
    if choose is None:
        held_out = held_out_of(len(train.rows))
        fitted, chosen_by = train.chosen(~held_out), train.chosen(held_out)
    assert chosen_by is not None
    candidates: list[Candidate] = []
    for side, start in starts.items():
        features, chooser = start.features, start.chooser
        if choose is None:
            features, chooser = start.features[~held_out], start.features[held_out]
        assert chooser is not None
        probe = fit_probe(features, fitted.truth, (chooser, chosen_by.truth))
        candidates += [_candidate(start, side, probe, rate, tuner.config) for rate in LEARNING_RATES]

    def judge(epochs: int) -> None:
        for candidate, scores in zip(candidates, tuner.score(candidates, chosen_by), strict=True):
            candidate.judge(scores, chosen_by.truth, epochs)

    judge(0)
    tuner.train(candidates, fitted, EPOCHS, judge)
    best = [min((one for one in candidates if one.side == side), key=lambda one: one.error) for side in starts]
    if choose is not None:
        for candidate in best:
            candidate.restore()
        return best
    return [_learn_from_all(tuner, starts[one.side], train, one) for one in best]


def _candidate(start: Start, side: str, probe: FittedProbe, rate: float, config: Config) -> Candidate:
    model = EncoderClassifier(start.encoder, probe, start.keep_statistics).to(device_of(start.encoder))
    return Candidate(model, side, rate, config.train.precision)


def _learn_from_all(tuner: FineTuner, start: Start, train: LabelledClips, chosen: Candidate) -> Candidate:
    """Train a fresh copy on all clips at the rate, and for as many epochs, as were best for a part of them."""
    again = _candidate(start, chosen.side, fit_probe(start.features, train.truth, None), chosen.rate, tuner.config)
    tuner.train([again], train, chosen.epochs)
    if not all(bool(weight.isfinite().all()) for weight in again.model.parameters()):
        raise UserError("a weight is not finite after fine-tuning: try --train.precision fp32")
    again.epochs = chosen.epochs
    return again
