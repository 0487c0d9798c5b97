"""Sound separation: SDR, SIR and SAR of separated mixtures, compared with the mixture itself and ideal masks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from evaluation.measures.bss_eval import bss_eval
from evaluation.measures.measure import Detail, Headline, Measure, Section, Values, compute_measures
from evaluation.measures.standard_errors import mean_error, median_error, shared_clip_error

SILENCE_SUM = 1e-5  # a signal whose magnitudes sum up to no more is silent: less than one step of 16 bits
MIN_SHARE = 1e-12  # of an estimate's energy: SI-SDR calls less of it nothing, so that it stays finite
ESTIMATE_KINDS = ("estimates", "mixture", "swapped", "ideal_binary", "ideal_ratio")  # what is measured of a mixture

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_silent(signals: np.ndarray) -> np.ndarray:
    """Check whether `signals` (..., T), values in -1..1, are silent, and have no SDR: (...) bool."""
    return np.abs(np.asarray(signals, np.float64)).sum(-1) <= SILENCE_SUM


def snr_improvement(truths: Tensor, estimates: Tensor) -> Tensor:
    """Compute the SNR of the estimates minus that of the mixture, dB, mean over the sources.

    Args:
        truths: (B, N, samples) sources of B mixtures.
        estimates: (B, N, samples).

    Returns:
        (B,) float32; 0 for the mixture itself; not finite where a source is silent.
    """
    error = (truths - estimates).square().sum(-1)
    mixture_error = (truths - truths.sum(1, keepdim=True)).square().sum(-1)
    nan_if_silent = torch.where(truths.square().sum(-1) > 0, 0.0, torch.nan)
    return (10 * torch.log10(mixture_error / error.clamp(min=1e-12)) + nan_if_silent).mean(1)


def si_sdr(truths: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Compute the scale-invariant SDR: the source at its best scale against everything else in the estimate.

    With t = <e, s> / <s, s> s it is 10 log10(|t|^2 / |e - t|^2) (Le Roux et al., arXiv 1811.02508); no filter is
    allowed, and means are not removed.

    Args:
        truths: (..., T) float, sources that aren't silent.
        estimates: (..., T) float, of the same shape.

    Returns:
        (...) float64, dB in -120..120: 120 for a scaled source, -120 for an estimate without any of it.
    """
    truths, estimates = np.asarray(truths, np.float64), np.asarray(estimates, np.float64)
    scale = (estimates * truths).sum(-1, keepdims=True) / np.square(truths).sum(-1, keepdims=True)
    energies = np.square(scale * truths).sum(-1), np.square(estimates - scale * truths).sum(-1)
    least = MIN_SHARE * np.square(estimates).sum(-1)
    return np.asarray(10 * np.log10(np.maximum(energies[0], least) / np.maximum(energies[1], least)))


class MeanRatios(NamedTuple):
    """SDR, SIR, SAR and SI-SDR of a mixture, dB, means over its sources."""

    sdr: float
    sir: float
    sar: float
    si_sdr: float = np.nan


@dataclass(frozen=True)
class MixtureScore:
    """How well a mixture was separated.

    Attributes:
        ratios: {one of ESTIMATE_KINDS: its ratios}, of those that are known; empty if something is silent.
        silent: the first of "truths" and ESTIMATE_KINDS that has a silent source, or "".
    """

    ratios: dict[str, MeanRatios]
    silent: str = ""


def score_pair(pair: Mapping[str, np.ndarray]) -> MixtureScore:
    """Compute all ratios of everything that is known of one mixture (`pair`, see `score_pairs`)."""
    truths = np.asarray(pair["truths"])
    judged = truths[: len(pair["estimates"])]
    kinds = [kind for kind in ESTIMATE_KINDS if kind in pair]
    for kind in ("truths", *kinds):
        if is_silent(pair[kind]).any():
            return MixtureScore({}, kind)
    estimates = np.stack([np.broadcast_to(pair[kind], judged.shape) for kind in kinds])
    ratios = (*bss_eval(truths, estimates), si_sdr(np.broadcast_to(judged, estimates.shape), estimates))
    means = np.stack(ratios, -1).mean(1).tolist()
    return MixtureScore({kind: MeanRatios(*values) for kind, values in zip(kinds, means, strict=True)})


def score_pairs(pairs: Iterable[Mapping[str, np.ndarray]], workers: int = 1) -> list[MixtureScore]:
    """Compute `score_pair` of many mixtures, in their order.

    Args:
        pairs: each {"truths": (N, T) float in -1..1, the sources; "mixture": (T,), their sum; "estimates": (K, T), the
            net's of the first K sources, which are measured}, and where it is known "swapped": (K, T), the net's with
            the frames in another order, so that no output has its own frame; "ideal_binary", "ideal_ratio": (K, T), of
            the ideal masks. Read a few ahead.
        workers: mixtures that are measured at a time, on one thread each.
    """
    return list(_in_threads(score_pair, pairs, workers))


