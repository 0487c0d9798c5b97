"""Training losses and steps: audio-visual correspondence (OtS sec. 3.1) and separation masks (SoP sec. 3.2).

A step maps (model, batch) to (loss, metrics), for `utils.engine.fit`.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.avenet import AVCNet
from models.pixelplayer import PixelPlayer
from utils.health import health_metrics, mask_metrics

Batch = dict[str, Any]  # of `dataset.loading.loader.collate`, with "progress" and "gather" of `utils.engine.fit`
Loss = tuple[Tensor, dict[str, Tensor]]  # scalar, and scalar metrics by name


def avc_loss(logits: Tensor, negatives: str = "all", first: int = 0) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of "do frame and sound correspond?", positives and negatives weighted half each.

    The paper's loss (OtS sec. 3.1: two-way softmax and cross-entropy, as many negatives as positives), written for the
    difference of the two outputs and for a batch that was embedded once.

    Args:
        logits: (B, B) float; [i, j] is the log-odds that frame i and sound j correspond; positives on the diagonal.
            With "off_grid" (B, 2 B): the right half belongs to each clip's other second of sound.
            Of several processes (B, M): the rows of B of the frames that M sounds belong to.
        negatives: "all": every frame with every other clip's sound. "one": frame i with the sound of clip i + 1, the
            paper's one negative for each positive (the batch's order is random). "off_grid": the same with that clip's
            other second, which was cut at any time, not around a frame. How a sound was cut then gives the answer away:
            the shortcut that OtS sec. 3.3 warns of, for demonstration only.
        first: column of frame 0's sound; the next column belongs to frame 1.

    Returns:
        (loss, accuracy): scalars; accuracy is the mean of the fraction of positives with a logit above 0 and the
        fraction of negatives without, so chance is 0.5 even where all logits are equal.
    """
    positive = logits.diagonal(first)  # (B,)
    if negatives == "off_grid":
        negative = logits[:, -len(logits) :].roll(-1, dims=1).diagonal()  # (B,)
    elif negatives == "one":
        negative = logits.roll(-1, dims=1).diagonal(first)  # (B,)
    else:
        # Row i without column first + i, (B, M - 1). By indices: a mask would wait for the device.
        others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
        own = torch.arange(first, first + len(logits), device=logits.device)[:, None]
        negative = logits.gather(1, others + (others >= own))
    loss = (F.softplus(-positive).mean() + F.softplus(negative).mean()) / 2
    accuracy = ((positive > 0).float().mean() + (negative <= 0).float().mean()) / 2
    return loss, accuracy


def make_avc_step(
    transform: Callable[[Batch], tuple[Tensor, Tensor]],
    negatives: str = "all",
    aux_loss_weight: float = 0.0,
    aux_heads: int = 2,
) -> Callable[[AVCNet, Batch], Loss]:
    """Make the training step of a net of audio-visual correspondence.

    Args:
        transform: maps a batch to normalized frames (B, 3, S, S) and spectrograms (B, 1, F, T).
        negatives: as of `avc_loss`.
        aux_loss_weight: weight in 0..1 of the mean loss of the auxiliary heads; the main head has the rest. 0 leaves
            them out.
        aux_heads: how many of the net's auxiliary heads are trained, the first ones.

    Returns:
        (model, batch) -> (loss, metrics): accuracy and those of `utils.health.health_metrics`.
    """

    def step(model: AVCNet, batch: Batch) -> Loss:
        gather = batch["gather"]
        first = gather.first if gather else 0
        frames, spectrograms = transform(batch)
        forward = model.forward_with_aux if aux_loss_weight else model
        v, a, logits, *aux_logits = forward(frames, spectrograms, gather)  # (B, ...), (M, ...), (B, M)
        loss, accuracy = avc_loss(logits, negatives, first)
        if aux_loss_weight:
            aux_losses = [avc_loss(aux, negatives, first)[0] for aux in aux_logits[:aux_heads]]
            aux_loss = torch.stack(aux_losses).mean()
            loss = (1 - aux_loss_weight) * loss + aux_loss_weight * aux_loss
        own = slice(first, first + len(v))
        v, a, logits = model.frame_vectors(v), model.sound_vectors(a[own]), logits[:, own]
        return loss, {"accuracy": accuracy, **health_metrics(v, a, logits, model.logit_scale())}

    return step


