"""Training losses and steps: audio-visual correspondence (OtS sec. 3.1) and separation masks (SoP sec. 3.2).

A step maps (model, batch) to (loss, metrics), for `utils.engine.fit`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.avenet import AVCNet
from models.avolnet import AVOLNet
from models.contrast import infonce_loss
from models.interfaces import Gather
from models.moments import GatherMoments, mean_over_moments
from models.pixelplayer import PixelPlayer
from utils.health import health_metrics, mask_metrics, ranking_metrics

Batch = dict[str, Any]  # of `dataset.loading.loader.collate`, with "progress" and "gather" of `utils.engine.fit`
Loss = tuple[Tensor, dict[str, Tensor]]  # scalar, and scalar metrics by name


def avc_loss(
    logits: Tensor, negatives: str = "all", first: int = 0, extra: int = 0, share: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of "do frame and sound correspond?", positives and negatives weighted half each.

    The paper's loss (OtS sec. 3.1: two-way softmax and cross-entropy, as many negatives as positives), written for the
    difference of the two outputs and for a batch that was embedded once.

    Args:
        logits: (B, B) float; [i, j] is the log-odds that frame i and sound j correspond; positives on the diagonal.
            With "off_grid" (B, 2 B): the right half belongs to each clip's other second of sound.
            Of several processes (B, M): the rows of B of the frames that M sounds belong to.
            The last `extra` columns belong to sounds that match no frame.
        negatives: "all": every frame with every other clip's sound. "one": frame i with the sound of clip i + 1, the
            paper's one negative for each positive (the batch's order is random). "off_grid": the same with that clip's
            other second, which was cut at any time, not around a frame. How a sound was cut then gives the answer away:
            the shortcut that OtS sec. 3.3 warns of, for demonstration only.
        first: column of frame 0's sound; the next column belongs to frame 1.
        extra: number of sounds that match no frame (silence, noise).
        share: fraction in 0..1 of the negatives' weight that their pairs with all frames have.

    Returns:
        (loss, accuracy): scalars; accuracy is the mean of the fraction of positives with a logit above 0 and the
        fraction of negatives without, so chance is 0.5 even where all logits are equal. Extra sounds don't count.
    """
    logits, extra_logits = logits[:, : logits.shape[1] - extra], logits[:, logits.shape[1] - extra :]
    positive = logits.diagonal(first)  # (B,)
    if negatives == "off_grid":
        negative = logits[:, -len(logits) :].roll(-1, dims=1).diagonal()  # (B,)
    elif negatives == "one":
        negative = logits.roll(-1, dims=1).diagonal(first)  # (B,)
    else:
        # By indices: a mask would wait for the device.
        negative = logits.gather(1, _other_columns(*logits.shape, first, logits.device))
    negative_loss = F.softplus(negative).mean()
    if extra:
        negative_loss = (1 - share) * negative_loss + share * F.softplus(extra_logits).mean()
    loss = (F.softplus(-positive).mean() + negative_loss) / 2
    accuracy = ((positive > 0).float().mean() + (negative <= 0).float().mean()) / 2
    return loss, accuracy


@lru_cache(maxsize=1)  # large; from one step to the next it is the same
def _other_columns(rows: int, columns: int, first: int, device: torch.device) -> Tensor:
    """Of each row i all columns but first + i: (rows, columns - 1)."""
    others = torch.arange(columns - 1, device=device).expand(rows, -1)
    return others + (others >= torch.arange(first, first + rows, device=device)[:, None])


