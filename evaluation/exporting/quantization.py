"""ONNX files whose convolutions compute in int8, calibrated on real frames and sounds."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset.making.text import count_text
from evaluation.exporting.comparison import Run, to_float
from evaluation.exporting.onnx_files import quiet
from evaluation.exporting.real_inputs import RealInputs
from utils.errors import UserError

OPERATORS = ["Conv", "MaxPool", "Relu"]
ENCODERS = ("model.vision.", "model.audio.")  # weights of what is quantized; the heads stay in float32
MIN_INPUTS = 16  # of each kind, half to calibrate and half to compare
MIN_COSINE, MIN_TOP1 = 0.99, 0.9  # agreement with float32, below which an int8 export is refused
BATCH = 8


def quantize(path: Path, name: str, inputs: np.ndarray) -> None:
    """Quantize the encoder in an ONNX file, in place: convolutions, pools and ReLU in int8, all else in float32.

    The whole net in int8 would agree with float32 in two of three searches only.

    Args:
        path: of the file.
        name: of its input.
        inputs: (N, ...), what it is calibrated on.
    """
    onnx, tools = importlib.import_module("onnx"), importlib.import_module("onnxruntime.quantization")
    nodes = encoder_nodes(onnx.load(path))
    with quiet():
        tools.quantize_static(
            str(path), str(path), _Batches(name, inputs), quant_format=tools.QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=OPERATORS, nodes_to_quantize=nodes, activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8, reduce_range=True,  # 7 bits: sums overflow on older processors otherwise
        )  # fmt: skip


def encoder_nodes(model: Any) -> list[str]:
    """List the nodes of an ONNX model that are in an encoder, of the kinds in OPERATORS.

    Args:
        model: an `onnx.ModelProto`.

    Returns:
        names: convolutions with an encoder's weights, and the ReLUs and pools that follow them directly.
    """
    reached, names = set[str](), []
    for node in model.graph.node:  # in the order in which they compute
        is_conv = node.op_type == "Conv" and any(value.startswith(ENCODERS) for value in node.input[1:])
        if is_conv or (node.op_type in OPERATORS[1:] and node.input[0] in reached):
            reached.update(node.output)
            names.append(node.name)
    return names


class _Batches:
    """Calibration data as onnxruntime asks for them."""

    def __init__(self, name: str, inputs: np.ndarray) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = iter(
            [{name: inputs[k : k + BATCH]} for k in range(0, len(inputs), BATCH)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def require_inputs(inputs: RealInputs) -> None:
    """Raise a `UserError` if there are too few `inputs` to calibrate on and to compare with."""
    if min(map(len, inputs)) < MIN_INPUTS:
        raise UserError(
            f"--int8 needs {MIN_INPUTS} frames and sounds at least, half to calibrate on, and there are "
            f"{len(inputs.frames)} and {len(inputs.sounds)}: give more files with --input DIR"
        )


def measure_agreement(
    net_vectors: tuple[np.ndarray, np.ndarray], runs: Mapping[str, Run], held_back: RealInputs
) -> dict[str, float]:
    """Compare int8 files with the net in float32 on inputs that they weren't calibrated on.

    Args:
        net_vectors: unit vectors of the held-back frames and sounds, of the net.
        runs: {"frames", "sounds": runs the file}.
        held_back: the inputs.

    Returns:
        cosine_frames, cosine_sounds: mean cosine with the net's vectors; top1: the share of frames and sounds for which
        the most similar one of the other kind is the same.

    Raises:
        UserError: they agree too little.
    """
    v, a = net_vectors
    _, v8 = runs["frames"]({"frames": held_back.frames})[:2]
    _, a8 = runs["sounds"]({"sounds": to_float(held_back.sounds)})[:2]
    scores, scores8 = v @ a.T, v8 @ a8.T
    same = [(scores.argmax(axis) == scores8.argmax(axis)).mean() for axis in (0, 1)]
    found = {"cosine_frames": (v * v8).sum(1).mean(), "cosine_sounds": (a * a8).sum(1).mean(), "top1": np.mean(same)}
    rounded = {name: round(float(value), 5) for name, value in found.items()}
    if min(rounded["cosine_frames"], rounded["cosine_sounds"]) < MIN_COSINE or rounded["top1"] < MIN_TOP1:
        raise UserError(
            f"int8 agrees too little with float32 on {count_text(len(v), 'frame')} and {count_text(len(a), 'sound')} "
            f"that were held back (cosine of frames {rounded['cosine_frames']:.4f}, of sounds "
            f"{rounded['cosine_sounds']:.4f}, same first hit {rounded['top1']:.0%}; needed are {MIN_COSINE:g} and "
            f"{MIN_TOP1:.0%}): nothing was written; calibrate on more files like those that will be embedded, or leave "
            "out --int8"
        )
    return rounded
