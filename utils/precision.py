"""The numbers that nets compute with: bf16, fp16 or fp32, and the scale of the loss in fp16."""

from typing import Any, cast

import torch
from torch import Tensor

from utils.errors import UserError
from utils.files import StrPath

# A scale that only an error of the training reaches: 30 updates in a row have overflowed (fairseq stops here, too).
MIN_SCALE = 1e-4
MAX_SCALE = 2.0**100  # larger ones, or counts of this size, are damage


def resolve_precision(device: torch.device, precision: str) -> str:
    """Decide in which precision nets run on a device: "bf16", "fp16" or "fp32".

    Args:
        device: of the net.
        precision: "bf16", "fp16" or "fp32"; "auto": bf16 where the hardware has instructions for it; without them
            fp16 on a GPU, fp32 on a CPU, where fp16 and emulated bf16 are slower than fp32.

    Raises:
        UserError: a GPU has no instructions for bf16, and it is asked for: emulation is far slower than fp16.
    """
    if device.type == "cuda":
        supported, otherwise = torch.cuda.is_bf16_supported(including_emulation=False), "fp16"
    else:
        supported, otherwise = _cpu_has_bf16(), "fp32"
    if precision == "auto":
        return "bf16" if supported else otherwise
    if precision == "bf16" and device.type == "cuda" and not supported:
        raise UserError(
            f"train.precision is bf16, for which {torch.cuda.get_device_name()} has no hardware: set --train.precision "
            "auto, which is fp16 on such a card"
        )
    return precision


def _cpu_has_bf16() -> bool:
    """Check whether the processor has instructions for bf16."""
    if hasattr(torch.cpu, "get_capabilities"):
        features = torch.cpu.get_capabilities()
        return any(features.get(f"{name}_bf16") for name in ("avx512", "amx", "arm"))
    return bool(torch.cpu._is_avx512_bf16_supported())  # torch 2.9


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Make a context that runs nets in a precision.

    Args:
        device: of the net.
        precision: see `resolve_precision`.
    """
    resolved = resolve_precision(device, precision)
    kind = torch.float16 if resolved == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=resolved != "fp32")


class LossScaler:
    """Takes the steps of a run's optimizers; in fp16 it scales the loss, so that small gradients don't become 0.

    An update whose gradients overflow is left out for all weights, and the scale is halved (Micikevicius et al., Mixed
    Precision Training, arXiv 1710.03740, sec. 3.2). In other precisions nothing is scaled. In fp16 each step waits for
    the device once.

    Args:
        device: of the net.
        precision: of `resolve_precision`.
        optimizers: of the run.

    Attributes:
        enabled: whether it scales.
        exhausted: whether the gradients overflow at any scale: the training can't go on.
    """

    def __init__(self, device: torch.device, precision: str, optimizers: list[torch.optim.Optimizer]) -> None:
        self.enabled, self.exhausted = precision == "fp16", False
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.enabled)
        self._optimizers = _AllOptimizers(optimizers)

    @property
    def scale(self) -> float:
        """What the loss is multiplied by; waits for the device."""
        return self._scaler.get_scale()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar `loss`, scaled."""
        self._scaler.scale(loss).backward()

    def step(self) -> bool:
        """Let all optimizers step, or none if a gradient overflowed; returns whether they did."""
        stepped = bool(self._scaler.step(cast(torch.optim.Optimizer, self._optimizers)))
        self._scaler.update()
        if not stepped:
            self.exhausted = self.scale < MIN_SCALE
        return stepped

    def state_dict(self) -> dict[str, Any]:
        """Give what resuming needs: {name: number}; {} if nothing is scaled."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any] | None, path: StrPath) -> None:
        """Go on with the scale of a run; one that was not in fp16 has none.

        Args:
            state: of `state_dict`, of a checkpoint; None of older versions.
            path: of the checkpoint, for messages.

        Raises:
            UserError: the state is damaged.
        """
        if not self.enabled or not state:
            return
        scale, steps = state.get("scale"), state.get("_growth_tracker")
        if not isinstance(scale, float) or not 0 < scale <= MAX_SCALE or type(steps) is not int or not 0 <= steps < 1e9:
            raise UserError(f"checkpoint {path} is damaged: its scaler is not what training writes; use another one")
        self._scaler.load_state_dict(self._scaler.state_dict() | {"scale": scale, "_growth_tracker": steps})
        self.exhausted = scale < MIN_SCALE


class _AllOptimizers:
    """All optimizers of a run as one, for `GradScaler`, which else decides for each whether it steps."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> bool:
        for optimizer in self.optimizers:
            optimizer.step()
        return True
