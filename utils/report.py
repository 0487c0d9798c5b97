"""Figures and tables of a run and its evaluation."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from utils.retrieval import DIRECTIONS

GOOD, NEAR, FAR = "#2e8b57", "#e0a030", "#c0392b"
NAMES = {"im-im": "frame to frame", "im-aud": "frame to sound", "aud-im": "sound to frame", "aud-aud": "sound to sound"}


def table(metrics):
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
            "  loss".ljust(40) + f"{avc['loss']:8.3f}{np.log(2):8.3f}",
            "",
        ]
    if "retrieval" in metrics:
        found = metrics["retrieval"]
        measures = ["ndcg", "recall@1", "recall@5", "recall@10", "median_rank", "map"]
        heads = [f"nDCG@{found['k']}", *measures[1:4], "med. rank", "mAP"]
        lines.append(f"retrieval, {found['labels']} labels".ljust(28) + "".join(head.rjust(11) for head in heads))
        for direction in DIRECTIONS:
            for prefix, name in (("", f"{direction} ({NAMES[direction]})"), ("random_", "  random")):
                values = [(found[direction][prefix + m], 1 if m == "median_rank" else 3) for m in measures]
                lines.append("  " + name.ljust(26) + "".join(f"{value:11.{digits}f}" for value, digits in values))
        lines.append(f"  ontology {found['ontology']}, gain {found['gain']}")
    return "\n".join(lines)


def training_curves(log, path):
    """Draw loss, accuracy, AUC and what tells a stall over the steps of a run.

    Args:
        log: list of dicts, `utils.log.read_log`. path: of the PNG.
    """
    train = [line for line in log if line["kind"] == "train"]
    val = [line for line in log if line["kind"] == "val"]
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")

    def draw(axis, lines, key, label, **style):
        chosen = [line for line in lines if key in line]
        axis.plot([line["step"] for line in chosen], [line[key] for line in chosen], label=label, **style)

    draw(axes[0], train, "loss", "training", color="C0", lw=1)
    draw(axes[0], val, "loss", "validation", color="C1", marker=".")
    axes[0].axhline(np.log(2), color="grey", ls=":", label="chance")
    draw(axes[1], train, "accuracy", "training", color="C0", lw=1)
    draw(axes[1], val, "accuracy", "validation, calibrated", color="C1", marker=".")
    draw(axes[1], val, "accuracy_raw", "validation, raw threshold", color="C1", ls="--")
    draw(axes[1], val, "auc", "validation AUC", color="C2", marker=".")
    axes[1].axhline(0.5, color="grey", ls=":", label="chance")
    draw(axes[2], train, "cosine_frames", "cosine, different frames", color="C3", lw=1)
    draw(axes[2], train, "cosine_sounds", "cosine, different sounds", color="C4", lw=1)
    draw(axes[2], train, "distance_spread", "spread of distances", color="C0", lw=1)
    draw(axes[2], train, "cosine_pairs", "cosine, match - mismatch", color="C2", lw=1)
    for axis, title in zip(axes, ("loss", "accuracy", "is it stuck?"), strict=True):
        axis.set(title=title, xlabel="step")
        axis.legend(fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def retrieved_rows(title, queries, results, names, relevance, stills, sounds, kinds, path):
    """Draw one direction: a row per query, its first results beside it, framed by how relevant they are.

    Args:
        title: of the figure. queries: list of Q clip places. results: list of Q lists of clip places, best first.
        names: {place: label names}. relevance: callable (query, result) -> 0..20.
        stills: {place: (S, S, 3) uint8}. sounds: {place: (F, T) log spectrogram}.
        kinds: ("im" or "aud", the same of the results): a sound is shown as its spectrogram, the clip's frame small.
        path: of the PNG.
    """
    columns = 1 + max(map(len, results))
    figure, axes = plt.subplots(len(queries), columns, figsize=(1.7 * columns, 2.05 * len(queries)), squeeze=False)
    for row, (query, found) in enumerate(zip(queries, results, strict=True)):
        for column, place in enumerate([query, *found]):
            axis = axes[row, column]
            _cell(axis, stills[place], sounds[place], kinds[min(column, 1)])
            value = relevance(query, place)
            colour = "#333333" if column == 0 else GOOD if value == 20 else NEAR if value >= 17 else FAR
            for spine in axis.spines.values():
                spine.set(edgecolor=colour, linewidth=3)
            axis.set_title(("query: " if column == 0 else "") + names[place], fontsize=7, color=colour, pad=3)
        for axis in axes[row, 1 + len(found) :]:
            axis.axis("off")
    figure.suptitle(f"{title}: green same class, amber near in the ontology, red far", fontsize=10)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    _save(figure, path)


def _cell(axis, still, sound, kind):
    """A frame, or a spectrogram with the clip's frame in its corner."""
    axis.set(xticks=[], yticks=[])
    if kind == "im":
        axis.imshow(still)
        return
    axis.imshow(sound, origin="lower", aspect="auto", cmap="magma")
    corner = axis.inset_axes((0.66, 0.66, 0.34, 0.34))
    corner.imshow(still)
    corner.set(xticks=[], yticks=[])


def _save(figure, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
