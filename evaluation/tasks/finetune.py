"""Task "finetune": each encoder of a net trained on with labels, beside the linear probe of its features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from dataset.pairs import PairDataset
from dataset.reading.benchmarks.benchmark import Benchmark
from dataset.reading.flow import open_flow_cache
from evaluation.fine_tuning import FineTuner, LabelledClips, Start, fine_tune
from evaluation.measures.finetune import FineTuned, finetune_measures
from evaluation.measures.linear_classifier import fit_probe, indicators
from evaluation.measures.probe import predictions_of, shared_classes
from evaluation.tasks.embeddings import SplitEmbeddings, embed_split, open_eval_split
from evaluation.tasks.probe import PooledFeatures, TwoEncoderNet, probed_models, unreadable_notes
from evaluation.tasks.task import EvalContext, TaskResult
from models.pretrained import fixed_statistics
from utils.config import Config

SIDES = ("audio", "vision")


class FineTuneTask:
    """mAP and top-1 accuracy of fine-tuned encoders, for every net with two encoders."""

    name = "finetune"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` has an encoder of frames and one of sounds."""
        return isinstance(model, TwoEncoderNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Learn from the train split, choose by val, measure the split of `context`: section "finetune".

        The clips to learn from are read at a random time in each epoch, those of the other splits at the fixed time of
        all evaluations.
        """
        net, measures, unreadable = context.net, dict[str, Any](), dict[str, str]()
        data = [open_eval_split(context.config, name) for name in ("train", "val")] + [context.data]
        for name, model in probed_models(net, context.options.untrained).items():
            train, val, test = (embed_split(model, net.config, part) for part in data)
            if len(names := shared_classes(train.labels, test.labels)) < 2:
                note = f"the train and {context.split} splits share fewer than 2 classes: fine-tuning is not measured"
                return TaskResult({}, len(test), test.skipped, notes=(note,))
            parts = [_LabelledFeatures.of(part, names) for part in (train, val, test)]
            counts = {"train_clips": len(parts[0].labels), "test_clips": len(parts[2].labels)}
            rows = counts | {"unlabelled": len(test) - len(parts[2].labels)}
            unreadable |= train.skipped | val.skipped
            rows |= _tune_split(net.config, model, parts, names, unreadable, kept_statistics(net.config, name))
            measures |= {name: rows} if name else rows
        return TaskResult({"finetune": measures}, len(test), test.skipped, notes=unreadable_notes(unreadable))


def kept_statistics(config: Config, name: str) -> tuple[str, ...]:
    """List the encoders whose batch norm statistics stay: those from given weights, see train.freeze_norm.

    Args:
        config: of the net.
        name: key of `probed_models`: "untrained" has its weights from nowhere, and needs statistics of its own.
    """
    return () if name else fixed_statistics(config)


class _LabelledFeatures(NamedTuple):
    """The labelled clips of a split: their features, by side, and what fine-tuning reads."""

    features: dict[str, np.ndarray]
    labels: list[list[str]]
    clips: LabelledClips
    source: SplitEmbeddings

    @classmethod
    def of(cls, split: SplitEmbeddings, names: Sequence[str]) -> "_LabelledFeatures":
        kept = [k for k, own in enumerate(split.labels) if own]
        labels = [split.labels[k] for k in kept]
        features = {"audio": split.a[kept].numpy(), "vision": split.v[kept].numpy()}
        truth = indicators(labels, names).reshape(len(labels), len(names))
        return cls(features, labels, LabelledClips(split.dataset, [[split.indices[k]] for k in kept], truth), split)


def _tune_split(
    config: Config,
    model: PooledFeatures,
    parts: Sequence[_LabelledFeatures],
    names: Sequence[str],
    skipped: dict[str, str],
    kept: tuple[str, ...],
) -> dict[str, Any]:
    """Fine-tune both encoders on the first of three parts, choose by the second, measure on the third."""
    train, val, test = parts
    starts = {}
    for side in SIDES:
        chooser = val.features[side] if val.labels else None
        starts[side] = Start(getattr(model.net, side), train.features[side], chooser, side in kept)
    learned = train.clips._replace(dataset=_at_random_times(config, train.source))
    flip = model.net.flip_frames if config.eval.flip_tta else None
    tuner = FineTuner(config, skipped, config.train.workers, flip)
    tuned = fine_tune(tuner, starts, learned, val.clips if val.labels else None)
    scores = tuner.score(tuned, test.clips)
    rows = {}
    for candidate, own in zip(tuned, scores, strict=True):
        side, start = candidate.side, starts[candidate.side]
        chosen = None if start.chooser is None else (start.chooser, val.clips.truth)
        probe = fit_probe(start.features, learned.truth, chosen)
        found = FineTuned(
            [predictions_of(own, test.labels, names, learned.truth)],
            [predictions_of(probe.log_odds(test.features[side]), test.labels, names, learned.truth)],
        )
        rows[side] = finetune_measures(found) | {"lr": [candidate.rate], "epochs": [candidate.epochs]}
    return rows


def _at_random_times(config: Config, split: SplitEmbeddings) -> PairDataset:
    """The clips of a split, each at another time in every epoch."""
    data, clips = config.data, split.clips
    assert not isinstance(clips, Benchmark)  # `choose_tasks` runs localization alone on benchmarks
    flow = open_flow_cache(data, clips)
    return PairDataset(
        clips, data.resize_size, data.sample_rate, data.frame_step, seed=0, frames=data.frames, flow=flow
    )
