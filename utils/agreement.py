"""What processes that train together must have in common, compared before they begin: else they would train on with
different orders of clips, and wait for each other for ever.
"""

import json
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import torch

from configs.schema import Config
from utils import distributed
from utils.config import list_settings
from utils.process_errors import EveryProcessError

# Settings that may differ between machines: folders, files, and what a machine has of memory and cores.
LOCAL_SETTINGS = {
    "data.root", "data.cache_gb", "data.features_dir", "data.flow_dir", "train.run_dir", "train.workers",
    "mix.pairs", "model.init_from", "eval.ontology",
}  # fmt: skip
CODE = Path(__file__).parent.parent
PACKAGES = ("dataset", "evaluation", "models", "utils")  # the code that trains; settings are compared by value
LOOK_SECONDS = 10.0  # for a file of process 0: network file systems show it late


class Clips(Protocol):
    """Clips of a split."""

    @property
    def ids(self) -> Sequence[str]:
        """Their ids, in order."""
        ...

    @property
    def labels(self) -> Sequence[Sequence[str]]:
        """Their labels: mixtures for validation are drawn by them."""
        ...


def check_agreement(config: Config, splits: Mapping[str, Clips], device: torch.device) -> None:
    """Compare the code, the settings and the clips of all processes; nothing happens in a single one.

    Args:
        config: of this process.
        splits: {name: clips} that this process reads.
        device: on which this process trains.

    Raises:
        EveryProcessError: they differ; in all processes, with the same sentence.
    """
    if distributed.world_size() == 1:
        return
    facts = {
        "host": socket.gethostname(),
        "code": code_digest(),
        "versions": {"torch": torch.__version__, "the device": device.type},
        "settings": {n: s.value for n, s in list_settings(config).items() if n not in LOCAL_SETTINGS},
        "clips": {
            split: (len(clips.ids), _digest(json.dumps([list(clips.ids), list(clips.labels)]).encode()))
            for split, clips in splits.items()
        },
    }
    first, *others = distributed.all_gather_object(facts)
    for number, other in enumerate(others, 1):
        if difference := describe_difference(other, first):
            here = f"process {number} on {other['host']}"
            raise EveryProcessError(difference.format(here=here, first=f"process 0 on {first['host']}"))


def describe_difference(other: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Say what differs between two processes, "" if nothing does.

    Args:
        other: facts of one, see `check_agreement`.
        first: of process 0.

    Returns:
        a sentence with the places {here} and {first} for the two.
    """
    if other["code"] != first["code"]:
        return "{here} runs another version of this code than {first}: give all machines the same one"
    for name, value in first["versions"].items():
        if other["versions"][name] != value:
            return f"{name} of {{here}} is {other['versions'][name]}, of {{first}} {value}: they must be the same"
    for name in sorted(first["settings"].keys() | other["settings"].keys()):
        here, there = (one["settings"].get(name, "not set") for one in (other, first))
        if here != there:
            here, there = (str(value).replace("{", "{{").replace("}", "}}") for value in (here, there))
            return f"--{name} of {{here}} is {here}, of {{first}} {there}: start all processes with the same settings"
    for split, (count, digest) in first["clips"].items():
        own, own_digest = other["clips"][split]
        if own_digest != digest:
            return (
                f"the {split} clips of {{here}}, or their labels, are not those of {{first}} ({own} here, {count} "
                "there): give all machines the same dataset (--data.root)"
            )
    return ""


def code_digest() -> str:
    """Compute a digest of the code that trains."""
    files = [*CODE.glob("train_*.py"), *(file for package in PACKAGES for file in (CODE / package).rglob("*.py"))]
    named = sorted((file.relative_to(CODE).as_posix(), file.read_bytes()) for file in files)
    return _digest(b"\0".join(name.encode() + b"\0" + content for name, content in named))


def check_shared_folder(folder: Path) -> None:
    """Check that all processes see the run directory of process 0; nothing happens in a single one.

    Each of them may become process 0 when torchrun restarts them: it would start from the beginning without it.

    Args:
        folder: the run directory, which exists in process 0.

    Raises:
        EveryProcessError: one doesn't see it; in all processes, with the same sentence.
    """
    if distributed.world_size() == 1:
        return
    name = distributed.broadcast_object(f".config.json.{secrets.token_hex(8)}.tmp")  # `Run` removes what a kill leaves
    mark = folder / name
    try:
        if distributed.rank() == 0:
            mark.touch()
        distributed.broadcast_object(None)  # it is written
        seen = distributed.all_gather_object((_appears(mark), socket.gethostname(), str(folder.absolute())))
    finally:
        if distributed.rank() == 0:
            mark.unlink(missing_ok=True)
    for number, (is_seen, host, place) in enumerate(seen):
        if not is_seen:
            raise EveryProcessError(
                f"process {number} on {host} doesn't see the run directory of process 0 on {seen[0][1]} ({place}; "
                f"{seen[0][2]} there): choose a --train.run_dir that all machines share"
            )


def _appears(mark: Path) -> bool:
    """Look for a file for some seconds."""
    end = time.monotonic() + LOOK_SECONDS
    while not mark.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
