"""The device of a run: which one, what it is, why a GPU can't be used; move batches and nets to it."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs.schema import Train
from utils import distributed
from utils.child_processes import own_cores
from utils.kernels import computes_in_tf32

HOST_ONLY = ("indices", "times")  # of a batch: which clips they are and from when, which no net needs
DRIVER = Path("/proc/driver/nvidia")  # the driver's folder, also in containers that can't reach the GPU
CONTROL_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # one of them is needed to reach a GPU; dxg: of WSL
OTHER_WHEEL = "install another torch by the table of https://pytorch.org/get-started/locally"


def pick_device() -> torch.device:
    """Get the first GPU, or the CPU if there is none that torch can use."""
    return torch.device("cuda" if torch.cuda.is_available() and not gpu_problem() else "cpu")


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of `batch` to `device`, without waiting if their memory is pinned; HOST_ONLY are left out."""
    return {
        name: value.to(device, non_blocking=True) if torch.is_tensor(value) and name not in HOST_ONLY else value
        for name, value in batch.items()
    }


class BatchCopier:
    """Copies batches to the device; on a GPU beside the queue of the steps, whose kernels need not end first.

    The host works ahead of a GPU, so the next batch is copied while the last one's step still runs. Copies overlap
    with kernels only from pinned memory, which `dataset.loading.loader.make_loader` gives.

    Args:
        device: of the net.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Copy a `batch` as `to_device`; what is queued from now on waits for the copy."""
        if self._stream is None:
            return to_device(batch, self.device)
        with torch.cuda.stream(self._stream):
            copied = to_device(batch, self.device)
        steps = torch.cuda.current_stream(self.device)
        steps.wait_stream(self._stream)
        for value in copied.values():
            if torch.is_tensor(value) and value.is_cuda:
                value.record_stream(steps)  # when the batch is freed its memory waits for the step
        return copied


def channels_last(model: nn.Module) -> nn.Module:
    """Lay out the weights of the convolutions of `model` channels last, the fastest for their kernels.

    Those of 3-D convolutions on a GPU only. `model.to(memory_format=...)` refuses a net that has both.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
        elif parameter.ndim == 5 and parameter.is_cuda:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    return model


def gpu_problem() -> str:
    """Say why torch can't use a GPU that is in this machine, and what to install; "" if it can, or none is."""
    if torch.cuda.is_available():
        return _missing_kernels()
    if torch.backends.mps.is_available():
        return "warning: the CPU is used: Apple's GPU (MPS) is not supported, only NVIDIA's and AMD's are"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    card, driver = installed_gpu()
    if not card or not hidden.strip() or hidden.startswith("-"):  # none, or hidden on purpose
        return ""
    there_is = f"warning: this machine has a GPU ({card}, driver {driver}), but the CPU is used: "
    if not any(file.exists() for file in CONTROL_FILES):
        return f"{there_is}this container can't reach the GPU; start it with `docker run --gpus all`"
    if torch.version.cuda is None:
        return f"{there_is}torch {torch.__version__} is built without CUDA; {OTHER_WHEEL}"
    return (
        f"{there_is}torch {torch.__version__} can't use the driver; update the driver to one for CUDA "
        f"{torch.version.cuda}, or {OTHER_WHEEL}"
    )


def _missing_kernels() -> str:
    """Say that torch has no kernels for the GPU, as a newer or much older wheel; "" if it has."""
    architectures, capability = torch.cuda.get_arch_list(), torch.cuda.get_device_capability()
    if not architectures or has_kernels(architectures, capability):
        return ""
    return (
        f"warning: torch {torch.__version__} has no kernels for {torch.cuda.get_device_name()} (compute capability "
        f"{capability[0]}.{capability[1]}; it has {', '.join(architectures)}), so the CPU is used: "
        f"{OTHER_WHEEL}"
    )


def has_kernels(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether a GPU can run kernels that were compiled for some architectures.

    Args:
        architectures: of `torch.cuda.get_arch_list`: "sm_80" is machine code, for its major version and minor ones
            from its own up; "compute_80" is compiled when it is loaded, for all later GPUs; "sm_90a" fits 9.0 alone.
            Names of AMD's GPUs are taken to fit.
        capability: of the GPU, (major, minor).
    """
    for name in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if not match:
            return True
        built = int(match[2]), int(match[3])
        same_major = built[0] == capability[0] and built[1] <= capability[1]
        fits = {"a": built == capability, "f": same_major}
        if fits.get(match[4], same_major if match[1] == "sm" else built <= capability):
            return True
    return False


def installed_gpu() -> tuple[str, str]:
    """Find an NVIDIA GPU without torch: its name and the version of its driver, both "" if there is none."""
    models = (re.search(r"^Model:\s*(.+)$", _text(file), re.M) for file in sorted(DRIVER.glob("gpus/*/information")))
    name = next((match[1].strip() for match in models if match), "")
    version = re.search(r"\s(\d{3,}\.\d+(?:\.\d+)?)\s", _text(DRIVER / "version"))
    if name and version:
        return name, version[1]
    tool = shutil.which("nvidia-smi")
    if not tool:
        return name, "unknown" if name else ""
    words = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # it also fails where no GPU is
        return name, "unknown" if name else ""
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if "," in line]
    return (rows[0][0], rows[0][1]) if rows else (name, "unknown" if name else "")


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def describe_start(device: torch.device, precision: str, train: Train) -> dict[str, str | float]:
    """Describe what a run computes with, as log.jsonl keeps it.

    Args:
        device: of the net.
        precision: of `utils.precision.resolve_precision`.
        train: the settings train.deterministic and train.compile.

    Returns:
        device, of a GPU card, memory_gb, cuda and driver, of a CPU its cores; precision, torch, processes; kernels,
        what is not usual of them: convolutions in TF32, deterministic, compiled encoders.
    """
    found: dict[str, str | float] = {"device": device.type}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        found |= {"card": torch.cuda.get_device_name(device), "memory_gb": round(memory / 1e9, 1)}
        found |= {"cuda": torch.version.cuda or "none", "driver": installed_gpu()[1] or "unknown"}
    else:
        found["cores"] = own_cores()
    kernels = {
        "TF32 convolutions": computes_in_tf32(device, precision),
        "deterministic kernels": train.deterministic,
        "compiled encoders": train.compile,
    }
    found |= {"precision": precision, "torch": torch.__version__, "processes": distributed.world_size()}
    chosen = ", ".join(name for name, is_so in kernels.items() if is_so)
    return found | ({"kernels": chosen} if chosen else {})


def start_line(found: dict[str, str | float]) -> str:
    """Say in one line what `describe_start` has `found`."""
    where = f"the CPU, cores: {found.get('cores')}"
    if "card" in found:
        where = f"{found['card']}, {found['memory_gb']} GB, driver {found['driver']}, CUDA {found['cuda']}"
    precision = ", ".join(str(found[name]) for name in ("precision", "kernels") if name in found)
    return f"training on {where}; precision {precision}, torch {found['torch']}, processes: {found['processes']}"
