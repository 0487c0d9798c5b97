"""Task "separation": separate fixed mixtures by the frames of their sources, compared with ideal masks (SoP sec. 4)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataset.loading.loader import Batch, drop_unreadable, make_loader, make_skip_handler
from dataset.loading.order import sequential_batches
from dataset.making.text import count_text
from dataset.mixes import MixtureDataset, find_mixtures, mixture_batches
from dataset.reading.audio import to_int16
from dataset.reading.benchmarks.benchmark import Benchmark
from dataset.reading.wav import write_wav
from dataset.transforms.frames import prepare_frames
from dataset.transforms.mixtures import MixtureSTFT
from evaluation.given.nets import NoSeparation
from evaluation.given.sounds import GivenSounds
from evaluation.measures.separation import (
    ESTIMATE_KINDS,
    MixtureScore,
    score_pairs,
    separation_summary,
    snr_improvement,
)
from evaluation.mixture_separator import ClipFeatures, SeparatedMixture, extract_clip_features, separate_mixtures
from evaluation.report.mixture_figures import write_mixture_images
from evaluation.report.selection import evenly_spaced
from evaluation.tasks.mixture_noise import read_noise
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models.interfaces import SeparatingNet
from models.losses import mask_loss
from utils import distributed
from utils.config import Config
from utils.errors import UserError
from utils.files import write_json
from utils.health import mask_metrics
from utils.precision import autocast
from utils.tensors import require_finite

MASK_EDGE = 1e-4  # of a mask that estimates imply, from 0 and 1
EXAMPLES = 12  # mixtures whose sounds and images are written


def validate_separation(
    model: SeparatingNet, config: Config, batches: Iterable[Batch], mixtures: Sequence[list[int]]
) -> dict[str, float]:
    """Measure the fixed mixtures of the validation split in seconds, by SNR: the SDR of eval.py takes minutes.

    Of several processes, each separates its share of them, and all get the measures.

    Args:
        model: the net, in eval mode.
        config: its settings.
        batches: of the split's `dataset.mixes.MixtureDataset`, the clips of this process's mixtures.
        mixtures: all, from `dataset.mixes.fixed_mixtures`.

    Returns:
        gain: `snr_improvement` of the estimates, mean over mixtures, dB; the mixture itself has 0. gain_error: its
        standard error. gain_ideal: of ideal binary masks. gain_swapped: of the estimates with frames swapped. loss,
        and the metrics of `mask_metrics`: means over batches.

    Raises:
        UserError: fewer than 2 mixtures can be measured, or a mask is not finite.
    """
    clips = extract_clip_features(model, config, batches)
    shares = distributed.all_gather_object(_measure_share(model, config, clips, mixtures))
    # In the order of one process: the first batch of each share, then the second.
    measured = [one for ones in zip_longest(*shares) for one in ones if one is not None]
    gains = torch.cat([gains for gains, _ in measured if len(gains)] or [torch.empty(0, 3)])
    gains = gains[gains.isfinite().all(1)].double()  # not finite: a silent source
    if len(gains) < 2:
        raise UserError("the validation split has fewer than 2 mixtures of sources with sound: it needs more clips")
    metrics = dict(zip(("gain", "gain_ideal", "gain_swapped"), gains.mean(0).tolist(), strict=True))
    metrics["gain_error"] = (gains[:, 0].std() / len(gains) ** 0.5).item()
    batch_metrics = [one for _, one in measured if one]
    return metrics | {name: float(np.mean([one[name] for one in batch_metrics])) for name in batch_metrics[0]}


def _measure_share(
    model: SeparatingNet, config: Config, clips: ClipFeatures, mixtures: Sequence[list[int]]
) -> list[tuple[Tensor, dict[str, float]]]:
    """Separate this process's batches of mixtures: of each the gains (B, 3) and the metrics, {} if none is readable."""
    measured = []
    for part in mixture_batches(mixtures, distributed.rank(), distributed.world_size()):
        gains, metrics = torch.empty(0, 3), dict[str, float]()
        for batch in separate_mixtures(model, config, clips, clips.readable(part)):  # one, or none
            kinds = (batch.estimates, batch.ideal_binary, batch.swapped)
            gains = torch.stack([snr_improvement(batch.truths, kind) for kind in kinds], 1)
            masks = (require_finite(batch.logits, "masks"), batch.targets, batch.weights)
            found = {"loss": mask_loss(*masks, config.mix.mask), **mask_metrics(*masks)}
            metrics = {name: value.item() for name, value in found.items()}
        measured.append((gains, metrics))
    return measured


