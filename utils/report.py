"""Figures and tables of a run and its evaluation."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from utils.ontology import clip_relevance
from utils.retrieval import DIRECTIONS, rank

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
        heads = {"ndcg": f"nDCG@{found['k']}", "median_rank": "med. rank", "map": "mAP"}
        measures = [name for name in found[DIRECTIONS[0]] if f"random_{name}" in found[DIRECTIONS[0]]]
        measures.sort(key=["ndcg", "recall@1", "recall@5", "recall@10", "median_rank", "map"].index)
        of = f", {found['queries']} queries" if "queries" in found else ""
        lines.append(
            f"retrieval, {found['labels']} labels{of}".ljust(28) + "".join(heads.get(m, m).rjust(11) for m in measures)
        )
        for direction in DIRECTIONS:
            for prefix, name in (("", f"{direction} ({NAMES[direction]})"), ("random_", "  random")):
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
    if not any("gain" in line for line in val):  # the loss of masks has no such level
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


def retrieval_figures(v, a, labels, classes, look, out, queries=6, results=7):
    """A picture for each direction: some queries, spread over the split, and what they retrieve.

    Args:
        v, a: (N, D) vectors of frames and sounds. labels: list of N lists of mids. classes: an `Ontology`.
        look: callable (k) -> frame (S, S, 3) uint8, spectrogram (F, T), names of the k-th clip.
        out: Path of the folder that gets retrieval_DIRECTION.png.
    """
    table, kind = clip_relevance(labels, classes)
    chosen = np.linspace(0, len(labels) - 1, min(queries, len(labels))).round().astype(int)
    sides, seen = {"im": v, "aud": a}, {}
    for direction in DIRECTIONS:
        query, _, target = direction.partition("-")
        distance = ((sides[query][chosen, None] - sides[target][None]) ** 2).sum(-1)
        found = rank(-distance, chosen if query == target else None)[:, :results]
        seen |= {k: look(k) for k in {*chosen.tolist(), *found.ravel().tolist()} - seen.keys()}
        retrieved_rows(
            f"{direction} ({NAMES[direction]})", chosen.tolist(), found.tolist(), seen,
            lambda i, j: int(table[kind[i], kind[j]]), (query, target), out / f"retrieval_{direction}.png",
        )  # fmt: skip


def retrieved_rows(title, queries, results, seen, relevance, kinds, path):
    """Draw one direction: a row per query, its first results beside it, framed by how relevant they are.

    Args:
        title: of the figure. queries: list of Q clip places. results: list of Q lists of clip places, best first.
        seen: {place: (frame (S, S, 3) uint8, log spectrogram (F, T), label names)}.
        relevance: callable (query, result) -> 0..20.
        kinds: ("im" or "aud", the same of the results): a sound is shown as its spectrogram, the clip's frame small.
        path: of the PNG.
    """
    columns = 1 + max(map(len, results))
    figure, axes = plt.subplots(len(queries), columns, figsize=(1.7 * columns, 2.05 * len(queries)), squeeze=False)
    for row, (query, found) in enumerate(zip(queries, results, strict=True)):
        for column, place in enumerate([query, *found]):
            axis = axes[row, column]
            still, sound, name = seen[place]
            _cell(axis, still, sound, kinds[min(column, 1)])
            value = relevance(query, place)
            colour = "#333333" if column == 0 else GOOD if value == 20 else NEAR if value >= 17 else FAR
            for spine in axis.spines.values():
                spine.set(edgecolor=colour, linewidth=3)
            axis.set_title(("query: " if column == 0 else "") + name[:24], fontsize=7, color=colour, pad=3)
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
