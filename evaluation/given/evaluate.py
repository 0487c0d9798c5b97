"""Measure the results of another program on a split: its embeddings, its maps, or its separated sounds."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dataset.making.text import count_text
from dataset.mixes import find_mixtures
from dataset.reading.benchmarks.benchmark import Benchmark
from evaluation.given.account import Account
from evaluation.given.maps import list_maps, read_maps
from evaluation.given.nets import GivenEmbeddings, NoSeparation
from evaluation.given.sounds import read_mixture_table
from evaluation.given.vectors import MODALITIES, GivenVectors, read_vectors
from evaluation.tasks.correspondence import CorrespondenceTask
from evaluation.tasks.embeddings import SplitEmbeddings, labels_of, readable_batches
from evaluation.tasks.given_maps import measure_given_maps
from evaluation.tasks.retrieval import RetrievalTask
from evaluation.tasks.separation import SeparationTask
from evaluation.tasks.task import EvalContext, Task, TaskResult
from evaluation.trained_net import TrainedNet
from utils.config import load_config, override
from utils.errors import UserError

KINDS = ("embeddings", "maps", "separated")
TASKS_OF = {"embeddings": ("avc", "retrieval"), "maps": ("localization",), "separated": ("separation",)}
CONFIGS = {"separated": "configs/config_PixelPlayer.py"}  # of --config; else that of AVE-Net
UNCALIBRATED = ("auc", "auc_error", "pairs")  # what scores that aren't log-odds allow of the section "avc"
SAME_TIME = 1e-3  # seconds


def given_kind(args: argparse.Namespace) -> str | None:
    """Find which of KINDS the command line `args` gives; None: a checkpoint is evaluated.

    Raises:
        UserError: several, or options that need a net.
    """
    given = [kind for kind in KINDS if getattr(args, kind)]
    sources = given + [name for name in ("checkpoint", "write_mixtures") if getattr(args, name)]
    if len(sources) > 1:
        raise UserError(f"--{' and --'.join(sources)} exclude each other: give one of them")
    if not given:
        return None
    needing = {"baselines": args.baselines, "probe_folder": args.probe_folder, "untrained": args.untrained}
    needing |= {"video": args.video, "write_embeddings": args.write_embeddings}
    for name, value in needing.items():
        if value:
            raise UserError(f"--{name} needs a net: give --checkpoint, or leave it out with --{given[0]}")
    if args.benchmark and given[0] != "maps":
        raise UserError(f"--benchmark {args.benchmark} measures localization: give --maps, or leave it out")
    return given[0]


def given_net(kind: str, path: Path, config_file: str | None, changes: dict[str, str]) -> TrainedNet:
    """Build what stands in the place of a net: its settings, and where its results are.

    Args:
        kind: one of KINDS.
        path: of the results.
        config_file: of --config, or None for that of `kind`.
        changes: settings to override, {dotted name: text}.

    Raises:
        UserError: the config can't be read, or a setting is wrong.
    """
    config = load_config(config_file or CONFIGS.get(kind, "configs/config_AVENet.py"))
    config = override(config, changes)
    if config.data.moments > 1:
        config = override(config, {"data.moments": 1})  # the results are of one moment
    return TrainedNet(NoSeparation(), config, {"metrics": {}}, str(path))


def evaluate_given(context: EvalContext, kind: str, names: Iterable[str]) -> tuple[list[TaskResult], Account]:
    """Measure the results of another program.

    Args:
        context: of the evaluation; its net is that of `given_net`.
        kind: one of KINDS.
        names: the tasks that are asked for.

    Returns:
        what the tasks have measured, and what is reported of the results.

    Raises:
        UserError: the results have another form, or fit no clip; or none of the tasks measures them.
    """
    wanted = [name for name in TASKS_OF[kind] if name in names]
    if not wanted:
        raise UserError(f"--{kind} is measured by --tasks {' '.join(TASKS_OF[kind])}: name one of these")
    measure = {"embeddings": _measure_vectors, "maps": _measure_maps, "separated": _measure_sounds}[kind]
    results, account = measure(context, Path(context.net.path), wanted)
    return results, account


def _measure_vectors(context: EvalContext, path: Path, wanted: list[str]) -> tuple[list[TaskResult], Account]:
    rows, split = read_vectors(path), find_instants(context)
    account = Account("embeddings", path)
    chosen, kept = _choose_rows(rows, split, account)
    frames, sounds = (torch.from_numpy(rows.vectors[chosen[:, side]]) for side in range(2))
    log_odds = None
    if rows.log_odds is not None:
        order = [_ranks(rows.modalities, modality)[chosen[:, side]] for side, modality in enumerate(MODALITIES)]
        log_odds = torch.from_numpy(rows.log_odds[np.ix_(*order)])
    model = GivenEmbeddings(frames, sounds, log_odds, rows.ranks_by_log_odds)
    net = replace(context.net, model=model, content={"metrics": {"threshold": rows.threshold}})
    numbers = torch.arange(len(kept))[:, None]
    context = replace(context, net=net, given=_take(split, kept, numbers))
    tasks: dict[str, Task] = {"avc": CorrespondenceTask(), "retrieval": RetrievalTask()}
    results = [tasks[name].run(context) for name in wanted]
    if log_odds is None:
        results = [_without_threshold(result) for result in results]
    return results, account


def _without_threshold(result: TaskResult) -> TaskResult:
    """Leave out what needs log-odds, of which distances know no threshold."""
    if "avc" not in result.metrics:
        return result
    avc = {key: value for key, value in result.metrics["avc"].items() if key in UNCALIBRATED}
    note = "the file has no log_odds, so of correspondence the AUC alone is measured, by the distance of the vectors"
    return replace(result, metrics={"avc": avc}, notes=(*result.notes, note))


def _measure_maps(context: EvalContext, path: Path, wanted: list[str]) -> tuple[list[TaskResult], Account]:
    listed, split = list_maps(path), find_instants(context)
    account = Account("maps", path)
    known, every = set(listed), {*context.data.clips.ids, *split.skipped}
    kept = [k for k, clip in enumerate(split.ids) if clip in known]
    account.missing.extend(clip for clip in split.ids if clip not in known)
    account.unknown.extend(clip for clip in listed if clip not in every)
    _require(kept, path, split, listed[0])
    maps = read_maps(path, [split.ids[k] for k in kept])
    context = replace(context, given=_take(split, kept, torch.arange(len(kept))[:, None]))
    return [measure_given_maps(context, maps)], account


def _measure_sounds(context: EvalContext, path: Path, wanted: list[str]) -> tuple[list[TaskResult], Account]:
    clips, config = context.data.clips, context.config
    assert not isinstance(clips, Benchmark), "benchmarks have boxes only"
    sounds, (mixtures, _) = read_mixture_table(path, config.mix.sources), find_mixtures(clips, config.mix)
    names = [[clips.ids[index] for index in mixture] for mixture in mixtures]
    keys = {tuple(sorted(mixture)) for mixture in names}
    account = Account("separated", path, "mixture", doubled=sounds.doubled)
    account.missing.extend("+".join(mixture) for mixture in names if not sounds.has(mixture))
    account.unknown.extend("+".join(order) for order in sounds.folders if tuple(sorted(order)) not in keys)
    if len(account.missing) == len(names):
        first = sounds.folder / next(iter(sounds.folders.values()), "0001") / "pred_1.wav"
        raise UserError(
            f"{path} has the separated sounds of no mixture of {clips.folder} (such as {first}): check --data.root "
            "and the settings of mix, and add the sounds to the folders of --write_mixtures"
        )
    return [SeparationTask().run(replace(context, sounds=sounds))], account


# ------------------------------------------------------------------------------------------- the clips and their rows


def find_instants(context: EvalContext) -> SplitEmbeddings:
    """Find at which time each readable clip of a split is evaluated, by reading it as an evaluation of a net does.

    Args:
        context: of the evaluation.

    Returns:
        the clips, without embeddings.

    Raises:
        UserError: see `evaluation.tasks.embeddings.readable_batches`.
    """
    clips, dataset = context.data
    skipped, indices, times = dict(clips.skipped), list[int](), list[float]()
    for batch in readable_batches(context.config, context.data, skipped):
        indices += batch["indices"].tolist()
        times += batch["times"].tolist()
    nothing = torch.empty(0)
    return SplitEmbeddings(clips, dataset, nothing, nothing, indices, times, labels_of(clips, indices), skipped)


def _take(split: SplitEmbeddings, kept: list[int], numbers: torch.Tensor) -> SplitEmbeddings:
    """Take some clips of a split, whose embeddings are `numbers`, (N, 1)."""
    indices, times = [split.indices[k] for k in kept], [split.times[k] for k in kept]
    return replace(split, v=numbers, a=numbers, indices=indices, times=times, labels=[split.labels[k] for k in kept])


def _choose_rows(rows: GivenVectors, split: SplitEmbeddings, account: Account) -> tuple[np.ndarray, list[int]]:
    """Choose the rows of each clip: (N, 2) of its frame and its sound, and which clips have both."""
    of: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(rows.clips, rows.modalities, strict=True)):
        of.setdefault(key, []).append(row)
    chosen, kept, offsets = list[list[int]](), list[int](), list[float]()
    for k, (clip, time) in enumerate(zip(split.ids, split.times, strict=True)):
        found = [_nearest(rows, of.get((clip, modality), []), time) for modality in MODALITIES]
        if absent := [modality for modality, same in zip(MODALITIES, found, strict=True) if not same]:
            account.missing.append(clip if len(absent) == 2 else f"{clip}: no {absent[0]}")
            continue
        if any(len(same) > 1 for same in found):
            account.doubled.append(clip)
        kept.append(k)
        chosen.append([same[0] for same in found])
        if rows.times is not None:
            offsets.append(float(np.abs(rows.times[chosen[-1]] - time).max()))
    every = {*split.clips.ids, *split.skipped}
    account.unknown.extend(clip for clip in dict.fromkeys(rows.clips) if clip not in every)
    _require(kept, rows.path, split, rows.clips[0])
    if others := [offset for offset in offsets if offset > SAME_TIME]:
        account.remarks.append(
            f"for {len(others)} of {len(kept)} clips no row is at the evaluated time: the nearest is measured, up to "
            f"{max(others):.2f} s from it"
        )
    return np.array(chosen), kept


def _nearest(rows: GivenVectors, found: list[int], time: float) -> list[int]:
    """Of a clip's rows those at the time nearest to `time`: one, if none is doubled."""
    if rows.times is None or not found:
        return found
    distances = np.abs(rows.times[found] - time)
    nearest = rows.times[found[int(distances.argmin())]]
    return [row for row in found if rows.times[row] == nearest]


def _ranks(modalities: list[str], modality: str) -> np.ndarray:
    """The number of each row among those of its modality, (R,)."""
    return np.cumsum(np.array(modalities) == modality) - 1


def _require(kept: list[int], path: Path, split: SplitEmbeddings, such_as: str) -> None:
    """Raise a UserError unless at least two clips have a result."""
    if len(kept) < 2:
        folder = getattr(split.clips, "folder", "the benchmark")
        raise UserError(
            f"{path} has results for {count_text(len(kept), 'clip')} of {folder}, and an evaluation needs 2: its clips "
            f"are named like {such_as!r}, those of the dataset like {split.clips.ids[0]!r}"
        )
