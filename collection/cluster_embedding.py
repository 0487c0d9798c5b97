"""Embed files on the machines of a Ray cluster: each loads the net once, and gets some files at a time."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from collection.parts import number_groups
from dataset.making.workers.clip_map import map_clips
from dataset.making.workers.processes import Lost
from dataset.making.workers.ray_cluster import RayCluster
from dataset.reading.media_folder import MediaItem
from evaluation.file_embedding import Collection, EmbedOptions, embed_files
from evaluation.trained_net import TrainedNet, load_trained_net
from utils.errors import UserError
from utils.memory import disable_malloc_trim

CALL_FILES = 32  # that a machine gets at a time: what it loses if it dies


def embed_on_cluster(
    cluster: RayCluster,
    checkpoint: str,
    changes: dict[str, str],
    items: Sequence[MediaItem],
    options: EmbedOptions,
    threads: int,
) -> Iterator[tuple[int, Collection]]:
    """Embed files on the machines of a cluster.

    Args:
        cluster: the machines.
        checkpoint: of the net, which all machines can read.
        changes: settings to override, {dotted name: text}.
        items: the files.
        options: what is embedded of each.
        threads: decoding threads of a machine.

    Yields:
        (number of the first file, rows of it and the next ones), in any order.

    Raises:
        UserError: a file crashes its decoder.
    """
    jobs = [
        (first, checkpoint, tuple(changes.items()), list(items[first : first + CALL_FILES]), options, threads)
        for first in range(0, len(items), CALL_FILES)
    ]
    for job, groups in map_clips(embed_some, jobs, cluster):
        if isinstance(groups, Lost):
            names = ", ".join(item.name for item in job[3])
            raise UserError(f"a decoder crashes on one of these files, move it away and repeat the command: {names}")
        yield from groups


def embed_some(
    first: int,
    checkpoint: str,
    changes: tuple[tuple[str, str], ...],
    items: list[MediaItem],
    options: EmbedOptions,
    threads: int,
) -> list[tuple[int, Collection]]:
    """Embed some files on this machine.

    Args:
        first: number of the first one.
        checkpoint, changes, options, threads: as of `embed_on_cluster`.
        items: the files.

    Returns:
        (number of the first file, rows of it and the next ones).
    """
    groups = embed_files(_load(checkpoint, changes), items, options, threads)
    return list(number_groups(groups, first))


@lru_cache(maxsize=1)
def _load(checkpoint: str, changes: tuple[tuple[str, str], ...]) -> TrainedNet:
    disable_malloc_trim()
    return load_trained_net(checkpoint, dict(changes)).folded()
