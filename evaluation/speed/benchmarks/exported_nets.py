"""Hold an ONNX export, in fp32 and in int8, against its net in torch: retrieval in the test split, agreement, CPU time.

    python export.py --checkpoint FILE --to onnx --out DIR
    python export.py --checkpoint FILE --to onnx --int8 --out INT8_DIR
    OMP_NUM_THREADS=1 python -m evaluation.speed.benchmarks.exported_nets FILE DIR INT8_DIR

prints a row of docs/export.md's tables for each engine. Every engine computes in one thread. They embed the same
frames and sounds alternately; the least CPU time of each counts.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evaluation.exporting.onnx_files import open_session
from evaluation.exporting.onnx_net import load_onnx_net
from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import DIRECTIONS, four_directions
from evaluation.tasks.embeddings import SplitEmbeddings, embed_split, open_eval_split
from evaluation.tasks.retrieval import cross_scores
from evaluation.trained_net import TrainedNet, load_trained_net
from utils.errors import UserError, exit_on_user_error

BATCH, ROUNDS = 32, 5


def open_engines(checkpoint: str, exported: str, int8: str) -> dict[str, TrainedNet]:
    """Open the same net as each engine computes it: {name: net}.

    Args:
        checkpoint: of the net.
        exported: folder of its export in fp32.
        int8: folder of its export in int8.
    """
    engines = {f"torch, {name}": load_trained_net(checkpoint, {"train.precision": name}) for name in ("fp32", "bf16")}
    for name, folder in (("fp32", exported), ("int8", int8)):
        sessions = {side: open_session(Path(folder, f"{side}.onnx"), threads=1) for side in ("frames", "sounds")}
        engines[f"onnxruntime, {name}"] = replace(load_onnx_net(folder), **sessions)
    return engines


def embed(net: TrainedNet, frames: np.ndarray, sounds: np.ndarray) -> tuple[Tensor, Tensor]:
    """Embed frames and sounds in batches.

    Args:
        net: of an engine.
        frames: (N, S, S, 3) uint8.
        sounds: (N, samples) int16.

    Returns:
        Their embeddings, (N, ...) float32.
    """
    starts = range(0, len(frames), BATCH)
    v = [net.embed_frames(frames[start : start + BATCH]).float() for start in starts]
    a = [net.embed_sounds(sounds[start : start + BATCH]).float() for start in starts]
    return torch.cat(v), torch.cat(a)


def vectors(net: TrainedNet, embeddings: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Get the unit vectors of embedded frames and sounds, (N, D) each.

    Args:
        net: that embedded them.
        embeddings: of frames and of sounds.
    """
    v, a = net.encoder.frame_vectors(embeddings[0]).numpy(), net.encoder.sound_vectors(embeddings[1]).numpy()
    return v / np.linalg.norm(v, axis=1, keepdims=True), a / np.linalg.norm(a, axis=1, keepdims=True)


def cross(net: TrainedNet, split: SplitEmbeddings, embeddings: tuple[Tensor, Tensor]) -> np.ndarray:
    """Score all frames with all sounds as eval.py ranks them, (N, N).

    Args:
        net: that embedded them.
        split: whose clips they are of.
        embeddings: of frames and of sounds.
    """
    scores = cross_scores(net, replace(split, v=embeddings[0], a=embeddings[1]), True)
    if scores:
        return scores("im-aud", np.arange(len(split)))
    v, a = vectors(net, embeddings)
    return v @ a.T


def main(checkpoint: str, exported: str, int8: str) -> None:
    """Print a row for each engine: name, time, nDCG of the four directions, cosine, same first hits.

    Args:
        checkpoint: of the net.
        exported: folder of its export in fp32.
        int8: folder of its export in int8.
    """
    engines = open_engines(checkpoint, exported, int8)
    first, *_ = engines.values()
    config, ontology = first.config, load_ontology(first.config.eval.ontology)
    split = embed_split(first.encoder, config, open_eval_split(config, "test"))
    samples = [split.sample(k) for k in range(len(split))]
    frames, sounds = (np.stack(side) for side in zip(*samples, strict=True))
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for _ in range(ROUNDS):
        for name, net in engines.items():
            begin = time.process_time()
            found[name] = embed(net, frames, sounds)
            seconds[name].append(time.process_time() - begin)
    (base_v, base_a), base_scores = vectors(first, found["torch, fp32"]), cross(first, split, found["torch, fp32"])
    for name, net in engines.items():
        (v, a), scores = vectors(net, found[name]), cross(net, split, found[name])
        embedded = replace(split, v=found[name][0], a=found[name][1])
        settings = config.eval
        measured = four_directions(
            v, a, split.labels, ontology, settings.k, settings.gain, cross_scores=cross_scores(net, embedded, True)
        )
        ndcg = " ".join(f"{measured[direction]['ndcg']:.4f}" for direction in DIRECTIONS)
        cosine = np.mean([(v * base_v).sum(1).mean(), (a * base_a).sum(1).mean()])
        same = [f"{(scores.argmax(axis) == base_scores.argmax(axis)).mean():.1%}" for axis in (1, 0)]
        time_ratio = min(seconds[name]) / min(seconds["torch, fp32"])
        print(f"| {name} | {time_ratio:.2f} | {ndcg} | {cosine:.5f} | {', '.join(same)} |", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        if len(sys.argv) != 4:
            raise UserError("give a checkpoint and the folders of its exports in fp32 and in int8")
        main(*sys.argv[1:])
