"""Measure a checkpoint on a split: correspondence, retrieval in four directions, localisation; numbers and pictures.

    python eval.py --checkpoint runs/demo_AVENet/best.pt
    python eval.py --checkpoint runs/demo_L3Net/best.pt --tasks retrieval --baselines cca
    python eval.py --checkpoint runs/demo_VOLNet/best.pt --benchmark vggss --data.root FOLDER

The net and its settings come from the checkpoint; any setting can be overridden (`--data.root DIR`).
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch

from dataset import shards
from dataset.benchmarks import BENCHMARKS, Stills
from dataset.flow import kept_flow
from dataset.pairs import Pairs, collate, in_order, loader, readable, sample
from dataset.transforms import Transform, prepare_sounds
from models import build
from utils import avc, cca, checkpoint, localization, ontology, overlays, report, retrieval
from utils.config import from_dict, override, parse
from utils.embedding import embed
from utils.engine import channels_last, pick_device
from utils.errors import UserError, reported
from utils.log import read_log
from utils.memory import keep_freed_memory

TASKS = ("avc", "retrieval", "localization")
BASELINES = ("cca", "vgg16", "vgg16+cca")


def options(parser):
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    parser.add_argument("--split", default="test", help="which split to measure [test]")
    parser.add_argument("--out", metavar="DIR", help="where the results go [eval_SPLIT beside the checkpoint]")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="what to measure [all that applies]")
    parser.add_argument(
        "--baselines", nargs="+", choices=BASELINES, default=(), help="retrieval rows beside the net's own:\n"
        "cca: its features, aligned by a CCA fitted on train\nvgg16: VGG16's features of the frames\n"
        "vgg16+cca: those and the net's sounds, aligned",
    )  # fmt: skip
    parser.add_argument("--vgg16", metavar="FILE", default="imagenet", help="VGG16's weights [downloaded, 528 MB]")
    parser.add_argument("--benchmark", choices=BENCHMARKS, help="data.root is this benchmark: localisation only")
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
    keep_freed_memory()
    split = args.benchmark or args.split
    out = Path(args.out or Path(args.checkpoint).parent / f"eval_{split}")
    classes = ontology.load(config.eval.ontology)

    model = build(config.model, data.flow_fields)
    checkpoint.load_weights(model, checkpoint.evaluated_weights(content), args.checkpoint)
    channels_last(model.to(device))
    localizes = "localization" in args.tasks and hasattr(model, "location_logits")

    # One fixed instant per clip: embedded once, every measure looks at the same embeddings.
    if args.benchmark:
        if not localizes:
            raise UserError(f"--benchmark {split} measures localisation, and {config.model.name} has no map of places")
        clips = BENCHMARKS[split](data.root, data.on_error)
        pairs = Stills(clips, data.stored_size, data.sample_rate)
    else:
        clips, pairs = open_split(config, split)
    out_folder(out)
    skipped = dict(clips.skipped)
    v, a, places, times = embedded(model, clips, pairs, config, skipped)
    places, times = places.tolist(), times.tolist()
    labels = [clips.labels[place] if not args.benchmark else [] for place in places]
    warn_of_unknown(labels, classes)

    def look(k):
        """The k-th measured clip as pictures show it: frame (S, S, 3) uint8, log spectrogram (F, T), names."""
        found = pairs[0, places[k]]
        sound = prepare_sounds(torch.from_numpy(found["sound"])[None], data.sample_rate, config.spectrogram)
        frame = found["frame"] if data.frames == 1 else found["frame"][data.frames // 2]
        return frame, sound[0, 0].numpy(), "; ".join(map(classes.name, labels[k])) or clips.ids[places[k]]

    metrics = {"model": config.model.name, "split": split, "clips": len(places), "skipped": len(skipped)}
    metrics |= {"checkpoint": str(args.checkpoint), "step": content["step"], "data": str(data.root)}
    if "avc" in args.tasks and not args.benchmark:
        matches, mismatches = avc.score_groups(model.pair_logits, v.to(device), a.to(device), config.eval.group)
        metrics["avc"] = avc.measure(matches, mismatches, content["metrics"].get("threshold", 0.0))
    if "retrieval" in args.tasks and not args.benchmark:
        vectors = [side.numpy() for side in model.vectors(v, a)]
        judge = (labels, classes, config.eval.k, config.eval.gain, config.eval.whole_ranking)
        metrics["retrieval"] = retrieval.four_directions(*vectors, *judge)
        report.retrieval_figures(*vectors, labels, classes, look, out)
        if args.baselines:
            metrics["retrieval"]["baselines"] = baselines(args, model, config, vectors, judge)
    if localizes:
        # The logits of each frame's places with its own sound; where objects are annotated they can be judged.
        maps = model.location_logits(v.to(device), a.to(device)).cpu().numpy()  # (N, h, w)
        if args.benchmark:
            size = data.frame_size
            frames = [[{"box": box, "sounding": True} for box in clips.boxes[place].tolist()] for place in places]
            truths = np.stack([clips.truth(place, size) for place in places])
            measured = localization.ciou_measures(localization.upsample(maps, size), truths)
            metrics["localization"] = measured | {"frames": len(maps), "dropped_boxes": clips.dropped}
        else:
            frames = [clips.boxes_at(place, time) for place, time in zip(places, times, strict=True)]
            seen = [k for k, entries in enumerate(frames) if any(entry["sounding"] for entry in entries)]
            if seen:
                full = localization.upsample(maps[seen], data.frame_size)
                metrics["localization"] = localization.box_measures(full, [frames[k] for k in seen])
            for k in np.linspace(0, len(maps) - 1, min(args.video, len(maps))).round().astype(int).tolist():
                film(out / "video" / f"{clips.ids[places[k]]}.mp4", clips, places[k], model, config)
        ids = [clips.ids[place] for place in places]
        overlays.localization_figures(maps, frames, ids, look, crossed(model, v, a), out, args.pictures)

    (out / "metrics.json").write_text(
        json.dumps(metrics | {"skipped_clips": skipped}, indent=2) + "\n", encoding="utf-8"
    )
    log = read_log(Path(args.checkpoint).parent)
    if log:
        report.training_curves(log, out / "training.png")
    print(report.table(metrics))
    print(f"\nwritten: {out / 'metrics.json'} and pictures")
    return metrics


def open_split(config, split):
    """A split's `Clips` or `Shards` and its `Pairs`, one fixed instant per clip."""
    data = config.data
    clips = shards.open_split(data, split)
    motion = {"frames": data.frames, "flow": kept_flow(data, clips)}
    return clips, Pairs(clips, data.stored_size, data.sample_rate, data.frame_step, annotated=True, **motion)