def _in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield function(item) in order, `workers` at a time.

    Threads need no copies of the arrays, and but for Cholesky, a third of `bss_eval`, scipy releases the lock.
    """
    waiting: deque[Future[Result]] = deque()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


# --------------------------------------------------------------------------------------------------- the measures


class SeparatedMixtures:
    """Input of the separation measures: P mixtures without silence.

    Args:
        scores: of the mixtures.
        clips: the clips of each mixture, ints, for the standard errors; None if no mixtures share a clip.

    Attributes:
        sdr, sir, sar, si_sdr: {one of ESTIMATE_KINDS: (P,) dB}, nan where a mixture lacks it.
    """

    def __init__(self, scores: Sequence[MixtureScore], clips: Sequence[Sequence[int]] | None = None) -> None:
        self.clips = clips
        unknown = MeanRatios(np.nan, np.nan, np.nan)
        table = np.array([[one.ratios.get(kind, unknown) for kind in ESTIMATE_KINDS] for one in scores])  # (P, 5, 4)
        self.sdr, self.sir, self.sar, self.si_sdr = (
            dict(zip(ESTIMATE_KINDS, one, strict=True)) for one in table.transpose(2, 1, 0)
        )

    def nsdr(self, kind: str = "estimates") -> np.ndarray:
        """Compute the SDR of one `kind` above the mixture's: (P,) dB."""
        return self.sdr[kind] - self.sdr["mixture"]

    def error(self, values: np.ndarray) -> float | None:
        """Compute the standard error of the mean of `values` (P,): None if one is not known."""
        if np.isnan(values).any():
            return None
        return mean_error(values) if self.clips is None else shared_clip_error(values, self.clips)


def mean_if_known(values: np.ndarray) -> float | None:
    """Compute the mean of `values` (P,): None if one is not known."""
    return None if np.isnan(values).any() else values.mean()


def nsdr_fraction_of_ideal(mixtures: SeparatedMixtures) -> float | None:
    """Compute the mean NSDR of `mixtures` as a fraction of that of ideal binary masks."""
    ideal = mean_if_known(mixtures.nsdr("ideal_binary"))
    return None if ideal is None else mixtures.nsdr().mean() / ideal


def share_error(mixtures: SeparatedMixtures) -> float | None:
    """Compute the standard error of `nsdr_fraction_of_ideal` of `mixtures`, by linearizing the ratio of two means."""
    gain, ideal = mixtures.nsdr(), mixtures.nsdr("ideal_binary")
    error = mixtures.error(gain - gain.mean() / ideal.mean() * ideal)
    return None if error is None else error / abs(ideal.mean())


def nsdr_median_error(mixtures: SeparatedMixtures) -> float | None:
    """Compute the standard error of the median NSDR of `mixtures`.

    That of independent mixtures, widened by what sharing clips adds to the error of the mean.
    """
    values = mixtures.nsdr()
    error, naive, clustered = median_error(values), mean_error(values), mixtures.error(values)
    return error * clustered / naive if error and naive and clustered else error


def swap_error(mixtures: SeparatedMixtures) -> float | None:
    """Compute the standard error of `swap_consistency` of `mixtures`."""
    return mixtures.error(mixtures.sdr["swapped"] < mixtures.sdr["estimates"])


def swap_consistency(mixtures: SeparatedMixtures) -> float | None:
    """Compute the fraction of `mixtures` whose SDR is lower with frames swapped."""
    swapped = mixtures.sdr["swapped"]
    return None if np.isnan(swapped).any() else (swapped < mixtures.sdr["estimates"]).mean()


