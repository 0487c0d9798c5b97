"""Fine-tuning: the measures of the linear probe for encoders that are trained on with labels, the probe beside them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from evaluation.measures.measure import Detail, Measure, Reference, Section, Values, compute_measures
from evaluation.measures.probe import PROBE, Folds, Predictions, spread


@dataclass(frozen=True)
class FineTuned:
    """Predictions for the test clips, of one fold or of several.

    Attributes:
        tuned: of the encoders after fine-tuning.
        probe: of the linear probe that fine-tuning started from.
    """

    tuned: Folds
    probe: Folds


def _of_tuned(compute: Callable[[Folds], float | None]) -> Callable[[FineTuned], float | None]:
    return lambda found: compute(found.tuned)


def _of_probe(compute: Callable[[Folds], float | None]) -> Callable[[FineTuned], float | None]:
    return lambda found: compute(found.probe)


def _beside_probe(measure: Measure[Folds]) -> Measure[FineTuned]:
    """The same measure of the fine-tuned encoders, with that of the linear probe as a reference."""
    assert callable(measure.baseline) and measure.error
    return Measure(
        measure.key, measure.name, measure.meaning, _of_tuned(measure.compute),
        _of_tuned(measure.baseline), measure.baseline_name, measure.baseline_path,
        (Reference("probe", "linear probe", _of_probe(measure.compute)),),
        error=_of_tuned(measure.error), count_key=measure.count_key,
    )  # fmt: skip


FINETUNE = Section[FineTuned](
    key="finetune",
    title="Fine-tuning",
    about="Each encoder with the classifier of the linear probe on top, both trained on with labels (first the probe, "
    "then all weights, as arXiv 2202.10054). Learning rate and number of epochs are those of the lowest cross-entropy "
    "on val, or on a fifth of the training clips where val has no labels and in folds. The net itself stays as it is.",
    measures=tuple(map(_beside_probe, PROBE.measures)),
    details=tuple(
        replace(one, meaning="clips that the encoders learn from", heading="{} to learn from")
        if one.key == "train_clips"
        else one
        for one in PROBE.details
    ),
    groups=PROBE.groups,
    group_details=(
        *(one for one in PROBE.group_details if one.key not in ("dims", "strength")),
        Detail("lr", "chosen learning rate of Adam, of each fold"),
        Detail("epochs", "chosen number of epochs, of each fold; 0 is the linear probe itself"),
    ),
    comparisons=PROBE.comparisons,
    compared=PROBE.compared,
)


def finetune_measures(found: FineTuned) -> Values:
    """Compute the measures of fine-tuning: a group of metrics.json's "finetune".

    Args:
        found: predictions for the test clips.

    Returns:
        the measures of `FINETUNE`, with chance and the linear probe; classes; top1_clips of one fold, or map_spread and
        top1_spread of several.
    """
    first: Predictions = found.tuned[0]
    details = {"classes": first.truth.shape[1]}
    more = spread(found.tuned) if len(found.tuned) > 1 else {"top1_clips": int(first.single.sum())}
    return compute_measures(FINETUNE, found) | more | details
