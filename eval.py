"""Measure a checkpoint on a split: correspondence, retrieval in four directions, localisation; numbers and pictures.

    python eval.py --checkpoint runs/demo_AVENet/best.pt

The net and its settings come from the checkpoint; any setting can be overridden (`--data.root DIR`).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from dataset.clips import Clips
from dataset.flow import kept_flow
from dataset.pairs import Pairs, collate, in_order, loader, readable, sample
from dataset.transforms import Transform, prepare_sounds
from models import build
from utils import avc, checkpoint, localization, ontology, overlays, report, retrieval
from utils.config import from_dict, override, parse
from utils.embedding import embed
from utils.engine import channels_last, pick_device
from utils.errors import UserError, reported
from utils.log import read_log

TASKS = ("avc", "retrieval", "localization")


def options(parser):
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    parser.add_argument("--split", default="test", help="which split to measure [test]")
    parser.add_argument("--out", metavar="DIR", help="where the results go [eval_SPLIT beside the checkpoint]")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="what to measure [all that applies]")
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="clips whose map is drawn [200]")
    parser.add_argument("--video", type=int, default=0, metavar="N", help="clips whose maps become a video [0]")


@torch.no_grad()
def main(argv=None):
    args, _, changes = parse(argv if argv is not None else sys.argv[1:], __doc__, options)
    if not args.checkpoint:
        raise UserError("--checkpoint FILE is missing; training writes best.pt into its run directory")
    content = checkpoint.load(args.checkpoint)
    config = override(from_dict(content.get("config")), changes)
    data, device = config.data, pick_device()
    out = Path(args.out or Path(args.checkpoint).parent / f"eval_{args.split}")
    classes = ontology.load(config.eval.ontology)

    model = build(config.model, data.flow_fields)
    checkpoint.load_weights(model, checkpoint.evaluated_weights(content), args.checkpoint)
    channels_last(model.to(device))

    # One fixed instant per clip: embedded once, every measure looks at the same embeddings.
    clips = Clips(data.root, args.split, data.on_error)
    motion = {"frames": data.frames, "flow": kept_flow(data, clips)}
    pairs = Pairs(clips, data.stored_size, data.sample_rate, data.frame_step, annotated=True, **motion)
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
    v, a, places, times = found
    labels = [clips.labels[place] for place in places.tolist()]
    warn_of_unknown(labels, classes)

    def look(k):
        """The k-th measured clip as pictures show it: frame (S, S, 3) uint8, log spectrogram (F, T), class names."""
        sample = pairs[0, int(places[k])]
        sound = prepare_sounds(torch.from_numpy(sample["sound"])[None], data.sample_rate, config.spectrogram)
        frame = sample["frame"] if data.frames == 1 else sample["frame"][data.frames // 2]
        return frame, sound[0, 0].numpy(), "; ".join(map(classes.name, labels[k]))

    metrics = {"model": config.model.name, "split": args.split, "clips": len(places), "skipped": len(skipped)}
    metrics |= {"checkpoint": str(args.checkpoint), "step": content["step"], "data": str(data.root)}
    if "avc" in args.tasks:
        matches, mismatches = avc.score_groups(model.pair_logits, v.to(device), a.to(device), config.eval.group)
        metrics["avc"] = avc.measure(matches, mismatches, content["metrics"].get("threshold", 0.0))
    if "retrieval" in args.tasks:
        vectors = [side.numpy() for side in model.vectors(v, a)]
        metrics["retrieval"] = retrieval.four_directions(*vectors, labels, classes, config.eval.k, config.eval.gain)
        report.retrieval_figures(*vectors, labels, classes, look, out)
    if "localization" in args.tasks and hasattr(model, "location_logits"):
        # The logits of each frame's places with its own sound; where objects are annotated they can be judged.
        maps = model.location_logits(v.to(device), a.to(device)).cpu().numpy()  # (N, h, w)
        frames = [clips.boxes_at(place, time) for place, time in zip(places.tolist(), times.tolist(), strict=True)]
        seen = [k for k, entries in enumerate(frames) if any(entry["sounding"] for entry in entries)]
        if seen:
            full = localization.upsample(maps[seen], data.frame_size)
            metrics["localization"] = localization.box_measures(full, [frames[k] for k in seen])

        def cross(chosen):
            rows = [model.location_logits(v[[k]].expand(len(chosen), -1, -1, -1).to(device), a[chosen].to(device))
                    for k in chosen]  # fmt: skip
            return torch.stack(rows).cpu().numpy()

        overlays.localization_figures(maps, frames, look, cross, out, args.pictures)
        for k in np.linspace(0, len(maps) - 1, min(args.video, len(maps))).round().astype(int).tolist():
            film(out / "video" / f"{clips.ids[places[k]]}.mp4", clips, int(places[k]), model, see, config)

    (out / "metrics.json").write_text(
        json.dumps(metrics | {"skipped_clips": skipped}, indent=2) + "\n", encoding="utf-8"
    )
    log = read_log(Path(args.checkpoint).parent)
    if log:
        report.training_curves(log, out / "training.png")
    print(report.table(metrics))
    print(f"\nwritten: {out / 'metrics.json'} and pictures")
    return metrics


def film(path, clips, place, model, see, config, fps=25):
    """Write a video of a clip with the map of every frame and its second of sound."""
    rate, device = config.data.sample_rate, next(model.parameters()).device
    with clips.open(place) as clip:
        times = np.arange(clip.first, clip.last + 1e-6, 1 / fps).tolist()
        frames = clip.frames(times, config.data.stored_size)
        samples = [sample(frame, clip.sound(time, rate)) for frame, time in zip(frames, times, strict=True)]
        track = clip.whole_sound(48000)[round(times[0] * 48000) :][: len(times) * 48000 // fps]
    size = config.eval.batch_size
    batches = [collate(samples[k : k + size]) for k in range(0, len(samples), size)]
    v, a, *_ = embed(model, batches, see, config.train.precision)
    overlays.write_film(path, frames, model.location_logits(v.to(device), a.to(device)).cpu(), fps, track, 48000)


def warn_of_unknown(labels, classes):
    """Say which labels the ontology lacks."""
    unknown = sorted({label for one in labels for label in one if label not in classes})
    if unknown:
        print(
            f"warning: ontology {classes.source} lacks {len(unknown)} labels, relevant to themselves only: "
            + ", ".join(unknown[:5]), file=sys.stderr,
        )  # fmt: skip


if __name__ == "__main__":
    with reported():
        main()
