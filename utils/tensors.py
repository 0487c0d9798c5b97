"""Read files of tensors that others may have made, without running code in them, and judge what they hold."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from utils.errors import UserError
from utils.files import StrPath, regular_size


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Copy tensors to the CPU in one transfer, for which the host waits once; those of a CPU stay as they are.

    Args:
        tensors: one or more of one type, on one device.
    """
    if len(tensors) == 1 or not tensors[0].is_cuda:
        return [tensor.cpu() for tensor in tensors]
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def load_tensors(path: StrPath, what: str, advice: str, device: str | torch.device = "cpu") -> Any:
    """Read a file of `torch.save`, or, named *.safetensors, of safetensors.

    A pickle that holds more than plain data and tensors is refused, not run.

    Args:
        path: of the file, one that exists.
        what: what the file should be, such as "checkpoint", for messages.
        advice: what to do instead, such as "use another one", for messages.
        device: of the tensors.

    Returns:
        What was saved.

    Raises:
        OSError: it is missing, no regular file, or can't be read.
        UserError: it is damaged, another kind of file, or holds code.
    """
    regular_size(path)
    with open(path, "rb"):  # damage raises OSError too: what can't be read is told from it here
        pass
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path, str(device))
        if problem := _archive_problem(path):
            raise UserError(f"{what} {path} {problem}: {advice}")
        with warnings.catch_warnings():  # about a foreign pickle's protocol: the errors below say enough
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=device, weights_only=True)
    except (UserError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        if "weights" in str(error).lower() and "GLOBAL" in str(error):  # torch has no other sign of it
            raise UserError(
                f"{what} {path} is damaged, or holds code, not plain data, and was not loaded: {advice}"
            ) from None
        raise UserError(f"{what} {path} is damaged or no {what}: {advice}") from None
    except Exception as error:  # damage raises many types, down to IndexError
        raise UserError(f"{what} {path} is damaged or no {what} ({type(error).__name__}): {advice}") from None


def _archive_problem(path: StrPath) -> str:
    """Say why a zip isn't what torch.save wrote; "": it is, or it is no zip.

    A compressed one unpacks to more than its size, which torch.save never writes. Its checksums, which torch.load
    ignores, tell weights in which a bit has flipped: 1 ms for a megabyte.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
                return "is a compressed archive, not a file of torch.save"
            return "is damaged (its checksums differ from its content)" if file.testzip() else ""
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # torch's older format; damage is told by torch.load
        return ""


def tensor_problem(value: object) -> str:
    """Say why a value can't be a weight: "" for a dense tensor of numbers that fill memory of their own."""
    if not isinstance(value, Tensor):
        return f"is no tensor but {type(value).__name__}"
    if value.is_nested or value.layout != torch.strided:
        return "is sparse or nested"
    if value.is_quantized:
        return "is quantized"
    if value.is_meta:
        return "has no values (device meta)"
    if value.dtype.is_complex or value.dtype == torch.bool or value.dtype.itemsize < 2:
        return f"is of type {str(value.dtype).removeprefix('torch.')}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "repeats its values in place of storing them"
    return ""


def fits(value: Any, own: Tensor) -> bool:
    """Check that a value can be a weight of a net.

    Args:
        value: of a file; anything.
        own: the net's weight; the value has its shape, and is of whole numbers if it is, else of any precision.
    """
    return (
        not tensor_problem(value) and value.shape == own.shape and value.is_floating_point() == own.is_floating_point()
    )


def check_tensors(weights: object, source: str) -> dict[str, Tensor]:
    """Check that weights are a dict of dense tensors, whatever their values.

    Args:
        weights: {name: tensor}.
        source: where they come from, the start of a message.

    Returns:
        The weights.

    Raises:
        UserError: they are something else.
    """
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"{source} holds no weights, a table of names and tensors: use another one")
    for name, value in weights.items():
        if problem := tensor_problem(value):
            raise UserError(f"{source} is damaged: its weight {name[:100]} {problem}; use another one")
    return weights


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Check that all weights are numbers that a net can compute with.

    Args:
        weights: {name: tensor}.
        source: where they come from, the start of a message.

    Raises:
        UserError: some are NaN or infinite, or variances negative.
    """
    wrong = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if wrong:
        raise UserError(
            f"{source} holds NaN or infinity in {len(wrong)} of {len(weights)} tensors, the first is {wrong[0]}: its "
            "training failed, use a checkpoint from before"
        )
    negative = [name for name, value in weights.items() if name.endswith("running_var") and (value < 0).any()]
    if negative:
        raise UserError(f"{source} is damaged: {negative[0]} holds negative variances; use another one")


def require_finite(outputs: Tensor, what: str) -> Tensor:
    """Check the outputs of a net, whose weights may be finite and too large.

    Args:
        outputs: of the net, of any shape.
        what: what they are, such as "embeddings", for messages.

    Returns:
        The outputs.

    Raises:
        UserError: some are NaN or infinite.
    """
    if not torch.isfinite(outputs).all():
        raise UserError(f"the net's {what} are not finite, as its weights are too large: train with a lower --train.lr")
    return outputs
