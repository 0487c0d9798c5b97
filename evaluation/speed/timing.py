"""Time functions that do the same work, and what the machine can do at most."""

import platform
import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from utils.device import gpu_problem, installed_gpu, pick_device
from utils.errors import UserError
from utils.memory import disable_malloc_trim

BASELINE = "baseline"  # name of the function that the others are compared with
MATRIX_SIZES = {"cpu": 2048, "cuda": 8192}  # of the matrix products that measure the machine
CPU = torch.device("cpu")
# On a GPU a timed call repeats its work until it lasts this long: a single one may take microseconds.
LEAST_GPU_SECONDS, LEAST_GPU_ROUNDS, MAX_REPEATS = 0.3, 7, 2**20

Work = Callable[[], float]  # does the work and returns how many items it processed


class Rate(NamedTuple):
    """A measured throughput.

    Attributes:
        median: over the rounds, items per second.
        spread: largest minus smallest, as a share of the median.
    """

    median: float
    spread: float


def device_to_measure(name: str) -> torch.device:
    """Get the device that `--device` names: "cpu", or "cuda" for the first GPU.

    Args:
        name: of the device.

    Raises:
        UserError: "cuda", and there is no GPU that torch can use.
    """
    if name == "cuda" and pick_device().type != "cuda":
        reason = gpu_problem().removeprefix("warning: ") or "this machine has none"
        raise UserError(f"--device cuda measures a GPU that torch can use ({reason}): use --device cpu")
    return torch.device(name)


def processor_name() -> str:
    """Get the name of this machine's processor, with the instructions for matrices that it has."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    name = re.search(r"model name\s*:\s*(.+)", text)
    kinds = [kind for kind in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{kind}\b", text)]
    return f"{name[1].strip() if name else platform.machine()} ({', '.join(kinds) or 'no AVX2'})"


def describe_machine(device: torch.device) -> dict[str, str]:
    """Describe what is measured on.

    Args:
        device: of the nets.

    Returns:
        processor and torch; of a GPU also card and driver.
    """
    found = {"processor": processor_name(), "torch": torch.__version__}
    if device.type == "cuda":
        found |= {"card": torch.cuda.get_device_name(device), "driver": installed_gpu()[1] or "unknown"}
    return found


def cpu_seconds() -> float:
    """Get the CPU time of this process and of its finished child processes, seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def gpu_seconds() -> float:
    """Get the wall-clock time once the GPU has finished what it was given, seconds."""
    torch.cuda.synchronize()
    return time.perf_counter()


def interleave(
    rounds: int,
    functions: Mapping[str, Work],
    clock: Callable[[], float] | None = None,
    warm_up: bool = False,
    device: torch.device = CPU,
) -> list[Rate]:
    """Measure the throughput of several functions, called one after the other, `rounds` times.

    On a GPU each function is called before it is timed, and as often in a timed call as `LEAST_GPU_SECONDS` take.

    Args:
        rounds: timed calls of each function; on a GPU at least `LEAST_GPU_ROUNDS`.
        functions: to time, by their names, such as "baseline" and "ours".
        clock: returns seconds; by default CPU time; for a GPU the time when it has finished.
        warm_up: call each function but `baseline` once more before each timed call. After `baseline` all memory has
            been released to the system, and the next function has to allocate it again: in training only the first
            step does.
        device: that the functions compute on.

    Returns:
        the rates, in the order of `functions`.
    """
    on_gpu = device.type == "cuda"
    clock = clock or (gpu_seconds if on_gpu else cpu_seconds)
    repeats = {name: calls_lasting(LEAST_GPU_SECONDS, work, clock) if on_gpu else 1 for name, work in functions.items()}
    rates: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(max(rounds, LEAST_GPU_ROUNDS) if on_gpu else rounds):
        for name, function in functions.items():
            disable_malloc_trim(name != BASELINE)
            if warm_up and name != BASELINE:
                function()
            start = clock()
            count = sum(function() for _ in range(repeats[name]))
            rates[name].append(count / (clock() - start))
    return [summarize(values) for values in rates.values()]


def calls_lasting(seconds: float, function: Work, clock: Callable[[], float]) -> int:
    """Find how many calls take some time, a power of two; the first call, which warms up, doesn't count.

    Args:
        seconds: that they should take at least.
        function: to call.
        clock: returns seconds.
    """
    function()
    calls = 1
    while calls < MAX_REPEATS:
        start = clock()
        for _ in range(calls):
            function()
        if clock() - start >= seconds:
            break
        calls *= 2
    return calls


def summarize(rates: list[float]) -> Rate:
    """Compute the median and the spread of measured `rates`, items per second."""
    median = statistics.median(rates)
    return Rate(median, (max(rates) - min(rates)) / median if median else 0.0)


def comparison(unit: str, baseline: Rate, ours: Rate, **more: Any) -> dict[str, Any]:
    """Describe one benchmark as benchmark.py writes it to JSON.

    Args:
        unit: of the rates, such as "clips/s".
        baseline: of the baseline, "plain" in the JSON.
        ours: of this repository.
        more: further entries.
    """
    rates = {"plain": baseline.median, "ours": ours.median}
    spreads = {"plain_spread": round(baseline.spread, 4), "ours_spread": round(ours.spread, 4)}
    return {"ratio": ours.median / baseline.median, "unit": unit, **rates, **spreads, **more}


def count_gflop(call: Callable[[], object]) -> float:
    """Count the floating-point operations of the convolutions and matrix products in `call`, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def machine_limits(decode_jpegs: Work, device: torch.device = CPU) -> dict[str, float]:
    """Measure what one thread (or the GPU) can do: matrix products in GFLOP/s, JPEGs per second.

    Args:
        decode_jpegs: decodes JPEGs of 256 x 256 pixels and returns their number, on the CPU.
        device: of the matrix products; on a GPU also in fp16.
    """
    size = MATRIX_SIZES[device.type]
    matrix = torch.randn(size, size, device=device)
    kinds = {"fp32": matrix, "bf16": matrix.bfloat16()} | ({"fp16": matrix.half()} if device.type == "cuda" else {})

    def multiply(kind: str) -> float:
        kinds[kind] @ kinds[kind]
        return 2 * size**3 / 1e9

    for kind in kinds:
        multiply(kind)
    products: dict[str, Work] = {f"matmul_{kind}_gflops": partial(multiply, kind) for kind in kinds}
    rates = interleave(3, products, device=device)
    limits = {name: rate.median for name, rate in zip(products, rates, strict=True)}
    return limits | {"jpeg_256_per_s": interleave(3, {"jpegs": decode_jpegs})[0].median}


def peak_rate(limits: dict[str, float], gflop: float) -> float:
    """Compute the rate that matrix products would allow if everything else were free, items per second.

    The fastest kind of product counts: on a CPU without instructions for bf16 that is fp32.

    Args:
        limits: from `machine_limits`.
        gflop: operations per item, in 1e9.
    """
    return max(value for name, value in limits.items() if name.startswith("matmul")) / gflop