MIXTURE = "the mixture itself"
SEPARATION = Section[SeparatedMixtures](
    key="separation",
    title="Separation",
    about="Fixed mixtures of a split's clips, separated by the frames of their sources (SoP sec. 4.3). Means over the "
    "mixtures of means over their sources; SDR, SIR and SAR as in Vincent et al. (2006), which allow a filter of 512 "
    "taps.",
    measures=(
        Measure(
            "sdr", "SDR", "how much stronger the true source is than everything else in the estimate",
            lambda mixtures: mean_if_known(mixtures.sdr["estimates"]),
            lambda mixtures: mean_if_known(mixtures.sdr["mixture"]), MIXTURE, ("sdr_mixture",), unit="dB",
            error=lambda mixtures: mixtures.error(mixtures.sdr["estimates"]),
        ),
        Measure(
            "sir", "SIR", "how much stronger the true source is than the other sources in the estimate",
            lambda mixtures: mean_if_known(mixtures.sir["estimates"]),
            lambda mixtures: mean_if_known(mixtures.sir["mixture"]), MIXTURE, ("sir_mixture",), unit="dB",
            error=lambda mixtures: mixtures.error(mixtures.sir["estimates"]),
            headlines=(Headline(8, "SIR, dB"),),
        ),
        Measure(
            "sar", "SAR", "how much stronger the sources are than what belongs to no source",
            lambda mixtures: mean_if_known(mixtures.sar["estimates"]), unit="dB",
            error=lambda mixtures: mixtures.error(mixtures.sar["estimates"]),
        ),
        Measure(
            "si_sdr", "SI-SDR",
            "how much stronger the true source is, at its best scale and without a filter, than everything else in the "
            "estimate",
            lambda mixtures: mean_if_known(mixtures.si_sdr["estimates"]),
            lambda mixtures: mean_if_known(mixtures.si_sdr["mixture"]), MIXTURE, ("si_sdr_mixture",), unit="dB",
            error=lambda mixtures: mixtures.error(mixtures.si_sdr["estimates"]),
        ),
        Measure(
            "nsdr", "NSDR, the gain over the mixture", "SDR of the estimate minus SDR of the mixture itself",
            lambda mixtures: mean_if_known(mixtures.nsdr()), 0.0, MIXTURE, unit="dB",
            error=lambda mixtures: mixtures.error(mixtures.nsdr()),
            headlines=(Headline(2, "gain over the mixture, dB"),),
        ),
        Measure(
            "nsdr_median", "NSDR, median", "the same, median over the mixtures",
            lambda mixtures: np.median(mixtures.nsdr()), 0.0, MIXTURE, error=nsdr_median_error, unit="dB",
        ),
        Measure(
            "nsdr_ideal_binary", "ceiling: NSDR of ideal binary masks",
            "of masks made from the true sources: a ceiling, not this net's",
            lambda mixtures: mean_if_known(mixtures.nsdr("ideal_binary")), 0.0, MIXTURE, unit="dB", reference=True,
            error=lambda mixtures: mixtures.error(mixtures.nsdr("ideal_binary")),
        ),
        Measure(
            "nsdr_ideal_ratio", "ceiling: NSDR of ideal ratio masks",
            "of masks made from the true sources: a ceiling, not this net's",
            lambda mixtures: mean_if_known(mixtures.nsdr("ideal_ratio")), 0.0, MIXTURE, unit="dB", reference=True,
            error=lambda mixtures: mixtures.error(mixtures.nsdr("ideal_ratio")),
        ),
        Measure(
            "nsdr_share_of_ideal", "NSDR as a fraction of the ideal binary mask's",
            "how much of the ceiling's gain the net reaches",
            nsdr_fraction_of_ideal, 0.0, MIXTURE, error=share_error,
            headlines=(Headline(9, "of what ideal masks gain"),),
        ),
        Measure(
            "sir_above_mixture", "mixtures with a higher SIR than unseparated", "fraction of them",
            lambda mixtures: (mixtures.sir["estimates"] > mixtures.sir["mixture"]).mean(),
            error=lambda mixtures: mixtures.error(mixtures.sir["estimates"] > mixtures.sir["mixture"]),
        ),
        Measure(
            "swap_consistency", "mixtures that are worse with frames swapped",
            "fraction of mixtures whose SDR falls when the net gets each source's frame for another source",
            swap_consistency, 0.5, "chance", error=swap_error, headlines=(Headline(10, "worse with frames swapped"),),
        ),
    ),
    details=(
        Detail("pairs", "measured mixtures", "{}", "mixture"),
        Detail("skipped", "mixtures with a silent source or estimate", "{} with a silent source or estimate"),
        Detail("silent_estimates", "those in which the net's estimate of a sounding source is silent"),
        Detail("unreadable", "mixtures of clips that could not be read"),
        Detail(
            "list",
            "the list of mix.pairs: its file, its mixtures, how many of them the split lacks, SHA-256 of their ids",
        ),
        Detail(
            "masks",
            "softmax: with eval.softmax_masks, which divides each bin among the sources; without, each mask is a "
            "sigmoid of its own (SoP)",
            "masks by a {} over the sources",
        ),
        Detail(
            "noise",
            "dataset of mix.noise_root, a clip of which is in each mixture and isn't asked for; then the first source "
            "of a mixture is measured alone (CLIPSep, arXiv 2212.07065)",
            "noise of {}, the first source alone",
        ),
    ),
)  # fmt: skip


def separation_summary(scores: Sequence[MixtureScore], clips: Sequence[Sequence[int]] | None = None) -> Values:
    """Compute the measures of separated mixtures: metrics.json's section.

    Args:
        scores: from `score_pairs`.
        clips: the clips of each mixture, for the standard errors; None if no mixtures share a clip.

    Returns:
        the measures of `SEPARATION`, those absent whose kind of estimate the mixtures lack, and all if none was
        measured; pairs, measured mixtures; skipped, those with a silent source or estimate; silent_estimates, those of
        the skipped in which the net's estimate of a sounding source is silent.
    """
    silent = [score.silent for score in scores if score.silent]
    measured = [score for score in scores if not score.silent]
    if clips is not None:
        clips = [own for own, score in zip(clips, scores, strict=True) if not score.silent]
    measures = compute_measures(SEPARATION, SeparatedMixtures(measured, clips)) if measured else {}
    counts = {"pairs": len(measured), "skipped": len(silent), "silent_estimates": silent.count("estimates")}
    return measures | counts
