"""Measure a checkpoint on a split: correspondence, retrieval in four directions; numbers, a table, pictures.

    python eval.py --checkpoint runs/demo_AVENet/best.pt

The net and its settings come from the checkpoint; any setting can be overridden (`--data.root DIR`).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from dataset.clips import Clips
from dataset.pairs import Pairs, in_order, loader, readable
from dataset.transforms import Transform, prepare_sounds
from models import build
from utils import avc, checkpoint, ontology, report, retrieval
from utils.config import from_dict, override, parse
from utils.embedding import embed
from utils.engine import pick_device
from utils.errors import UserError, reported
from utils.log import read_log

TASKS = ("avc", "retrieval")


def options(parser):
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    parser.add_argument("--split", default="test", help="which split to measure [test]")
    parser.add_argument("--out", metavar="DIR", help="where the results go [eval_SPLIT beside the checkpoint]")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="what to measure [all that applies]")


def main(argv=None):
    args, _, changes = parse(argv if argv is not None else sys.argv[1:], __doc__, options)
    if not args.checkpoint:
        raise UserError("--checkpoint FILE is missing; training writes best.pt into its run directory")
    content = checkpoint.load(args.checkpoint)
    config = override(from_dict(content.get("config")), changes)
    data, device = config.data, pick_device()
    out = Path(args.out or Path(args.checkpoint).parent / f"eval_{args.split}")
    classes = ontology.load(config.eval.ontology) if "retrieval" in args.tasks else None

    model = build(config.model)
    checkpoint.load_weights(model, checkpoint.evaluated_weights(content), args.checkpoint)
    model.to(device, memory_format=torch.channels_last)

    # One fixed instant per clip: embedded once, every measure looks at the same embeddings.
    clips = Clips(data.root, args.split, data.on_error)
    pairs = Pairs(clips, data.stored_size, data.sample_rate, data.frame_step)
    skipped = dict(clips.skipped)

    def unreadable(clip, message):
        if data.on_error == "stop":
            raise UserError(message)
        skipped[clip] = message

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"results can't be written to {out} ({error.strerror}): name another --out") from None

    batches = loader(pairs, in_order(len(pairs), config.eval.batch_size), config.train.workers, device)
    see = Transform(config, train=False)
    found = embed(model, readable(batches, unreadable, smallest=0), see, config.train.precision)
    if not found or len(found[0]) < 2:
        raise UserError(f"{clips.folder} has fewer than 2 readable clips: measuring needs mismatches")
    v, a, places, _ = found
    labels = [clips.labels[place] for place in places.tolist()]

    metrics = {"model": config.model.name, "split": args.split, "clips": len(places), "skipped": len(skipped)}
    metrics |= {"checkpoint": str(args.checkpoint), "step": content["step"], "data": str(data.root)}
    if "avc" in args.tasks:
        matches, mismatches = avc.score_groups(model.pair_logits, v.to(device), a.to(device), config.eval.group)
        metrics["avc"] = avc.measure(matches, mismatches, content["metrics"].get("threshold", 0.0))
    if "retrieval" in args.tasks:
        unknown = sorted({label for one in labels for label in one if label not in classes})
        if unknown:
            print(
                f"warning: ontology {classes.source} lacks {len(unknown)} labels, relevant to themselves only: "
                + ", ".join(unknown[:5]), file=sys.stderr,
            )  # fmt: skip
        vectors = v.flatten(1).numpy(), a.flatten(1).numpy()
        metrics["retrieval"] = retrieval.four_directions(*vectors, labels, classes, config.eval.k, config.eval.gain)
        draw_rows(out, *vectors, labels, places, classes, pairs, see, config.eval)

    (out / "metrics.json").write_text(
        json.dumps(metrics | {"skipped_clips": skipped}, indent=2) + "\n", encoding="utf-8"
    )
    log = read_log(Path(args.checkpoint).parent)
    if log:
        report.training_curves(log, out / "training.png")
    print(report.table(metrics))
    print(f"\nwritten: {out / 'metrics.json'} and pictures")
    return metrics


def draw_rows(out, v, a, labels, places, classes, pairs, see, settings, queries=6, results=7):
    """A picture for each direction: some queries, spread over the split, and what they retrieve."""
    table, kind = ontology.clip_relevance(labels, classes)
    chosen = np.linspace(0, len(labels) - 1, min(queries, len(labels))).round().astype(int)
    sides = {"im": v, "aud": a}
    for direction in retrieval.DIRECTIONS:
        query, _, target = direction.partition("-")
        distance = ((sides[query][chosen, None] - sides[target][None]) ** 2).sum(-1)
        found = retrieval.rank(-distance, chosen if query == target else None)[:, :results]
        needed = sorted({*chosen.tolist(), *found.ravel().tolist()})
        stills, sounds = {}, {}
        for place in needed:
            sample = pairs[0, int(places[place])]
            stills[place] = sample["frame"]
            spectrogram = prepare_sounds(torch.from_numpy(sample["sound"])[None], see.data.sample_rate, see.spec)
            sounds[place] = spectrogram[0, 0].numpy()
        names = {place: "; ".join(map(classes.name, labels[place]))[:24] for place in needed}
        report.retrieved_rows(
            f"{direction} ({report.NAMES[direction]})", chosen.tolist(), found.tolist(), names,
            lambda i, j: int(table[kind[i], kind[j]]), stills, sounds, (query, target),
            out / f"retrieval_{direction}.png",
        )  # fmt: skip


if __name__ == "__main__":
    with reported():
        main()
