"""metrics.json as rows: every measure with its name, its baseline and which way is better, for tables and pages."""

import math
from dataclasses import dataclass

from evaluation.measures.retrieval import DIRECTIONS

DIRECTION_NAMES = {
    "im-im": "frame to frame",
    "im-aud": "frame to sound",
    "aud-im": "sound to frame",
    "aud-aud": "sound to sound",
}
SECTIONS = {
    "avc": "Do they belong together?",
    "retrieval": "Retrieval",
    "localization": "Where does it sound?",
    "separation": "Separation",
    "probe": "Linear probe",
}  # fmt: skip
# What a reader must know of each section's measures: pairs of a name and what it is.
MEANINGS = {
    "avc": (
        ("accuracy", "mean of the share of matching pairs called a match and of mismatches called none; the threshold "
         "is that which suits the validation split, or the net's own"),
        ("AUC", "probability that a matching pair scores above a mismatch"),
    ),
    "retrieval": (
        ("nDCG", "how many of the first results are of the query's class or of one near it in the ontology, and how "
         "far up they stand; 1 is the best order there is"),
        ("recall@k", "share of the queries with the right clip among the first k: their own, or within one modality "
         "one that shares a label"),
        ("mAP", "mean average precision of the clips that share a label with the query"),
        ("median rank", "of the right clip; 1 is the best"),
    ),
    "localization": (
        ("peak", "the place of the map's largest value"),
        ("cIoU", "overlap of the half of the frame above the map's median with the box: intersection over union. Small "
         "objects can't reach 0.5"),
        ("area under cIoU shares", "mean, over all thresholds in 0..1, of the share of frames with a larger cIoU"),
    ),
    "separation": (
        ("SDR", "how much stronger the true source is than all that differs from it in what the net gives; filters are "
         "forgiven"),
        ("SIR", "the same, of the other sources alone"),
        ("SAR", "the same, of what is no source at all"),
        ("NSDR", "by how much the SDR lies above that of the mixture, taken as it is for every source"),
        ("ideal masks", "made from the true sources: a ceiling, not this net's"),
        ("frames swapped", "the net is shown each source's frame for the other: what it gives should be worse"),
    ),
    "probe": (("mAP, top-1", "of a linear classifier fitted with labels to the frozen features"),),
}  # fmt: skip


@dataclass(frozen=True)
class MetricRow:
    """One measure of metrics.json.

    Attributes:
        section: its key in metrics.json. group: a heading within the section, or "". key: dotted path in metrics.json.
        name: for people. value: float. baseline: float or None; against: what the baseline is.
        lower: less is better. unit: "share" (0..1), "dB", "nats" or "". reference: not the net's own merit.
    """

    section: str
    group: str
    key: str
    name: str
    value: float
    baseline: float | None = None
    against: str = ""
    lower: bool = False
    unit: str = "share"
    reference: bool = False

    def shown(self, value):
        """A value as people read it: three decimals, ranks one, decibels two."""
        if value is None:
            return "–"
        return f"{value:.{ {'': 1, 'dB': 2}.get(self.unit, 3) }f}"

    def width(self, value):
        """A share's place on a bar, percent; None where the measure has no scale of its own."""
        return round(100 * min(max(value, 0), 1), 1) if self.unit == "share" and value is not None else None


def metric_rows(metrics):
    """The measures of an evaluation in the order in which they are shown.

    Args:
        metrics: content of metrics.json; parts that it lacks are left out, parts unknown here are shown without a
            baseline.

    Returns:
        list of `Row`.
    """
    makers = {"avc": _avc, "retrieval": _retrieval, "localization": _localization, "separation": _separation}
    found = []
    for section, values in metrics.items():
        if isinstance(values, dict) and section != "skipped_clips":
            found += makers.get(section, _others)(section, values)
    order = list(SECTIONS)
    return sorted(found, key=lambda row: order.index(row.section) if row.section in order else len(order))


def _avc(section, found):
    kinds = [
        ("accuracy", "accuracy", 0.5, False, "share"),
        ("accuracy_raw", "accuracy, the net's own threshold", 0.5, False, "share"),
        ("auc", "AUC", 0.5, False, "share"),
        ("loss", "loss", math.log(2), True, "nats"),
    ]
    return [
        MetricRow(section, "", f"avc.{key}", name, found[key], chance, "chance", lower, unit)
        for key, name, chance, lower, unit in kinds
        if key in found
    ]


