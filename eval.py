"""Evaluate a checkpoint on a split: correspondence, retrieval, localization, separation; metrics.json and report.html.

    python eval.py --checkpoint runs/demo_AVENet/best.pt
    python eval.py --checkpoint runs/demo_L3Net/best.pt --tasks retrieval --baselines cca
    python eval.py --checkpoint runs/demo_VOLNet/best.pt --benchmark vggss --data.root FOLDER
    python eval.py --checkpoint runs/demo_PixelPlayer/best.pt
    python eval.py --checkpoint runs/demo_AVENet/best.pt --tasks probe      # a linear classifier on its features
    python eval.py --checkpoint runs/demo_AVENet/best.pt --tasks finetune   # its encoders trained on with labels
    python eval.py --checkpoint runs/demo_AVENet/best.pt --ids FILE         # on the clips of this list alone
    python eval.py --compare runs/demo_AVENet runs/demo_VOLNet          # evaluated runs side by side
    python eval.py --embeddings FILE.npz --data.root FOLDER     # another program's results: docs/other_nets.md

The net and its settings come from the checkpoint; any setting can be overridden (`--data.root DIR`).
The results of another program take their settings from `--config FILE`.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse

from dataset.reading.benchmarks.names import BENCHMARK_NAMES
from evaluation.tasks.names import BASELINES, DEFAULT_TASKS, PROBE_TASKS, TASK_NAMES
from utils.arguments import answer_help, at_least
from utils.command_line import parse_command_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of eval.py to `parser`."""
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    given = {"embeddings": "FILE", "maps": "DIR", "separated": "DIR"}
    what = {"embeddings": "vectors, an npz file", "maps": "maps, CLIP.npy", "separated": "sounds of --write_mixtures"}
    for kind, form in given.items():
        parser.add_argument(f"--{kind}", metavar=form, help=f"measure what another program wrote: {what[kind]}")
    parser.add_argument("--config", metavar="FILE", help="settings for what another program wrote [configs/config_*]")
    parser.add_argument("--write_embeddings", metavar="FILE", help="also write what was embedded, for --embeddings")
    parser.add_argument("--write_mixtures", metavar="DIR", help="write the mixtures for another program to separate")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="evaluated runs: a table and compare.html")
    parser.add_argument("--split", default="test", help="which split to measure [test]")
    parser.add_argument(
        "--ids", metavar="FILE", help="measure on the clips of this list alone, in its order; any format of lists"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the results [eval_SPLIT next to the checkpoint]")
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=TASK_NAMES,
        default=DEFAULT_TASKS,
        help="what to measure [all but probe, finetune]",
    )
    parser.add_argument(
        "--baselines", nargs="+", choices=BASELINES, default=(), help="baselines of retrieval:\n"
        "cca: the net's features, aligned by a CCA fitted on train\nvgg16: VGG16's features of the frames\n"
        "vgg16+cca: those and the net's sounds, aligned",
    )  # fmt: skip
    parser.add_argument("--vgg16", metavar="FILE", default="imagenet", help="VGG16's weights [downloaded, 528 MB]")
    parser.add_argument("--benchmark", choices=BENCHMARK_NAMES, help="data.root is this benchmark: localization only")
    parser.add_argument(
        "--probe_folder",
        metavar="DIR",
        help="probe this folder of classes in folds, and nothing else; --tasks finetune: fine-tune on it",
    )
    parser.add_argument(
        "--audible_and_visible",
        action="store_true",
        help="of VGG-SS, the clips whose class can be heard and seen; needs the package vggsounder",
    )
    parser.add_argument("--untrained", action="store_true", help="also probe, or fine-tune, a net with fresh weights")
    parser.add_argument(
        "--pictures", type=at_least(0), default=200, metavar="N", help="clips whose maps are drawn [200]"
    )
    parser.add_argument("--video", type=at_least(0), default=0, metavar="N", help="clips whose maps become a video [0]")


if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_command_line(None, __doc__, add_options))

