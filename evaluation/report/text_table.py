"""The measures of an evaluation as text."""

from math import log

from evaluation.measures.retrieval import DIRECTIONS
from evaluation.report.rows import DIRECTION_NAMES


def metrics_table(metrics):
    """The measures as text, each beside what chance gets.

    Args:
        metrics: content of metrics.json.

    Returns:
        str, lines of at most 100 characters.
    """
    lines = [f"{metrics['model']} on {metrics['split']}: {metrics['clips']} clips, {metrics['skipped']} skipped", ""]
    if "avc" in metrics:
        avc = metrics["avc"]
        lines += [
            f"correspondence, {avc['pairs']} pairs".ljust(40) + "ours".rjust(8) + "chance".rjust(8),
            f"  accuracy, threshold {avc['threshold']:+.2f} from val".ljust(40) + f"{avc['accuracy']:8.3f}{0.5:8.3f}",
            "  accuracy, the net's own threshold".ljust(40) + f"{avc['accuracy_raw']:8.3f}{0.5:8.3f}",
            "  AUC".ljust(40) + f"{avc['auc']:8.3f}{0.5:8.3f}",
            "  loss".ljust(40) + f"{avc['loss']:8.3f}{log(2):8.3f}",
            "",
        ]
    if "retrieval" in metrics:
        found = metrics["retrieval"]
        heads = {"ndcg": f"nDCG@{found['k']}", "median_rank": "med. rank", "map": "mAP"}
        measures = [name for name in found[DIRECTIONS[0]] if f"random_{name}" in found[DIRECTIONS[0]]]
        measures.sort(key=["ndcg", "recall@1", "recall@5", "recall@10", "median_rank", "map"].index)
        of = f", {found['queries']} queries" if "queries" in found else ""
        lines.append(
            f"retrieval, {found['labels']} labels{of}".ljust(28) + "".join(heads.get(m, m).rjust(11) for m in measures)
        )
        for direction in DIRECTIONS:
            for prefix, name in (("", f"{direction} ({DIRECTION_NAMES[direction]})"), ("random_", "  random")):
                values = [(found[direction][prefix + m], 1 if m == "median_rank" else 3) for m in measures]
                lines.append("  " + name.ljust(26) + "".join(f"{value:11.{digits}f}" for value, digits in values))
        lines += [f"  ontology {found['ontology']}, gain {found['gain']}", ""]
        if "baselines" in found:
            lines += [f"nDCG@{found['k']} beside baselines".ljust(28) + "".join(name.rjust(11) for name in DIRECTIONS)]
            rows = {metrics["model"]: found, **found["baselines"]}
            for name, row in rows.items():
                cells = (f"{row[d]['ndcg']:11.3f}" if d in row else "-".rjust(11) for d in DIRECTIONS)
                lines.append(f"  {name}".ljust(28) + "".join(cells))
            lines += ["  random".ljust(28) + "".join(f"{found[d]['random_ndcg']:11.3f}" for d in DIRECTIONS), ""]
    if "localization" in metrics:
        lines += _localization_lines(metrics["localization"])
    if "separation" in metrics:
        lines += _separation_lines(metrics["separation"])
    if "probe" in metrics:
        lines += ["", *probe_lines(metrics["probe"])]
    return "\n".join(lines).rstrip()


def probe_lines(found):
    """The rows of the table on the linear probe, beside chance and, where it was asked for, a net with fresh weights.

    Args:
        found: metrics.json's "probe".
    """
    where = f"{found['folds']} folds" if "folds" in found else f"{found['train_clips']} clips to fit on"
    fresh = found.get("untrained", {})
    lines = [f"linear probe, {where}".ljust(40) + "ours".rjust(16) + "chance".rjust(8) + "fresh".rjust(8) * bool(fresh)]
    for side in ("audio", "vision"):
        for name, head in (("map", "mAP"), ("top1", "top-1")):
            if side not in found or (name == "top1" and found[side].get("top1_clips") == 0):
                continue
            row = found[side]
            spread = f" +- {row[f'{name}_spread']:.3f}" if f"{name}_spread" in row else ""
            text = f"  {side}, {row['classes']} classes: {head}".ljust(40)
            text += f"{row[name]:.3f}{spread}".rjust(16) + f"{row['chance'][name]:8.3f}"
            lines.append(text + (f"{fresh[side][name]:8.3f}" if fresh else ""))
    return lines


def _localization_lines(found):
    """The rows of the table on where the sound comes from, beside always the centre."""
    rows = [(f"localisation, {found['frames']} frames", None, None)]
    if "peak_accuracy" in found:
        rows += [("  peak on an object that sounds", "peak_accuracy", "centre_accuracy")]
    rows += [
        ("  cIoU of at least 0.5", "ciou@0.5", "ciou@0.5_centre"),
        ("  area under cIoU shares", "auc", "auc_centre"),
    ]
    if found.get("two_object_frames"):
        rows += [
            (f"  of {found['two_object_frames']} frames with a silent object too", None, None),
            ("    peak on the one that sounds", "two_object_accuracy", "two_object_centre"),
            ("    peak on the silent one", "distractor_accuracy", "distractor_centre"),
        ]
    heads = "ours".rjust(8) + "centre".rjust(8)
    return [
        name.ljust(40) + (f"{found[ours]:8.3f}{found[plain]:8.3f}" if ours else heads if k == 0 else "")
        for k, (name, ours, plain) in enumerate(rows)
    ]


def _separation_lines(found):
    """The rows of the table on how well mixtures are parted, beside the mixture as it is and the ideal masks."""
    count = f"separation, {found['pairs']} mixtures, {found['skipped']} with a silent source or estimate"
    if not found["pairs"]:
        return [count]
    heads = ("dB", "ours", "mixture", "ideal binary", "ideal ratio")
    rows = [
        ("SDR above the mixture's (NSDR)", "nsdr", None, "nsdr_ideal_binary", "nsdr_ideal_ratio"),
        ("SDR", "sdr", "sdr_mixture", None, None),
        ("SIR", "sir", "sir_mixture", None, None),
        ("SAR", "sar", None, None, None),
    ]
    lines = [count, "  " + heads[0].ljust(34) + "".join(head.rjust(14) for head in heads[1:])]
    for name, *keys in rows:
        cells = ["" if key is None else f"{found[key]:.2f}" for key in keys]
        lines.append("  " + name.ljust(34) + "".join(cell.rjust(14) for cell in cells))
    shares = [
        ("NSDR as a share of the ideal binary mask's", "nsdr_share_of_ideal"),
        ("share of mixtures with a SIR above the mixture's", "sir_above_mixture"),
        ("share whose SDR falls with the pictures exchanged", "swap_consistency"),
    ]
    return lines + [f"  {name}".ljust(60) + f"{found[key]:8.3f}" for name, key in shares if key in found]
