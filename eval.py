"""Measure a checkpoint on a split: correspondence, retrieval, localisation, separation; numbers and pictures.

    python eval.py --checkpoint runs/demo_AVENet/best.pt
    python eval.py --checkpoint runs/demo_L3Net/best.pt --tasks retrieval --baselines cca
    python eval.py --checkpoint runs/demo_VOLNet/best.pt --benchmark vggss --data.root FOLDER
    python eval.py --checkpoint runs/demo_PixelPlayer/best.pt
    python eval.py --checkpoint runs/demo_AVENet/best.pt --tasks probe      # a linear classifier on its features
    python eval.py --compare runs/demo_AVENet runs/demo_VOLNet          # evaluated runs beside each other

The net and its settings come from the checkpoint; any setting can be overridden (`--data.root DIR`).
"""

import json
from pathlib import Path

import numpy as np
import torch

from dataset.reading.public_benchmarks import BENCHMARKS
from evaluation.measures import ontology, retrieval
from evaluation.report import compare, report_page, text_table
from evaluation.tasks import correspondence
from evaluation.tasks.baselines import BASELINES, baseline_retrieval
from evaluation.tasks.embeddings import (
    embed_split,
    open_benchmark,
    open_eval_split,
    retrieval_vectors,
    warn_unknown_labels,
)
from evaluation.tasks.localization import (
    evaluate_benchmark,
    evaluate_boxes,
    location_maps,
    write_clip_video,
    write_map_images,
)
from evaluation.tasks.probe import probe_folder, probe_split
from evaluation.tasks.separation import separate_split
from evaluation.trained_net import load_trained_net
from utils.command_line import parse_command_line
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text
from utils.memory import disable_malloc_trim
from utils.run import read_log

TASKS = ("avc", "retrieval", "localization", "separation")  # unless --tasks says which
ALL_TASKS = (*TASKS, "probe")
PAIRS = 12  # separated mixtures whose sounds and pictures are written


def options(parser):
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="runs evaluated already: a table and compare.html")
    parser.add_argument("--split", default="test", help="which split to measure [test]")
    parser.add_argument("--out", metavar="DIR", help="where the results go [eval_SPLIT beside the checkpoint]")
    parser.add_argument("--tasks", nargs="+", choices=ALL_TASKS, default=TASKS, help="what to measure [all but probe]")
    parser.add_argument(
        "--baselines", nargs="+", choices=BASELINES, default=(), help="retrieval rows beside the net's own:\n"
        "cca: its features, aligned by a CCA fitted on train\nvgg16: VGG16's features of the frames\n"
        "vgg16+cca: those and the net's sounds, aligned",
    )  # fmt: skip
    parser.add_argument("--vgg16", metavar="FILE", default="imagenet", help="VGG16's weights [downloaded, 528 MB]")
    parser.add_argument("--benchmark", choices=BENCHMARKS, help="data.root is this benchmark: localisation only")
    parser.add_argument("--probe_folder", metavar="DIR", help="probe this folder of classes in folds, and nothing else")
    parser.add_argument("--untrained", action="store_true", help="probe a net with fresh weights too")
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="clips whose map is drawn [200]")
    parser.add_argument("--video", type=int, default=0, metavar="N", help="clips whose maps become a video [0]")


@torch.no_grad()
def main(argv=None):
    args, changes = parse_command_line(argv, __doc__, options)
    if args.compare:
        if args.checkpoint or changes:
            raise UserError(
                "--compare reads runs that were evaluated already: it takes neither --checkpoint nor settings"
            )
        return compare.write_comparison(args.compare, args.out)
    if not args.checkpoint:
        raise UserError("--checkpoint FILE is missing; training writes best.pt into its run directory")
    net = load_trained_net(args.checkpoint, changes)
    disable_malloc_trim()
    if args.probe_folder:
        out = out_folder(args.out or Path(args.checkpoint).parent / "eval_probe")
        measured, skipped = probe_folder(net, args.probe_folder, args.untrained)
        return finish(out, net, args.probe_folder, measured["files"], skipped, {"probe": measured})
    split, classes = args.benchmark or args.split, ontology.load_ontology(net.config.eval.ontology)
    if args.benchmark and not ("localization" in args.tasks and hasattr(net.model, "location_logits")):
        raise UserError(f"--benchmark {split} measures localisation, and {net.config.model.name} has no map of places")
    if hasattr(net.model, "mask_logits"):  # it parts sounds, and does nothing else
        if "separation" not in args.tasks:
            raise UserError(f"{net.config.model.name} is measured by separation alone: leave out --tasks")
        out = out_folder(args.out or Path(args.checkpoint).parent / f"eval_{split}")
        measured, clips, skipped = separate_split(net, split, classes, out, PAIRS)
        return finish(out, net, split, clips, skipped, {"separation": measured})
    return judge_embedded(args, net, split, classes)


