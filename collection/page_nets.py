"""Which nets the page of search.py uses, and what for: to search, to localize sounding objects, to separate sounds.

A net for videos is loaded by the worker processes; here it is only looked at, so that a wrong one is refused at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collection.search_index import SearchIndex, collection_settings, open_search_index
from collection.storage import Collection, file_digest, load_collection, output_paths
from collection.video_tasks import VideoTask
from evaluation.file_embedding import refuse_multiframe
from evaluation.trained_net import TrainedNet, load_trained_net
from models.interfaces import LocalizingNet, SeparatingNet
from utils.errors import UserError

TASK_NAMES: dict[VideoTask, str] = {"where": "localize sounding objects", "apart": "separate sounds"}


@dataclass(frozen=True)
class PageNets:
    """What the page offers.

    Attributes:
        index: the collection to search, or None.
        tasks: {what is done with videos: (checkpoint, settings to override)}.
    """

    index: SearchIndex | None
    tasks: dict[VideoTask, tuple[str, dict[str, Any]]]


def choose_nets(name: str, checkpoints: Sequence[str], files: str, changes: dict[str, str]) -> PageNets:
    """Open the collection, and find out what each checkpoint is for.

    Args:
        name: of the collection, the --out of embed.py; "" for none.
        checkpoints: files, one for each net.
        files: folder of the collection's files; "": where they were.
        changes: settings to override, {dotted name: text}.

    Raises:
        UserError: there is nothing to show, or the options don't fit together.
    """
    if not name and not checkpoints:
        raise UserError("nothing to show: give --collection NAME, --checkpoint FILE of AVOLNet or PixelPlayer, or both")
    if files and not name:
        raise UserError("--files is the folder of a collection: give --collection NAME too, or leave it out")
    rest = [load_trained_net(path, changes) for path in checkpoints]
    index: SearchIndex | None = None
    tasks: dict[VideoTask, tuple[str, dict[str, Any]]] = {}
    if name:
        collection = load_collection(output_paths(name).npz)
        own = _own_checkpoint(collection, rest)
        index = open_search_index(collection, own, files, changes)
        if index.localizes:
            tasks["where"] = own, collection_settings(collection, changes)
        rest = [net for net in rest if net.path != own]
    for net in rest:
        task = _task_of(net)
        if task in tasks:
            both = f"both {tasks[task][0]} and {net.path}"
            raise UserError(f"{both} {TASK_NAMES[task]}: give one checkpoint for each task")
        tasks[task] = net.path, changes
    return PageNets(index, {task: tasks[task] for task in TASK_NAMES if task in tasks})  # in the order of the tabs


def _own_checkpoint(collection: Collection, given: list[TrainedNet]) -> str:
    """The checkpoint that embedded a collection: one of those given, or else where it was."""
    about = collection.about
    same = [net.path for net in given if file_digest(net.weights_file) == about["digest"]]
    if same or not given or Path(about["checkpoint"]).exists():
        return (same or [about["checkpoint"]])[0]
    return given[0].path  # which `open_search_index` refuses


def _task_of(net: TrainedNet) -> VideoTask:
    """What a net does with videos."""
    if isinstance(net.model, SeparatingNet):
        return "apart"
    if isinstance(net.model, LocalizingNet):
        refuse_multiframe(net)
        return "where"
    raise UserError(
        f"{net.path} holds {net.config.model.name}, which neither localizes nor separates sounds and embedded no given "
        "collection: use a checkpoint of AVOLNet or PixelPlayer, or give --collection"
    )