import json
import sys
from pathlib import Path
from typing import Any

from dataset.mixes import MixtureDataset, find_mixtures
from dataset.reading.benchmarks.benchmark import Benchmark
from dataset.reading.reader import open_split
from evaluation.given.evaluate import evaluate_given, given_kind, given_net
from evaluation.given.sounds import write_mixtures
from evaluation.given.write import write_embeddings
from evaluation.measures.ontology import load_ontology
from evaluation.report.compare import write_comparison
from evaluation.report.html_report import write_report
from evaluation.report.notes import small_split_note
from evaluation.report.page_content import PageContent, RunInfo
from evaluation.report.text_table import metrics_table
from evaluation.tasks.all_tasks import choose_tasks
from evaluation.tasks.benchmark_choice import BenchmarkChoice
from evaluation.tasks.clip_list import Choice, choose_clips, list_note, read_clip_list
from evaluation.tasks.embeddings import EvalSplit, as_eval_split, open_benchmark, open_eval_split
from evaluation.tasks.probe_folder import probe_folder
from evaluation.tasks.task import EvalContext, EvalOptions, TaskResult
from evaluation.trained_net import TrainedNet, load_trained_net
from utils.config import Config, changed_settings
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text
from utils.locks import lock_folder
from utils.memory import disable_malloc_trim, reserve_blas_buffers
from utils.run import read_log


def main(argv: list[str] | None = None) -> dict[str, Any] | Path:
    """Evaluate a checkpoint, or compare runs: returns the content of metrics.json, or the path of compare.html."""
    args, changes = parse_command_line(argv, __doc__, add_options)
    if args.compare:
        if args.checkpoint or args.ids or changes:
            raise UserError(
                "--compare reads runs that are already evaluated: it takes neither --checkpoint, --ids nor settings"
            )
        return write_comparison(args.compare, args.out)
    kind = given_kind(args)
    if args.write_mixtures:
        return export_mixtures(args, changes)
    if not args.checkpoint and not kind:
        raise UserError("--checkpoint FILE is missing; training writes best.pt into its run directory")
    if args.config and not kind:
        raise UserError("a checkpoint has its own config: leave out --config, or change settings by their names")
    if args.ids and args.probe_folder:
        raise UserError("--ids chooses clips, and --probe_folder probes a whole folder: leave out one of the two")
    if args.audible_and_visible and not args.benchmark:
        raise UserError("--audible_and_visible chooses clips of VGG-SS: add --benchmark vggss, or leave it out")
    if kind:
        path = Path(getattr(args, kind))
        net, run_dir = given_net(kind, path, args.config, changes), path.with_suffix("") if path.is_file() else path
    else:
        net = load_trained_net(args.checkpoint, changes)
        run_dir = net.weights_file.parent
    disable_malloc_trim()
    reserve_blas_buffers()
    out = Path(args.out or run_dir / ("eval_probe" if args.probe_folder else f"eval_{args.benchmark or args.split}"))
    with lock_folder(out, "--out"):
        return evaluate(args, net, out, kind)


def export_mixtures(args: argparse.Namespace, changes: dict[str, str]) -> Path:
    """Write the mixtures of a split for another program to separate.

    Args:
        args: the command line.
        changes: settings to override, {dotted name: text}.

    Returns:
        the folder.
    """
    folder = Path(args.write_mixtures)
    config = given_net("separated", folder, args.config, changes).config
    data, _ = open_data(args, config)
    clips = data.clips
    assert not isinstance(clips, Benchmark)
    mixtures = find_mixtures(clips, config.mix)[0]
    with lock_folder(folder, "--write_mixtures"):
        unreadable = write_mixtures(
            folder, config, MixtureDataset(clips, config.data, config.mix, middle=True), mixtures
        )
    for reason in unreadable.values():
        print(f"warning: {reason}: its mixtures are left out", file=sys.stderr)
    print(f"{folder}: add pred_1.wav ... to each folder, then measure them with eval.py --separated {folder}")
    return folder


