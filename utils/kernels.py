"""The kernels that a training computes with: deterministic ones, TF32 convolutions, compiled encoders."""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from configs.schema import Train
from utils.errors import UserError
from utils.system_errors import is_memory_error

CUBLAS_SETTING = "CUBLAS_WORKSPACE_CONFIG"  # without it, products on several streams differ from run to run
CUBLAS_VALUES = (":4096:8", ":16:8")  # that make them deterministic (cuBLAS documentation, "Results reproducibility")
NOT_DETERMINISTIC = "does not have a deterministic implementation"  # torch has no type for this error
COMPILE_NEEDS = {
    "cpu": "install a C++ compiler, such as g++",
    "cuda": "it needs a GPU of compute capability 7.0 or higher, the package triton and a C compiler, such as gcc",
}


def choose_kernels(train: Train) -> None:
    """Set which kernels torch uses. Call it before anything runs on a GPU, where cuBLAS reads its setting once.

    Args:
        train: the settings train.deterministic and train.tf32.

    Raises:
        UserError: the environment has a setting of cuBLAS that isn't deterministic.
    """
    if train.deterministic and os.environ.setdefault(CUBLAS_SETTING, CUBLAS_VALUES[0]) not in CUBLAS_VALUES:
        raise UserError(
            f"train.deterministic needs the environment variable {CUBLAS_SETTING} to be {' or '.join(CUBLAS_VALUES)}, "
            f"and it is {os.environ[CUBLAS_SETTING]!r}: unset it"
        )
    if torch.are_deterministic_algorithms_enabled() != train.deterministic:  # the call is slow
        torch.use_deterministic_algorithms(train.deterministic)
    torch.backends.cudnn.deterministic = train.deterministic
    # The fastest kernels for the shapes at hand; which they are depends on measurements.
    torch.backends.cudnn.benchmark = not train.deterministic
    torch.backends.cudnn.allow_tf32 = train.tf32


def computes_in_tf32(device: torch.device, precision: str) -> bool:
    """Whether convolutions round to TF32: in fp32 on NVIDIA GPUs that can, from Ampere on.

    Args:
        device: of the net.
        precision: of `utils.precision.resolve_precision`.
    """
    is_nvidia = device.type == "cuda" and torch.version.hip is None
    return (
        is_nvidia
        and precision == "fp32"
        and torch.backends.cudnn.allow_tf32
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def check_compiler(device: torch.device) -> None:
    """Compile a few operators, so that a training that can't compile ends at its start.

    Args:
        device: of the net.

    Raises:
        UserError: torch can't compile for it on this machine.
    """
    with explain_kernel_errors(device, compiles=True):
        torch.compile(_add_relu)(torch.ones(8, device=device))


def _add_relu(values: torch.Tensor) -> torch.Tensor:
    return (values + 1).relu()


def compile_encoders(encoders: Iterable[nn.Module], train: Train) -> None:
    """With train.compile let torch compile modules when they are first called in training.

    In place: `torch.compile(module)` would put "_orig_mod." before the name of each weight. Encoders alone, which take
    most of the time: what is around them depends on the progress of the run, for each value of which torch would
    compile again.

    Args:
        encoders: of the net, after it is initialized.
        train: the setting train.compile.
    """
    for encoder in encoders if train.compile else ():
        # One encoder after the other has other sizes, which torch would take for sizes that change: slower kernels.
        encoder.compile(dynamic=False)


@contextmanager
def eager(compiled: bool) -> Iterator[None]:
    """Call modules as they are: a validation, with other sizes of batches, is over before they would be compiled.

    Args:
        compiled: whether some are compiled; else nothing is done.
    """
    with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
        yield


@contextmanager
def explain_kernel_errors(device: torch.device, compiles: bool) -> Iterator[None]:
    """Say in one sentence that torch can't compile, or has no deterministic kernel; other errors pass.

    Args:
        device: of the net.
        compiles: whether modules are compiled.

    Raises:
        UserError: one of these.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # train.tf32 decides that
            yield
    except UserError:
        raise
    except RuntimeError as error:
        text = str(error)
        if torch.are_deterministic_algorithms_enabled() and NOT_DETERMINISTIC in text:
            raise UserError(
                f"train.deterministic is not possible here: {text.split()[0]} has no deterministic kernel in torch "
                f"{torch.__version__}; set --train.deterministic false, or use a newer torch"
            ) from None
        cause = _compile_error(error) if compiles else None
        if cause is None:
            raise
        if is_memory_error(cause):
            raise cause from None
        lines = [" ".join(line.split()) for line in str(cause).splitlines() if line.strip()]
        reason = next((line for line in lines if "error:" in line), (lines or [""])[0])[:200]  # of the C++ compiler
        raise UserError(
            f"train.compile: torch {torch.__version__} can't compile the encoders on this machine "
            f"({type(cause).__name__}{': ' if reason else ''}{reason}): {COMPILE_NEEDS[device.type]}, or set "
            "--train.compile false"
        ) from None


def _compile_error(error: BaseException) -> BaseException | None:
    """Get the cause of an error of torch's compiler; None if it isn't one."""
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    if not isinstance(error, TorchDynamoException) and type(error).__module__ != "torch._inductor.exc":
        return error if isinstance(error, RuntimeError) and "torch.compile is not supported" in str(error) else None
    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    return error
