"""Numbers for Weights & Biases, a package that need not be installed: train.log wandb."""

import importlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError, first_line
from utils.files import read_text, write_text

PROJECT = "objects-that-sound"  # WANDB_PROJECT names another one


def require_wandb() -> Any:
    """Import wandb.

    Raises:
        UserError: it is not installed, or can't be imported.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == "wandb" else f" ({error})"
        raise UserError(
            f"train.log wandb needs the package wandb{reason}: pip install wandb, or set --train.log tensorboard"
        ) from None


class WandbLog:
    """The run in Weights & Biases: one for all starts of a training, named by its folder.

    Args:
        folder: of the run; wandb/ in it holds its files, wandb/id its name there.
        config: {section: {setting: value}}.

    Raises:
        UserError: wandb is missing, or refuses to start, for example without a key.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = require_wandb()
        (folder / "wandb").mkdir(exist_ok=True)
        file = folder / "wandb" / "id"
        if not file.exists():
            write_text(file, secrets.token_hex(8) + "\n")
        try:
            self._run = wandb.init(
                dir=str(folder),
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=folder.resolve().name,
                id=read_text(file).strip(),
                config=dict(config),
                resume="allow",
            )
            self._run.define_metric("*", step_metric="step")  # a resumed run may repeat steps
        except wandb.Error as error:
            raise UserError(
                f"wandb can't start ({first_line(error)}): run wandb login, or set WANDB_MODE=offline, or --train.log "
                "tensorboard"
            ) from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers.

        Args:
            step: updates so far.
            values: {"train/loss": number}.
        """
        if values:
            self._run.log(dict(values) | {"step": step})

    def close(self) -> None:
        """End the run there, so that its last numbers are written."""
        self._run.finish()