def judge_embedded(args, net, split, classes):
    """Measure a net that embeds frames and sounds, on a split or a benchmark; returns what `finish` does."""
    model, config = net.model, net.config
    source = open_benchmark(config, split) if args.benchmark else open_eval_split(config, split)
    out = out_folder(args.out or Path(args.checkpoint).parent / f"eval_{split}")

    # One fixed instant per clip: embedded once, every measure looks at the same embeddings.
    seen = embed_split(model, config, *source)
    warn_unknown_labels(seen.labels, classes)
    metrics = {}
    if "avc" in args.tasks and not args.benchmark:
        metrics |= correspondence.evaluate_avc(net, seen)
    if "retrieval" in args.tasks and not args.benchmark:
        vectors = retrieval_vectors(model, seen)
        judge = (seen.labels, classes, config.eval.k, config.eval.gain, config.eval.whole_ranking, config.eval.queries)
        metrics["retrieval"] = retrieval.four_directions(*vectors, *judge)
        if args.baselines:
            rows = baseline_retrieval(args.baselines, model, config, split, vectors, judge, args.vgg16)
            metrics["retrieval"]["baselines"] = rows
    if "probe" in args.tasks and not args.benchmark:
        metrics["probe"] = probe_split(net, split, args.untrained)
    maps = boxes = None
    if "localization" in args.tasks and hasattr(model, "location_logits"):
        maps, size = location_maps(model, seen), config.data.frame_size
        if args.benchmark:
            metrics["localization"], boxes = evaluate_benchmark(maps, seen, size)
        else:
            boxes, measured = seen.boxes(), evaluate_boxes(maps, seen, size)
            metrics |= {"localization": measured} if measured else {}
            for k in np.linspace(0, len(maps) - 1, min(args.video, len(maps))).round().astype(int).tolist():
                write_clip_video(out / "video" / f"{seen.ids()[k]}.mp4", seen.clips, seen.indices[k], model, config)
        write_map_images(out / "localization", maps, boxes, seen, classes, args.pictures)
    looked_at = {"seen": seen, "classes": classes, "maps": maps, "boxes": boxes}
    return finish(out, net, split, len(seen.indices), seen.skipped, metrics, **looked_at)


def finish(out, net, split, clips, skipped, metrics, **looked_at):
    """Write metrics.json and the page, print the table; returns all that metrics.json holds.

    Args:
        out: Path. net: the `Net`. split: its name. clips: how many were measured. skipped: {id: reason} of the others.
        metrics: {task: its measures}. looked_at: what the page shows beside, see `evaluation.report.report_page.write_report_page`.
    """
    about = {"model": net.config.model.name, "split": split, "clips": clips, "skipped": len(skipped)}
    about |= {"checkpoint": net.path, "step": net.content["step"], "data": str(net.config.data.root)}
    metrics = about | metrics
    write_text(out / "metrics.json", json.dumps(metrics | {"skipped_clips": skipped}, indent=2) + "\n")
    log = read_log(Path(net.path).parent)
    print(text_table.metrics_table(metrics))
    shown = report_page.write_report_page(out, metrics, net, log, **looked_at)
    print(f"\nwritten: {out / 'metrics.json'}; to look at and to listen to: {shown}")
    return metrics


def out_folder(path):
    """Make the folder of the results: a Path."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"results can't be written to {path} ({error.strerror}): name another --out") from None
    return Path(path)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
