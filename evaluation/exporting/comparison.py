"""Check the files of an export against the net, on real frames and sounds."""

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.reading.audio import INT16_SCALE
from dataset.transforms.frames import prepare_frames
from dataset.transforms.mixtures import MixtureSTFT
from evaluation.exporting.graphs import Graph
from evaluation.exporting.real_inputs import RealInputs
from evaluation.trained_net import TrainedNet
from models.interfaces import SeparatingNet
from utils.errors import UserError

TOLERANCE = 1e-4  # of each output; of outputs above 1 relative to the largest
BATCHES = (1, 3)  # rows of the first batches; the last one has the rest: any size must work
PLACES = 5  # of a frame, at which a PixelPlayer is checked
Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]  # runs a file


def check_files(net: TrainedNet, graphs: Mapping[str, Graph], runs: Mapping[str, Run], inputs: RealInputs) -> float:
    """Compare what files compute with what the net computes.

    Args:
        net: on the CPU, in float32.
        graphs: that were written.
        runs: {name of a graph: runs its file}.
        inputs: real frames and sounds.

    Returns:
        the largest difference of an output, of outputs above 1 relative to the largest.

    Raises:
        UserError: it is above TOLERANCE.
    """
    check = _check_separation if isinstance(net.model, SeparatingNet) else _check_embeddings
    worst = 0.0
    for name, output, found, expected, allowed in check(net, graphs, runs, inputs):
        difference = _difference(found, expected)
        if not difference <= allowed:
            raise UserError(
                f"output {output!r} of {name} differs from the net's by {difference:.2g} on real inputs, more than "
                f"{allowed:.2g}: nothing was written; take --to safetensors"
            )
        worst = max(worst, difference)
    return worst


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, of values above 1 relative to the largest; infinite if the shapes differ."""
    if found.shape != expected.shape:
        return np.inf
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def _in_batches(run: Run, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a file on batches of several sizes, and join its outputs."""
    count, edges = len(next(iter(inputs.values()))), [0]
    for size in BATCHES:
        edges.append(min(edges[-1] + size, count))
    edges.append(count)
    parts = [
        run({name: values[start:end] for name, values in inputs.items()})
        for start, end in pairwise(edges)
        if end > start
    ]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


# (graph, output, what the file gives, what the net gives, how much they may differ)
Found = list[tuple[str, str, np.ndarray, np.ndarray, float]]


def to_float(sounds: np.ndarray) -> np.ndarray:
    """Convert `sounds`, int16, to what the files take: float32 in -1..1."""
    return sounds.astype(np.float32) / np.float32(INT16_SCALE)


def _check_embeddings(
    net: TrainedNet, graphs: Mapping[str, Graph], runs: Mapping[str, Run], inputs: RealInputs
) -> Found:
    found: Found = []

    def compare(name: str, given: list[np.ndarray], expected: list[Tensor | None]) -> None:
        wanted = [values.numpy() for values in expected if values is not None]
        found.extend((name, *row, TOLERANCE) for row in zip(graphs[name].outputs, given, wanted, strict=True))

    v, objects = net.embed_with_objects(inputs.frames)
    a = net.embed_sounds(inputs.sounds)
    compare("frames", _in_batches(runs["frames"], {"frames": inputs.frames}), [v, net.frame_vectors(v), objects])
    compare("sounds", _in_batches(runs["sounds"], {"sounds": to_float(inputs.sounds)}), [a, net.sound_vectors(a)])
    compare("scores", runs["scores"]({"frames": v.numpy(), "sounds": a.numpy()}), [net.correspondence(v, a)])
    if "maps" in graphs:
        count = min(len(v), len(a))
        three = {"frames": v, "sounds": a} | ({} if objects is None else {"objects": objects})
        given = {name: values[:count].numpy() for name, values in three.items()}
        expected = net.localize(v[:count], a[:count], None if objects is None else objects[:count])
        compare("maps", _in_batches(runs["maps"], given), [expected])
    return found


@torch.no_grad()
def _check_separation(
    net: TrainedNet, graphs: Mapping[str, Graph], runs: Mapping[str, Run], inputs: RealInputs
) -> Found:
    model: Any = net.separating_net
    stft, count = MixtureSTFT(net.config.mix), min(map(len, inputs))
    frames, sounds = inputs.frames[:count], to_float(inputs.sounds[:count])
    features = model.pixel_features(prepare_frames(torch.from_numpy(frames), net.config.data.frame_size))
    waves = torch.from_numpy(sounds)
    spectra = stft.stft(waves)
    maps = model.sound_maps(stft.net_input(spectra))
    # Of quiet bins beside loud ones the logarithm is uncertain in float32: a file may err as much as the net does.
    exact = copy.deepcopy(model).double().sound_maps(stft.net_input(stft.stft(waves.double()))).numpy()
    own_error = _difference(maps.numpy(), exact)
    (shown,), (heard,) = (
        _in_batches(runs["frames"], {"frames": frames}),
        _in_batches(runs["sounds"], {"sounds": sounds}),
    )
    chosen = features.flatten(2)[:, :, :: max(features[0, 0].numel() // PLACES, 1)].transpose(1, 2).contiguous()
    given: dict[str, Any] = {"features": chosen.numpy(), "maps": maps.numpy(), "sounds": sounds}
    masks, separated = _in_batches(runs["masks"], given)
    # Of its own masks: at the threshold of binary ones the last bit decides.
    expected = stft.apply_masks(torch.from_numpy(masks), spectra, sounds.shape[1])
    wanted = torch.sigmoid(model.mask_logits(chosen, maps))
    return [
        ("frames", "features", shown, features.numpy(), TOLERANCE),
        ("sounds", "maps", heard, exact, max(TOLERANCE, own_error)),
        ("masks", "masks", masks, wanted.numpy(), TOLERANCE),
        ("masks", "separated", separated, expected.numpy(), TOLERANCE),
    ]
