"""Time functions that do the same work, and what the machine can do at most."""

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from utils.device import pick_device
from utils.memory import disable_malloc_trim

BASELINE = "baseline"  # name of the function that the others are compared with
MATRIX_SIZE = 2048  # of the matrix products that measure the machine

Work = Callable[[], float]  # does the work and returns how many items it processed


def cpu_seconds() -> float:
    """Get the CPU time of this process and of its finished child processes, seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def interleave(
    rounds: int, clock: Callable[[], float] | None = None, warm_up: bool = False, **functions: Work
) -> list[float]:
    """Measure the median throughput of several functions, called one after the other, `rounds` times.

    Args:
        rounds: calls of each function.
        clock: returns seconds; by default CPU time, on a GPU wall-clock time.
        warm_up: call each function but `baseline` once more before each timed call. After `baseline` all memory has
            been released to the system, and the next function has to allocate it again: in training only the first
            step does.
        functions: the functions to time by their names, such as `baseline` and `ours`.

    Returns:
        items per second, in the order of `functions`.
    """
    clock = clock or (time.perf_counter if torch.cuda.is_available() else cpu_seconds)
    rates: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            disable_malloc_trim(name != BASELINE)
            if warm_up and name != BASELINE:
                function()
            start = clock()
            count = function()
            rates[name].append(count / (clock() - start))
    return [statistics.median(values) for values in rates.values()]


def comparison(unit: str, baseline: float, ours: float, **more: Any) -> dict[str, Any]:
    """Describe one benchmark as benchmark.py writes it to JSON.

    Args:
        unit: of the rates, such as "clips/s".
        baseline: items per second of the baseline, "plain" in the JSON.
        ours: items per second of this repository.
        more: further entries.
    """
    return {"ratio": ours / baseline, "unit": unit, "plain": baseline, "ours": ours, **more}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished; nothing to do if `device` is a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def count_gflop(call: Callable[[], object]) -> float:
    """Count the floating-point operations of the convolutions and matrix products in `call`, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def machine_limits(decode_jpegs: Work) -> dict[str, float]:
    """Measure what one thread (or the GPU) can do: matrix products in GFLOP/s, JPEGs per second.

    Args:
        decode_jpegs: decodes JPEGs of 256 x 256 pixels and returns their number.
    """
    device = pick_device()
    fp32 = torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=device)
    bf16 = fp32.bfloat16()

    def multiply(matrix: torch.Tensor) -> float:
        matrix @ matrix
        synchronize(device)
        return 2 * MATRIX_SIZE**3 / 1e9

    multiply(fp32)
    multiply(bf16)
    rates = interleave(3, fp32=lambda: multiply(fp32), bf16=lambda: multiply(bf16), jpegs=decode_jpegs)
    return dict(zip(("matmul_fp32_gflops", "matmul_bf16_gflops", "jpeg_256_per_s"), rates, strict=True))


def peak_rate(limits: dict[str, float], gflop: float) -> float:
    """Compute the rate that matrix products in bf16 would allow if everything else were free, items per second.

    Args:
        limits: from `machine_limits`.
        gflop: operations per item, in 1e9.
    """
    return limits["matmul_bf16_gflops"] / gflop