def _retrieval(section, found):
    heads = {"ndcg": f"nDCG@{found.get('k', '?')}", "median_rank": "median rank", "map": "mAP"}
    out = []
    for direction in DIRECTIONS:
        measured = found.get(direction, {})
        for name in ("ndcg", "recall@1", "recall@5", "recall@10", "map", "median_rank"):
            if name in measured:
                rank = {"lower": True, "unit": ""} if name == "median_rank" else {}
                key, random = f"retrieval.{direction}.{name}", measured.get(f"random_{name}")
                row = (section, DIRECTION_NAMES[direction], key, heads.get(name, name), measured[name], random)
                out.append(MetricRow(*row, "a random ranking", **rank))
    for name, row in found.get("baselines", {}).items():
        for direction in DIRECTIONS:
            if direction in row:
                key, label = (
                    f"retrieval.baselines.{name}.{direction}.ndcg",
                    f"{heads['ndcg']}, {DIRECTION_NAMES[direction]}",
                )
                random = row[direction].get("random_ndcg")
                place = (section, f"baseline {name}", key, label)
                out.append(MetricRow(*place, row[direction]["ndcg"], random, "a random ranking", reference=True))
    return out


def _localization(section, found):
    kinds = [
        ("peak_accuracy", "centre_accuracy", "peak on an object that sounds", False),
        ("two_object_accuracy", "two_object_centre", "with a silent object too: peak on the one that sounds", False),
        ("distractor_accuracy", "distractor_centre", "with a silent object too: peak on the silent one", True),
        ("ciou@0.5", "ciou@0.5_centre", "cIoU of at least 0.5", False),
        ("auc", "auc_centre", "area under cIoU shares", False),
    ]
    without_two = found.get("two_object_frames") == 0
    return [
        MetricRow(section, "", f"localization.{ours}", name, found[ours], found.get(plain), "always the centre", lower)
        for ours, plain, name, lower in kinds
        if ours in found and not (without_two and ("two_object" in ours or "distractor" in ours))
    ]


def _separation(section, found):
    mixture, share = "the mixture itself", "share"
    kinds = [
        ("sdr", "SDR", found.get("sdr_mixture"), mixture, "dB"),
        ("sir", "SIR", found.get("sir_mixture"), mixture, "dB"),
        ("sar", "SAR", None, "", "dB"),
        ("nsdr", "NSDR, the gain over the mixture", 0.0, mixture, "dB"),
        ("nsdr_median", "NSDR, median", 0.0, mixture, "dB"),
        ("nsdr_ideal_binary", "ceiling: NSDR of ideal binary masks", 0.0, mixture, "dB"),
        ("nsdr_ideal_ratio", "ceiling: NSDR of ideal ratio masks", 0.0, mixture, "dB"),
        ("nsdr_share_of_ideal", "share of what ideal binary masks gain", 0.0, mixture, share),
        ("sir_above_mixture", "pairs with a higher SIR than their mixture", None, "", share),
        ("swap_consistency", "pairs that are worse with frames swapped", 0.5, "chance", share),
    ]
    out = []
    for key, name, *against, unit in kinds:
        if isinstance(found.get(key), (int, float)):
            ceiling = name.startswith("ceiling")
            row = (section, "", f"separation.{key}", name, found[key], *against)
            out.append(MetricRow(*row, unit=unit, reference=ceiling))
    return out


def _others(section, found, path=""):
    """Numbers of a part that this file doesn't know, each beside its neighbour `random_NAME`, if there is one."""
    out = []
    for name, value in found.items():
        if isinstance(value, dict):
            out += _others(section, value, f"{path}{name}.")
        elif isinstance(value, float) and not name.startswith("random_") and math.isfinite(value):
            random, unit = found.get(f"random_{name}"), "share" if 0 <= value <= 1 else ""
            row = (section, path.strip("."), f"{section}.{path}{name}", name, value, random)
            lower = any(word in name for word in ("loss", "error", "rank"))
            out.append(MetricRow(*row, "chance" if random is not None else "", lower, unit))
    return out