def contrastive_loss(
    model: AVCNet,
    v: Tensor,
    a: Tensor,
    kind: str,
    temperature: float,
    gather: Gather | None = None,
    extra: int = 0,
    share: float = 0.0,
    moments: int = 1,
) -> Loss:
    """Compute InfoNCE of a net's cosines, and the loss that fits the net's last layer to them.

    InfoNCE ranks pairs and trains no last layer, but evaluation, maps and search read its logits. So the last layer is
    fitted by `avc_loss` on the same embeddings, without gradient to them: its logits stay log-odds with their
    threshold at 0, and the embeddings learn from InfoNCE alone.

    Args:
        model: the net; for "max_infonce" an AVOL-Net.
        v: embedded frames, (B, ...); of several moments (moments * B, ...), see `models.moments`.
        a: embedded sounds, (M + K, ...): those of all processes, then K extra sounds.
        kind: "infonce": cosines of `frame_vectors` and `sound_vectors` (AVOL-Net: of the mean over locations).
            "max_infonce": the largest cosine over a frame's locations (EZ-VSL, arXiv 2203.09324).
        temperature: of the softmax, unless the net learns its own.
        gather: collects the frames of other processes, as it has their sounds.
        extra, share: as of `infonce_loss`; K and their share of the negatives.
        moments: of each clip, over which cosines and logits are averaged.

    Returns:
        (loss, metrics): the sum of the two losses; loss_contrast, loss_avc, accuracy (of the last layer's logits) and
        those of `utils.health.ranking_metrics`; with a learned temperature also temperature.
    """
    cosines = model.cosines
    if kind == "max_infonce":
        assert isinstance(model, AVOLNet)
        cosines = model.largest_cosines
    first = gather.first if gather else 0
    scale = model.temperature() if model.temperature else v.new_full((), 1 / temperature)
    frames_to_sounds = mean_over_moments(cosines(v, a), moments, extra)  # (B, M + K)
    clips = frames_to_sounds.shape[1] - extra  # M
    # A sound's softmax is over all frames, also those of other processes.
    own = slice(first, first + len(frames_to_sounds))
    if gather:
        own_sounds = a[: moments * clips].unflatten(0, (moments, -1))[:, own].flatten(0, 1)
        sounds_to_frames = mean_over_moments(cosines(gather(v), own_sounds), moments).T  # (B, M)
    else:
        sounds_to_frames = frames_to_sounds[:, own].T  # (B, M)
    contrast = infonce_loss(frames_to_sounds, sounds_to_frames, scale, first, extra, share)
    logits = mean_over_moments(model.pair_logits(v.detach(), a.detach()), moments, extra)
    fit, accuracy = avc_loss(logits, "all", first, extra, share)
    metrics = {"loss_contrast": contrast.detach(), "loss_avc": fit.detach(), "accuracy": accuracy}
    metrics |= ranking_metrics(frames_to_sounds[:, :clips], first)
    if model.temperature:
        metrics["temperature"] = 1 / scale.detach()
    return contrast + fit, metrics


class PairTransform(Protocol):
    """What a step of audio-visual correspondence asks of `dataset.transforms.frames.PairTransform`."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Prepare a `batch` of B clips: normalized frames (B, 3, S, S) and spectrograms (B, 1, F, T)."""
        ...

    def silence_and_noise(self, batch: Batch, count: int) -> Tensor:
        """Make `count` spectrograms of silence and noise, as long as the sounds of `batch`: (count, 1, F, T)."""
        ...