def mask_loss(logits: Tensor, targets: Tensor, weights: Tensor, kind: str) -> Tensor:
    """Compute the loss of masks: cross-entropy, or L1 for ratio masks, weighted and averaged (SoP sec. 3.2).

    Args:
        logits: (B, N, F, T).
        targets: (B, N, F, T), 0 or 1; ratios are 0 or more.
        weights: (B, 1, F, T), of each frequency and time.
        kind: mix.mask: "binary", "soft" or "ratio".

    Returns:
        scalar.
    """
    weights = weights.expand_as(logits)
    if kind != "ratio":
        return F.binary_cross_entropy_with_logits(logits, targets, weights)
    return (weights * (torch.sigmoid(logits) - targets).abs()).mean()


class MixtureTransform(Protocol):
    """What a separation step asks of `dataset.transforms.mixtures.MixtureTransform`."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Prepare a `batch` of B clips: frames (B, T, 3, S, S), waves (B, samples)."""
        ...

    def avc_spectrograms(self, batch: Batch) -> Tensor:
        """Prepare the unmixed sounds of a `batch` for the AVC branch: (B, 1, F, T)."""
        ...


class MixtureSpectra(Protocol):
    """What a separation step asks of `dataset.transforms.mixtures.MixtureSTFT`."""

    def stft(self, waves: Tensor) -> Tensor:
        """Transform `waves`, (B, samples) -> (B, bins, columns) complex."""
        ...

    def net_input(self, mixture: Tensor) -> Tensor:
        """Compute the sound net's input from a `mixture`, (B, bins, columns) complex -> (B, 1, F, T)."""
        ...

    def targets(self, sources: Tensor, mixture: Tensor) -> Tensor:
        """Compute ideal masks (B, N, F, T) of `sources` (B, N, bins, columns) in a `mixture` (B, bins, columns)."""
        ...

    def weights(self, mixture: Tensor) -> Tensor:
        """Compute weights (B, 1, F, T) of frequencies and times from a `mixture`, (B, bins, columns) complex."""
        ...


def make_separation_step(
    transform: MixtureTransform,
    spectra: MixtureSpectra,
    stack_sources: Callable[[Tensor], Tensor],
    mask: str,
    avc_loss_weight: float = 0.0,
    avc_warmup: float = 0.0,
) -> Callable[[PixelPlayer, Batch], Loss]:
    """Make the training step of PixelPlayer on mixtures of the batch's clips, and of its AVC branch if it has one.

    Args:
        transform: prepares frames and waves.
        spectra: computes spectra of mixtures.
        stack_sources: values of B clips, (B, ...) -> of the N sources of B mixtures, (B, N, ...).
        mask: kind of masks, mix.mask.
        avc_loss_weight: weight in 0..1 of the AVC branch's loss; the masks' loss has the rest.
        avc_warmup: fraction of the run, its start, in which the AVC branch is trained alone.

    Returns:
        (model, batch) -> (loss, metrics): those of `utils.health.mask_metrics`; with an AVC branch also avc_accuracy
        and the two losses, loss_match and loss_masks.
    """

    def step(model: PixelPlayer, batch: Batch) -> Loss:
        frames, waves = transform(batch)  # (B, T, 3, S, S), (B, samples)
        features = model.frames.backbone_features(frames)  # (B, C, T, h, w)
        metrics: dict[str, Tensor] = {}
        if model.match:
            avc_logits = model.match(features, transform.avc_spectrograms(batch))[2]  # (B, B)
            metrics["loss_match"], metrics["avc_accuracy"] = avc_loss(avc_logits)
            if batch["progress"] < avc_warmup:
                return metrics["loss_match"], metrics
        sources = stack_sources(spectra.stft(waves))  # (B, N, bins, columns)
        sources = sources / sources.shape[1]
        mixture = sources.sum(1)  # (B, bins, columns)
        maps = model.sound_maps(spectra.net_input(mixture))  # (B, K, F, T)
        logits = model.mask_logits(stack_sources(model.pooled_features(features)), maps)  # (B, N, F, T)
        targets, weights = spectra.targets(sources, mixture), spectra.weights(mixture)
        loss = mask_loss(logits, targets, weights, mask)
        metrics |= mask_metrics(logits, targets, weights)
        if model.match:
            metrics["loss_masks"] = loss
            loss = (1 - avc_loss_weight) * loss + avc_loss_weight * metrics["loss_match"]
        return loss, metrics

    return step
