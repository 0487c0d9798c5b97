"""Write graphs as ONNX files and run them with onnxruntime. Both are optional libraries."""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.exporting import OPSET
from evaluation.exporting.graphs import Graph
from utils.errors import UserError, first_line

PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # what writing ONNX files needs


def import_optional(name: str, purpose: str) -> Any:
    """Import an optional library.

    Args:
        name: of the module and the package.
        purpose: what needs it, the start of the message.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{purpose} needs {name}, which is not installed: run `pip install {name}`") from None


def require_onnx(opset: int = OPSET) -> None:
    """Check that ONNX files can be written and run.

    Args:
        opset: version of ONNX's operators.

    Raises:
        UserError: a library is missing, or the installed ones lack the opset.
    """
    for name in PACKAGES:
        import_optional(name, "--to onnx")
    onnx = importlib.import_module("onnx")
    newest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise UserError(f"--opset is {opset}, but torch and the installed onnx write {OPSET} to {newest}")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "try", [value], [
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    ])  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    open_session(model.SerializeToString(), f"a file of opset {opset}")


def open_session(model: Path | bytes, name: str = "", threads: int = 0) -> Any:
    """Open an ONNX file on the CPU.

    Args:
        model: the file, or its content.
        name: for messages; "": the file's.
        threads: that compute; 0: as many as torch's.

    Returns:
        an `onnxruntime.InferenceSession`.

    Raises:
        UserError: onnxruntime is missing, the file is damaged, or it lacks the file's opset.
    """
    onnxruntime = import_optional("onnxruntime", "an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors: warnings are about what its optimizer leaves as it is
    if isinstance(model, Path) and not model.is_file():
        raise UserError(f"there is no file {model}: export the net again with --to onnx")
    try:
        return onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of a dozen types, all defined in its binary
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} can't run {name or str(model)[:200]} ({first_line(error)}): "
            f"install a newer onnxruntime, or export with --opset {OPSET}"
        ) from None


def write_onnx(graph: Graph, path: Path, opset: int = OPSET) -> None:
    """Write a graph as an ONNX file.

    Args:
        graph: what is written.
        path: of the file.
        opset: version of ONNX's operators.

    Raises:
        UserError: torch's exporter can't write the net.
    """
    shapes = tuple(dict(graph.dynamic[name]) for name in graph.inputs)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.module, tuple(graph.inputs.values()), input_names=list(graph.inputs),
                output_names=list(graph.outputs), dynamic_shapes=shapes, opset_version=opset, dynamo=True,
                optimize=False,  # its optimizer drops the addition of 1e-8 before the logarithm
            )  # fmt: skip
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:  # of any type: of torch, of onnxscript
        raise not_exportable(path, error) from error
    _simplify(path)


def write_exported(graph: Graph, path: Path) -> None:
    """Write a graph as `torch.export` does, for C++ and for Python without this repository.

    Args:
        graph: what is written.
        path: of the file, .pt2.

    Raises:
        UserError: torch can't export the net.
    """
    shapes = tuple({dim: torch.export.Dim.DYNAMIC for dim in graph.dynamic[name]} for name in graph.inputs)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(graph.module, tuple(graph.inputs.values()), dynamic_shapes=shapes)
            torch.export.save(program, path)
    except Exception as error:  # of any type
        raise not_exportable(path, error) from error


def not_exportable(path: Path, error: Exception) -> UserError:
    """Say that torch can't export a net: for the file `path`, because of `error`."""
    reason = first_line(error)
    return UserError(
        f"{path.name} can't be exported by torch {torch.__version__} ({type(error).__name__}: {reason}): take "
        "--to safetensors, or another encoder (model.vision, model.sound)"
    )


def _simplify(path: Path) -> None:
    """Compute what is constant once, and remove what has no effect, as every onnxruntime does when it opens a file."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath, options.log_severity_level = str(path), 3
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def quiet() -> Any:
    """Hide what exporters print of their progress, and their warnings about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def run_session(session: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a session.

    Args:
        session: of `open_session`.
        inputs: {name: array}.

    Returns:
        its outputs.
    """
    return session.run(None, dict(inputs))
