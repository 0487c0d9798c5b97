"""Benchmark embedding by torch beside onnxruntime, in fp32 and in int8, on the files that export.py would write."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.exporting.graphs import Graph
from evaluation.exporting.onnx_files import PACKAGES, open_session, run_session, write_onnx
from evaluation.exporting.quantization import quantize
from evaluation.speed.benchmarks.net_benchmarks import random_clips_and_net
from evaluation.speed.benchmarks.optional_libraries import Library
from evaluation.speed.timing import comparison, interleave
from evaluation.tasks.embeddings import embed_batches
from models.folding import fold_batch_norms
from utils.device import channels_last

ONNX_LIBRARIES = tuple(Library(name, name) for name in PACKAGES)


class _Embedding(nn.Module):
    """One of a net's two encoders with its head: embeds frames, or spectrograms."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, inputs: Tensor) -> Tensor:
        return getattr(self.model, self.method)(inputs)


def onnx_embedding(count: int = 16, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """Benchmark embedding clips by torch as eval.py does, beside onnxruntime; both on the CPU.

    Args:
        count: clips.
        rounds: timed calls.

    Returns:
        {engine: comparison}; {} if its libraries aren't installed. Its cosine is that of both engines' embeddings.
    """
    if any(library.load() is None for library in ONNX_LIBRARIES):
        return {}
    net, frames, sounds = random_clips_and_net(count, torch.device("cpu"))
    inputs = {"embed_frames": frames, "embed_sounds": sounds}
    folded, found = fold_batch_norms(net), {}
    channels_last(net)
    batch = {"frames": frames.contiguous(memory_format=torch.channels_last), "sounds": sounds}
    batch |= {"indices": torch.arange(count), "times": torch.zeros(count)}
    embedded: dict[str, list[Tensor]] = {}

    def ours() -> int:
        embedded["ours"] = list(embed_batches(net, [batch], lambda batch: (batch["frames"], batch["sounds"]))[:2])
        return count

    with tempfile.TemporaryDirectory() as folder:
        paths = {method: Path(folder) / f"{method}.onnx" for method in inputs}
        for method, values in inputs.items():
            module = _Embedding(folded, method).eval()
            write_onnx(Graph(module, {"x": values[:2]}, {"x": {0: "batch"}}, ("y",), ""), paths[method])
        for engine in ("onnxruntime fp32", "onnxruntime int8"):
            if engine.endswith("int8"):
                for method, path in paths.items():
                    quantize(path, "x", inputs[method].numpy())
            sessions = {method: open_session(path, threads=1) for method, path in paths.items()}

            def theirs(sessions: dict[str, Any] = sessions) -> int:
                embedded["theirs"] = [
                    torch.from_numpy(run_session(sessions[method], {"x": values.numpy()})[0])
                    for method, values in inputs.items()
                ]
                return count

            rates = interleave(rounds, {"baseline": theirs, "ours": ours}, warm_up=True, device=torch.device("cpu"))
            pairs = zip(embedded["theirs"], embedded["ours"], strict=True)
            cosine = min((one * other).sum(1).min().item() for one, other in pairs)
            found[engine] = comparison("clips/s", *rates, cosine=cosine)
    return found