def open_data(args: argparse.Namespace, config: Config) -> tuple[EvalSplit, Choice]:
    """Open what the command line `args` measures on, of the dataset of `config`; also say which clips were chosen."""
    if args.benchmark:
        choice = BenchmarkChoice(args.benchmark, config.data.root, args.ids, args.audible_and_visible)
        return open_benchmark(config, args.benchmark, choice.choose), choice.told
    if not args.ids:
        return open_eval_split(config, args.split), Choice({}, [])
    wanted = read_clip_list(Path(args.ids), args.split)
    clips, about = choose_clips(open_split(config.data, args.split), wanted)
    return as_eval_split(config, clips), Choice({"ids": about}, [list_note(about)])


def evaluate(args: argparse.Namespace, net: TrainedNet, out: Path, kind: str | None = None) -> dict[str, Any]:
    """Evaluate a net and write the results.

    Args:
        args: the command line.
        net: the net.
        out: folder of the results, which no other process writes to.
        kind: the results of another program are measured, of this kind; None: the net is.

    Returns:
        the content of metrics.json.
    """
    if args.probe_folder:
        probes = [task for task in args.tasks if task in PROBE_TASKS] or ["probe"]
        folder = Path(args.probe_folder)
        return write_results(out, net, args.probe_folder, [probe_folder(net, folder, out, args.untrained, probes)])
    split = args.benchmark or args.split
    tasks = [] if kind else choose_tasks(net, args.tasks, args.benchmark)
    ontology = load_ontology(net.config.eval.ontology)
    data, told = open_data(args, net.config)
    options = EvalOptions(args.baselines, args.vgg16, args.pictures, args.video, args.untrained)
    context = EvalContext(net, split, data, ontology, out, options)
    if kind:
        results, account = evaluate_given(context, kind, args.tasks)
        told = Choice(told.values | {"given": account.values()}, [*told.notes, *account.notes()])
        for note in account.notes()[1:]:
            print(f"warning: {note}", file=sys.stderr)
    else:
        results = [task.run(context) for task in tasks]
    if args.write_embeddings:
        write_embeddings(Path(args.write_embeddings), context)
    return write_results(out, net, split, results, told)


def write_results(
    out: Path, net: TrainedNet, split: str, results: list[TaskResult], told: Choice | None = None
) -> dict[str, Any]:
    """Write metrics.json and report.html, and print the table of measures.

    Args:
        out: folder of the results.
        net: the net.
        split: what was measured: name of a split or benchmark, or a folder.
        results: of the tasks, of the same clips.
        told: which clips were chosen, or None.

    Returns:
        The measures of metrics.json.
    """
    given = bool(told and "given" in told.values)
    name = Path(net.path).stem if given else net.config.model.name
    metrics: dict[str, Any] = {"model": name, "split": split, "clips": results[0].clips}
    skipped, page = results[0].skipped, PageContent()
    metrics |= {"skipped": len(skipped)}
    metrics |= {} if given else {"checkpoint": net.path, "step": net.content["step"]}
    metrics["data"] = str(net.config.data.root)
    metrics |= told.values if told else {}
    for result in results:
        metrics |= result.metrics
        page |= result.page
    notes = list(dict.fromkeys(note for result in results for note in result.notes))
    notes += told.notes if told else []
    if small := small_split_note(metrics):
        notes.append(small)
    metrics |= {"notes": notes} if notes else {}
    write_text(out / "metrics.json", json.dumps(metrics | {"skipped_clips": skipped}, indent=2) + "\n")
    print(metrics_table(metrics))
    run = RunInfo(changed_settings(net.config), [] if given else read_log(Path(net.path).parent))
    report = write_report(out, metrics, run, page)
    print(f"\nwritten: {out / 'metrics.json'}; report with images and sounds: {report}")
    return metrics


if __name__ == "__main__":
    with exit_on_user_error("lower --eval.batch_size", "lower --eval.batch_size"):
        main()