def make_avc_step(
    transform: PairTransform,
    negatives: str = "all",
    aux_loss_weight: float = 0.0,
    aux_heads: int = 2,
    kind: str = "avc",
    temperature: float = 0.07,
    silence: float = 0.0,
    moments: int = 1,
) -> Callable[[AVCNet, Batch], Loss]:
    """Make the training step of a net of audio-visual correspondence.

    Args:
        transform: maps a batch to normalized frames (B, 3, S, S) and spectrograms (B, 1, F, T).
        negatives: as of `avc_loss`.
        aux_loss_weight: weight in 0..1 of the mean loss of the auxiliary heads, which is always `avc_loss`; the main
            head has the rest. 0 leaves them out.
        aux_heads: how many of the net's auxiliary heads are trained, the first ones.
        kind: train.loss: "avc" (`avc_loss`), "infonce" or "max_infonce" (`contrastive_loss`).
        temperature: of InfoNCE, unless the net learns its own.
        silence: fraction in 0..1 of the negatives whose sound is silence or noise, as many extra sounds as that share
            of the batch, at least 2. They go through the net together with the clips' sounds.
        moments: of each clip, whose frames and sounds `transform` gives as rows of their own, see `models.moments`; the
            logit of two clips is the mean over aligned moments.

    Returns:
        (model, batch) -> (loss, metrics): accuracy, those of `utils.health.health_metrics`, with InfoNCE those of
        `contrastive_loss`; with silence also silence_accuracy, the fraction of pairs with it whose logit is not above
        0.
    """

    def step(model: AVCNet, batch: Batch) -> Loss:
        gather = batch["gather"]
        if gather and moments > 1:
            gather = GatherMoments(gather, moments)
        first = gather.first if gather else 0
        frames, spectrograms = transform(batch)
        clips = len(frames) // moments  # B
        extra = max(2, round(silence * clips)) if silence else 0
        if extra:
            spectrograms = torch.cat([spectrograms, transform.silence_and_noise(batch, extra)])
        forward = model.forward_with_aux if aux_loss_weight else model
        v, a, *heads = forward(frames, spectrograms, gather)  # (B, ...), (M + K, ...), (B, M + K) for each head
        logits, *aux_logits = (mean_over_moments(head, moments, extra) for head in heads)
        if kind == "avc":
            loss, accuracy = avc_loss(logits, negatives, first, extra, silence)
            metrics = {"accuracy": accuracy}
        else:
            loss, metrics = contrastive_loss(model, v, a, kind, temperature, gather, extra, silence, moments)
        if extra:
            metrics["silence_accuracy"] = (logits[:, -extra:] <= 0).float().mean()
        if aux_loss_weight:
            aux_losses = [avc_loss(aux, negatives, first, extra, silence)[0] for aux in aux_logits[:aux_heads]]
            aux_loss = torch.stack(aux_losses).mean()
            loss = (1 - aux_loss_weight) * loss + aux_loss_weight * aux_loss
        own = slice(first, first + clips)  # of the first moments
        v, a, logits = model.frame_vectors(v[:clips]), model.sound_vectors(a[own]), logits[:, own]
        return loss, {**metrics, **health_metrics(v, a, logits, model.logit_scale())}

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
    avc_kind: str = "avc",
    temperature: float = 0.07,
) -> Callable[[PixelPlayer, Batch], Loss]:
    """Make the training step of PixelPlayer on mixtures of the batch's clips, and of its AVC branch if it has one.

    Args:
        transform: prepares frames and waves.
        spectra: computes spectra of mixtures.
        stack_sources: values of B clips, (B, ...) -> of the N sources of B mixtures, (B, N, ...).
        mask: kind of masks, mix.mask.
        avc_loss_weight: weight in 0..1 of the AVC branch's loss; the masks' loss has the rest.
        avc_warmup: fraction of the run, its start, in which the AVC branch is trained alone.
        avc_kind: train.loss, of the AVC branch: "avc" (`avc_loss`) or "infonce" (`contrastive_loss`).
        temperature: of InfoNCE.

    Returns:
        (model, batch) -> (loss, metrics): those of `utils.health.mask_metrics`; with an AVC branch also avc_accuracy
        and the two losses, loss_match and loss_masks.
    """

    def step(model: PixelPlayer, batch: Batch) -> Loss:
        frames, waves = transform(batch)  # (B, T, 3, S, S), (B, samples)
        features = model.frames.backbone_features(frames)  # (B, C, T, h, w)
        metrics: dict[str, Tensor] = {}
        if model.match:
            v, a, avc_logits = model.match(features.flatten(2, 3), transform.avc_spectrograms(batch))
            metrics["loss_match"], metrics["avc_accuracy"] = avc_loss(avc_logits)  # of the logits (B, B)
            if avc_kind != "avc":
                metrics["loss_match"] = contrastive_loss(model.match, v, a, avc_kind, temperature)[0]
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
