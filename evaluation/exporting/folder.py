"""Write the folder of an export: weights, settings, and the net's computation as files for other programs."""

import dataclasses
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save

from evaluation.checkpoint_files import EXPORT_CONFIG, EXPORT_WEIGHTS
from evaluation.exporting import quantization
from evaluation.exporting.comparison import Run, check_files
from evaluation.exporting.graphs import Graph, build_graphs
from evaluation.exporting.onnx_files import (
    not_exportable,
    open_session,
    require_onnx,
    run_session,
    write_exported,
    write_onnx,
)
from evaluation.exporting.real_inputs import RealInputs, read_inputs
from evaluation.trained_net import TrainedNet
from models.interfaces import SeparatingNet
from utils.checkpoint import FORMAT
from utils.config import CONFIG_VERSION, override, to_dict
from utils.errors import UserError
from utils.files import is_empty_folder, write_json

Kind = Literal["safetensors", "onnx", "exported"]
SUFFIXES: dict[str, str] = {"onnx": "onnx", "exported": "pt2"}
CHECKED = 64  # frames and sounds on which the files are checked
CALIBRATED = 256  # frames and sounds that int8 files are calibrated on and compared on, half each


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how.

    Attributes:
        to: "safetensors": weights and settings alone; "onnx" or "exported": the net's computation too.
        source: files on which it is checked; None: the clips of data.root.
        opset: version of ONNX's operators.
        int8: quantize the encoders of ONNX files.
    """

    to: Kind
    source: Path | None
    opset: int
    int8: bool = False


def export_net(net: TrainedNet, out: Path, options: ExportOptions) -> dict[str, Any]:
    """Export a net: the whole folder is written, or nothing.

    Args:
        net: what is exported.
        out: a folder that doesn't exist, or is empty.
        options: of the export.

    Returns:
        the content of config.json.

    Raises:
        UserError: the folder isn't empty or can't be written, a library is missing, the net can't be exported, or the
            files differ from it.
    """
    if options.to == "onnx":
        require_onnx(options.opset)
    if options.int8 and isinstance(net.model, SeparatingNet):
        raise UserError(f"{net.path} holds {net.config.model.name}: --int8 is for nets that embed frames and sounds")
    net.model.to("cpu", torch.float32)
    exact = dataclasses.replace(net, config=override(net.config, {"train.precision": "fp32"}))
    with _new_folder(out) as folder:
        weights = {name: value.contiguous().clone() for name, value in net.model.state_dict().items()}
        (folder / EXPORT_WEIGHTS).write_bytes(save(weights, {"format": "pt"}))
        about: dict[str, Any] = {"format": FORMAT, "config_version": CONFIG_VERSION, "config": to_dict(net.config)}
        about |= {"step": net.content["step"], "metrics": net.content["metrics"], "exported_to": options.to}
        if options.to != "safetensors":
            about |= _write_graphs(exact, folder, options)
        write_json(folder / EXPORT_CONFIG, about)
    return about


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a folder that gets the name `out` when nothing has failed."""
    if os.path.lexists(out) and not is_empty_folder(out):
        raise UserError(f"{out} already exists and isn't an empty folder: choose another --out")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.is_dir():
            shutil.rmtree(out)
        temporary.rename(out)
    except OSError as error:
        if error.errno in (errno.ENOMEM, None):
            raise
        raise UserError(f"{out} can't be written ({error.strerror}): choose another --out") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_graphs(net: TrainedNet, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Write a file for each graph and check them; what config.json says of them."""
    inputs = read_inputs(net, options.source, CALIBRATED if options.int8 else CHECKED)
    if options.int8:
        quantization.require_inputs(inputs)
    graphs, suffix = build_graphs(net), SUFFIXES[options.to]
    runs: dict[str, Run] = {}
    for name, graph in graphs.items():
        path = folder / f"{name}.{suffix}"
        if options.to == "onnx":
            write_onnx(graph, path, options.opset)
        else:
            write_exported(graph, path)
        runs[name] = _open(path)
    checked = RealInputs(inputs.frames[:CHECKED], inputs.sounds[:CHECKED])
    difference = check_files(net, graphs, runs, checked)
    about: dict[str, Any] = {"difference": difference, "checked_on": [len(checked.frames), len(checked.sounds)]}
    if options.int8:
        about["int8"] = _quantize(net, folder, inputs)
    about["opset"] = options.opset if options.to == "onnx" else None
    about["files"] = {f"{name}.{suffix}": _describe(graph) for name, graph in graphs.items()}
    return about


def _quantize(net: TrainedNet, folder: Path, inputs: RealInputs) -> dict[str, Any]:
    """Quantize the encoders; how well they agree with float32."""
    calibrated, held_back = inputs.halves()
    for name, values in (("frames", calibrated.frames), ("sounds", quantization.to_float(calibrated.sounds))):
        quantization.quantize(folder / f"{name}.onnx", name, values)
    vectors = (
        net.frame_vectors(net.embed_frames(held_back.frames)).numpy(),
        net.sound_vectors(net.embed_sounds(held_back.sounds)).numpy(),
    )
    runs = {name: _open(folder / f"{name}.onnx") for name in ("frames", "sounds")}
    agreement: dict[str, Any] = quantization.measure_agreement(vectors, runs, held_back)
    return agreement | {"calibrated_on": [*map(len, calibrated)], "compared_on": [*map(len, held_back)]}


def _open(path: Path) -> Run:
    """Open a file that was written, and give what runs it."""
    if path.suffix == ".onnx":
        session = open_session(path)
        return lambda inputs: run_session(session, inputs)
    module = torch.export.load(path).module()

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            with torch.no_grad():
                outputs = module(*(torch.from_numpy(np.ascontiguousarray(values)) for values in inputs.values()))
        except Exception as error:  # a condition on the inputs that torch has found while it exported
            raise not_exportable(path, error) from error
        return [values.numpy() for values in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


def _describe(graph: Graph) -> dict[str, Any]:
    """What a file takes and gives, for config.json."""
    inputs = {
        name: {
            "type": str(value.dtype).removeprefix("torch."),
            "shape": [graph.dynamic[name].get(dim, size) for dim, size in enumerate(value.shape)],
        }
        for name, value in graph.inputs.items()
    }
    return {"about": graph.about, "inputs": inputs, "outputs": list(graph.outputs)}