class SeparationTask:
    """SDR, SIR and SAR, for every net that separates mixtures."""

    name = "separation"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` separates mixtures."""
        return isinstance(model, SeparatingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Separate and measure the fixed mixtures of the split of `context`: the section "separation".

        Sounds and images of EXAMPLES mixtures are written into OUT/separation, scores of all into its pairs.json.
        """
        net, config, clips = context.net, context.config, context.data.clips
        assert not isinstance(clips, Benchmark)  # `choose_tasks` runs localization alone on benchmarks
        (mixtures, listed), skipped = find_mixtures(clips, config.mix), dict(clips.skipped)
        dataset = MixtureDataset(clips, config.data, config.mix, middle=True)
        order = sequential_batches(len(dataset), config.eval.batch_size)
        loader = make_loader(dataset, order, config.train.workers, net.device)
        batches = drop_unreadable(loader, make_skip_handler(skipped, config.data.on_error), min_clips=0)
        features = extract_clip_features(net.separating_net, config, batches)
        readable, noise, judged = features.readable(mixtures), None, config.mix.sources
        given, before = context.sounds, len(readable)
        readable = [one for one in readable if not given or given.has([clips.ids[index] for index in one])]
        lacking = before - len(readable)
        if config.mix.noise_root:
            noise, judged = read_noise(config, clips, context.split, readable, skipped), 1  # as CLIPSep
            readable = noise.mixtures
        waves = noise.waves if noise else None
        separated = separate_mixtures(net.separating_net, config, features, readable, waves)

        folder = context.out / "separation"
        folder.mkdir(exist_ok=True)
        examples = {k: f"{k + 1:04d}" for k in evenly_spaced(len(readable), EXAMPLES)}

        def scored() -> Iterator[dict[str, np.ndarray]]:
            for k, mixture in enumerate(one for batch in separated for one in batch.split()):
                if given:
                    mixture = with_estimates(mixture, given, [clips.ids[index] for index in readable[k]], config)
                if k in examples:
                    frames = [dataset[0, index]["frame"] for index in readable[k]]
                    write_example(folder / examples[k], net, mixture, frames)
                yield known_signals(mixture, judged)

        scores = score_pairs(scored(), workers=torch.get_num_threads())
        entries = []
        for k, (indices, score) in enumerate(zip(readable, scores, strict=True)):
            names = [", ".join(map(context.ontology.name, clips.labels[index])) for index in indices]
            entry = {"folder": examples[k]} if k in examples else {}
            entry |= {"noise": noise.ids[k]} if noise else {}
            entries.append(
                entry | {"clips": [clips.ids[index] for index in indices], "classes": names} | _figures(score)
            )
        entries.sort(key=lambda entry: "folder" not in entry)  # those with sounds first
        write_json(folder / "pairs.json", entries)
        shared = [[len(clips) + index] for index in noise.indices] if noise else [[] for _ in readable]
        shared = [[*own, *others] for own, others in zip(readable, shared, strict=True)]
        measures = separation_summary(scores, shared) | {"unreadable": len(mixtures) - len(readable) - lacking}
        measures |= {"list": listed.about} if listed else {}
        measures |= {"masks": "softmax"} if config.eval.softmax_masks and not given else {}
        measures |= {"noise": config.mix.noise_root} if noise else {}
        notes = (mixture_list_note(listed.about),) if listed else ()
        return TaskResult({"separation": measures}, len(features.row), skipped, notes=notes)


def mixture_list_note(about: dict[str, str | int]) -> str:
    """Say in one sentence which list of mixtures was measured.

    Args:
        about: of `dataset.mixture_lists.MixtureList`.
    """
    missing = f", {about['missing']} of which the split lacks" if about["missing"] else ""
    mixtures = count_text(int(about["mixtures"]), "mixture")
    return f"the mixtures are those of the list {about['file']}: {mixtures}{missing}, SHA-256 {about['sha256']}"


def with_estimates(
    mixture: SeparatedMixture, sounds: GivenSounds, clips: list[str], config: Config
) -> SeparatedMixture:
    """Put another program's estimates in the place of a net's.

    Args:
        mixture: separated by `evaluation.given.nets.NoSeparation`.
        sounds: the estimates.
        clips: of the mixture.
        config: the settings.

    Returns:
        the mixture; the masks are those that the estimates imply.

    Raises:
        UserError: see `evaluation.given.sounds.GivenSounds.read`.
    """
    estimates = sounds.read(clips, config.mix.samples, config.data.sample_rate)
    stft = MixtureSTFT(config.mix)
    mixed, parts = (stft.stft(torch.from_numpy(wave)[None]) for wave in (mixture.mixture[None], estimates))
    shares = stft.targets(parts, mixed[:, 0])[0].clamp(MASK_EDGE, 1 - MASK_EDGE)
    return mixture._replace(estimates=estimates, swapped=np.roll(estimates, 1, 0), logits=torch.logit(shares).numpy())


def known_signals(mixture: SeparatedMixture, judged: int) -> dict[str, np.ndarray]:
    """List what `score_pairs` takes of a mixture.

    Args:
        mixture: separated.
        judged: how many of its sources are measured, the first ones.
    """
    signals = {kind: getattr(mixture, kind) for kind in ESTIMATE_KINDS}
    signals = {kind: signal[:judged] if signal.ndim > 1 else signal for kind, signal in signals.items()}
    return signals | {"truths": mixture.truths}


def _figures(score: MixtureScore) -> dict[str, Any]:
    """The entry of a mixture in pairs.json, ratios in dB."""
    if score.silent:
        return {"silent": score.silent}
    estimates, mixture, ideal = (score.ratios[kind] for kind in ("estimates", "mixture", "ideal_binary"))
    figures = {"nsdr": estimates.sdr - mixture.sdr, "nsdr_ideal_binary": ideal.sdr - mixture.sdr}
    figures |= {"sdr": estimates.sdr, "sir": estimates.sir, "sar": estimates.sar, "si_sdr": estimates.si_sdr}
    figures |= {"sdr_mixture": mixture.sdr, "sir_mixture": mixture.sir}
    return {name: round(value, 3) for name, value in figures.items()}


def write_example(folder: Path, net: TrainedNet, mixture: SeparatedMixture, frames: list[np.ndarray]) -> None:
    """Write the sounds and images of a mixture; of one with noise, that too.

    Args:
        folder: its own folder.
        net: a PixelPlayer.
        mixture: of N sources.
        frames: N of (S, S, 3) or (T, S, S, 3) uint8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sounds = {"mixture": mixture.mixture}
    sounds |= {f"pred_{k}": sound for k, sound in enumerate(mixture.estimates, 1)}
    sounds |= {f"true_{k}": sound for k, sound in enumerate(mixture.truths[: len(frames)], 1)}
    sounds |= {"noise": mixture.truths[-1]} if len(mixture.truths) > len(frames) else {}
    for name, sound in sounds.items():
        write_wav(folder / f"{name}.wav", to_int16(sound), net.config.data.sample_rate)
    given = isinstance(net.model, NoSeparation)
    energies = None if given else location_energies(net, mixture.spectrogram, frames)
    write_mixture_images(folder, mixture, frames, energies)


@torch.no_grad()
def location_energies(net: TrainedNet, spectrogram: np.ndarray, frames: list[np.ndarray]) -> np.ndarray:
    """Compute how much energy of a mixture each location of each frame is given (SoP fig. 5).

    Args:
        net: a PixelPlayer.
        spectrogram: (1, F, T) log magnitude of the mixture.
        frames: N of (S, S, 3) or (T, S, S, 3) uint8; of several frames, features are their maximum.

    Returns:
        (N, h, w) float32.
    """
    model, log_magnitude = net.separating_net, torch.from_numpy(spectrogram)[None].to(net.device)
    with autocast(net.device, net.config.train.precision):
        maps = model.sound_maps(log_magnitude)[0]
    power = torch.exp(2 * log_magnitude[0, 0])
    energies = []
    for frame in frames:
        pixels = prepare_frames(torch.from_numpy(frame)[None].to(net.device), net.config.data.frame_size)[0]
        pixels = pixels[None] if pixels.ndim == 3 else pixels.transpose(0, 1)  # (T, 3, S, S)
        with autocast(net.device, net.config.train.precision):
            features = model.pixel_features(pixels).amax(0)  # (K, h, w)
        rows = [(masks**2 * power).sum((2, 3)) for masks in model.masks_at_pixels(features, maps)]
        energies.append(torch.cat(rows).cpu().numpy())
    return np.stack(energies)