def embedded(model, clips, pairs, config, skipped):
    """`utils.embedding.embed` of all readable clips; `skipped` {id: reason} gets the others unless they stop it."""

    def unreadable(clip, message):
        if config.data.on_error == "stop":
            raise UserError(message)
        skipped[clip] = message

    device = next(model.parameters()).device
    batches = loader(pairs, in_order(len(pairs), config.eval.batch_size), config.train.workers, device)
    batches = readable(batches, unreadable, smallest=0)
    found = embed(model, batches, Transform(config, train=False), config.train.precision, config.eval.mirror)
    if not found or len(found[0]) < 2:
        where = getattr(clips, "folder", config.data.root)
        raise UserError(f"{where} has fewer than 2 readable clips: measuring needs mismatches")
    return found


def baselines(args, model, config, vectors, judge):
    """The rows of the paper's Table 1 beside a net's own: {name: directions of `retrieval.four_directions`}.

    Args:
        vectors: the net's (v, a) on the measured split. judge: further arguments of `four_directions`.
    """
    rows = {}

    def aligned(net, config, ours):
        v, a, *_ = embedded(net, *open_split(config, "train"), config, {})
        fitted = cca.fit(*(side.numpy() for side in net.vectors(v, a)))
        return retrieval.four_directions(*cca.project(fitted, *ours), *judge) | {"components": len(fitted.correlations)}

    if "cca" in args.baselines:
        rows["cca"] = aligned(model, config, vectors)
    if "vgg16" in args.baselines or "vgg16+cca" in args.baselines:
        from models.vgg import FramesBeside, vgg16_features  # torchvision takes seconds to import

        net = FramesBeside(vgg16_features(args.vgg16), model).to(next(model.parameters()).device)
        one_frame = {"frame_size": 224, "stored_size": 256, "frames": 1, "flow": "none"}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **one_frame))
        v, a, *_ = embedded(net, *open_split(config, args.split), config, {})
        ours = [side.numpy() for side in net.vectors(v, a)]
        if "vgg16" in args.baselines:
            rows["vgg16"] = {"im-im": retrieval.four_directions(ours[0], ours[0], *judge)["im-im"]}
        if "vgg16+cca" in args.baselines:
            rows["vgg16+cca"] = aligned(net, config, ours)
    return rows


def crossed(model, v, a):
    """A callable (list of K clips) -> (K, K, h, w) location logits of each one's frame with each one's sound."""
    device = next(model.parameters()).device

    def cross(chosen):
        sounds = a[chosen].to(device)
        rows = [model.location_logits(v[[k]].expand(len(chosen), -1, -1, -1).to(device), sounds) for k in chosen]
        return torch.stack(rows).cpu().numpy()

    return cross


def film(path, clips, place, model, config, fps=25):
    """Write a video of a clip with the map of every frame and its second of sound."""
    rate, device = config.data.sample_rate, next(model.parameters()).device
    with clips.open(place) as clip:
        times = np.arange(clip.first, clip.last + 1e-6, 1 / fps).tolist()
        frames = clip.frames(times, config.data.stored_size)
        samples = [sample(frame, clip.sound(time, rate)) for frame, time in zip(frames, times, strict=True)]
        track = clip.whole_sound(48000)[round(times[0] * 48000) :][: len(times) * 48000 // fps]
    size = config.eval.batch_size
    batches = [collate(samples[k : k + size]) for k in range(0, len(samples), size)]
    v, a, *_ = embed(model, batches, Transform(config, train=False), config.train.precision, config.eval.mirror)
    overlays.write_film(path, frames, model.location_logits(v.to(device), a.to(device)).cpu(), fps, track, 48000)


def out_folder(out):
    """Make the folder of the results."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"results can't be written to {out} ({error.strerror}): name another --out") from None


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
