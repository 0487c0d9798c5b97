"""Benchmarks of AVE-Net: a training step, and embedding clips."""

import copy
from typing import Any

import torch
from torch import Tensor

from evaluation.speed.timing import comparison, count_gflop, interleave, peak_rate
from evaluation.tasks.embeddings import embed_batches
from models.avenet import AVENet
from models.losses import avc_loss
from utils.config import Config
from utils.device import channels_last
from utils.optimizers import build_optimizers
from utils.precision import autocast

FRAME_SIZE, SPECTROGRAM_SIZE = 224, (257, 200)  # of the paper


def train_step(
    config: Config, limits: dict[str, float], device: torch.device, batch: int = 64, rounds: int = 2
) -> dict[str, Any]:
    """Benchmark forward, backward and update of AVE-Net with all pairs of a batch; baseline: one forward per pair.

    A batch of B clips gives B positives and counts for as many negatives, the paper's ratio, though all are used.

    Args:
        config: its training settings are used.
        limits: of the machine, see `machine_limits`.
        device: to train on.
        batch: clips.
        rounds: timed calls.
    """
    torch.manual_seed(0)
    frames, sounds = torch.randn(batch, FRAME_SIZE, FRAME_SIZE, 3), torch.randn(batch, 1, *SPECTROGRAM_SIZE)
    frames, sounds = frames.to(device).permute(0, 3, 1, 2), sounds.to(device)  # channels last, as from PairTransform
    contiguous, labels = frames.contiguous(), (torch.arange(batch, device=device) % 2).float()
    baseline_net, net = AVENet().to(device).train(), AVENet().to(device).train()
    channels_last(net)
    adam = torch.optim.Adam(baseline_net.parameters(), 1e-4)
    optimizers = build_optimizers(config, net.parameter_groups(config.train.last_layer_lr_mult), device)

    def baseline() -> int:
        v, a = baseline_net.embed_frames(contiguous), baseline_net.embed_sounds(sounds)
        logits = baseline_net.pair_logits(v, a).diagonal()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        adam.step()
        adam.zero_grad()
        return batch

    def ours() -> int:
        with autocast(device, config.train.precision):
            loss, _ = avc_loss(net(frames, sounds)[2])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return 2 * batch

    baseline_rate, rate = interleave(rounds, {"baseline": baseline, "ours": ours}, warm_up=True, device=device)
    gflop = count_gflop(lambda: net(frames[:2], sounds[:2])[2].sum().backward()) / 4  # two clips count for four pairs
    more = {"ratio_without_in_batch_pairs": rate.median / baseline_rate.median / 2, "limit": peak_rate(limits, gflop)}
    return comparison("pairs/s", baseline_rate, rate, **more)


def embed_clips(
    limits: dict[str, float], device: torch.device, count: int = 64, baseline_count: int = 8, rounds: int = 3
) -> dict[str, Any]:
    """Benchmark embedding clips for evaluation, batches in bf16; baseline: one clip after the other in fp32.

    Args:
        limits: of the machine, see `machine_limits`.
        device: of the net.
        count: clips.
        baseline_count: clips that the baseline embeds.
        rounds: timed calls.
    """
    net, frames, sounds = random_clips_and_net(count, device)
    baseline_net, net = net, copy.deepcopy(net)
    channels_last(net)
    batch = {"frames": frames.contiguous(memory_format=torch.channels_last), "sounds": sounds}
    batch |= {"indices": torch.arange(count), "times": torch.zeros(count)}
    embedded: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def baseline() -> int:
        embedded["baseline"] = [
            torch.cat([embed(inputs[k : k + 1]) for k in range(baseline_count)]).cpu()
            for embed, inputs in ((baseline_net.embed_frames, frames), (baseline_net.embed_sounds, sounds))
        ]
        return baseline_count

    def ours() -> int:
        v, a, *_ = embed_batches(net, [batch], lambda batch: (batch["frames"], batch["sounds"]))
        embedded["ours"] = [v[:baseline_count], a[:baseline_count]]
        return count

    rates = interleave(rounds, {"baseline": baseline, "ours": ours}, warm_up=True, device=device)
    gflop = count_gflop(lambda: (baseline_net.embed_frames(frames[:1]), baseline_net.embed_sounds(sounds[:1])))
    pairs = zip(embedded["baseline"], embedded["ours"], strict=True)
    cosine = min((expected * actual).sum(1).min().item() for expected, actual in pairs)
    diagonal = 2 * torch.eye(baseline_count)
    others = max((vectors @ vectors.T - diagonal).max().item() for vectors in embedded["baseline"])
    more = {"limit": peak_rate(limits, gflop), "cosine": cosine, "cosine_of_different_clips": others}
    return comparison("clips/s", rates[0], rates[1], **more)


def random_clips_and_net(count: int, device: torch.device) -> tuple[AVENet, Tensor, Tensor]:
    """Make an untrained AVE-Net in eval mode whose embeddings of random inputs differ.

    Args:
        count: inputs.
        device: of the net and the inputs.

    Returns:
        the net, frames (count, 3, 224, 224) and spectrograms (count, 1, 257, 200), float32.
    """
    torch.manual_seed(0)
    frames = torch.randn(count, 3, FRAME_SIZE, FRAME_SIZE).to(device)
    sounds = torch.randn(count, 1, *SPECTROGRAM_SIZE).to(device)
    frames *= torch.rand(count, 3, 1, 1, device=device)  # colors that differ
    net = AVENet().to(device)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of these inputs alone, as after a training
    net.data_dependent_init(frames, sounds)
    return net.eval(), frames, sounds
