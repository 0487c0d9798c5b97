"""How well are mixed sounds parted? SDR, SIR and SAR of estimated sources. Pure functions on arrays.

An estimate is split into three parts: what a filter of 512 taps can make of the true source (target), what such filters
add from the other sources (interference), and the rest (artefacts). The ratios of their energies are SDR, SIR and SAR
(Vincent, Gribonval, Févotte 2006, "Performance measurement in blind audio source separation", sec. III.B), as the
papers on mix-and-separate report them: an estimate belongs to its source, no permutation is tried.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft
from scipy.linalg import cho_solve, lstsq, lu_solve
from scipy.linalg.lapack import dgetrf, dpotrf
from threadpoolctl import threadpool_limits


def snr_improvement(truths, estimates):
    """By how many dB nearer estimates are to their sources than the mixture is: mean over the sources.

    Args:
        truths: (B, N, samples) what was mixed. estimates: (B, N, samples).

    Returns:
        (B,) float32; 0 for the mixture itself; not finite where a source is silent.
    """
    off = (truths - estimates).square().sum(-1)
    mixture_off = (truths - truths.sum(1, keepdim=True)).square().sum(-1)
    heard = torch.where(truths.square().sum(-1) > 0, 0.0, torch.nan)
    return (10 * torch.log10(mixture_off / off.clamp(min=1e-12)) + heard).mean(1)


FILTER_TAPS = 512  # taps (Vincent et al.; mir_eval's bss_eval_sources)
SILENCE_SUM = 1e-5  # a signal whose magnitudes sum up to no more is silent: less than one step of 16 bits
# Beyond this condition number, of which a Cholesky factor's diagonal gives a lower bound, the factor is not trusted.
CHOLESKY_UNTIL = 1e10
ESTIMATE_KINDS = ("estimates", "mixture", "swapped", "ideal_binary", "ideal_ratio")  # what `judge` judges of a pair


def is_silent(signals):
    """Whether signals (..., T), values in -1..1, hold nothing to be heard: (...) bool. They have no SDR."""
    return np.abs(np.asarray(signals, np.float64)).sum(-1) <= SILENCE_SUM


def bss_eval(truths, estimates, filter_length=FILTER_TAPS):
    """SDR, SIR and SAR, equal to mir_eval's `bss_eval_sources(truths, estimates, compute_permutation=False)`.

    What depends on the truths alone is computed once: judge all estimates of the same truths in one call. mir_eval's
    are met to 1e-9 dB, with these exceptions, where its own change when the sources change places. Truths that are
    band-limited to the last digit of a double make the equations singular: SDR is still exact, but how an estimate's
    noise outside the band falls into interference and artefacts is not determined, and SIR and SAR differ by up to
    decibels. Ratios that are infinite in exact numbers, such as the SIR of identical truths, come out above 200 dB.

    Args:
        truths: (N, T) float. estimates: (..., N, T) float. filter_length: taps of the filters that are allowed.

    Returns:
        sdr, sir, sar: (..., N) float64 each, dB.

    Raises:
        ValueError: the shapes don't match, or a signal is all zeros.
    """
    truths, estimates = np.asarray(truths, np.float64), np.asarray(estimates, np.float64)
    if estimates.shape[-2:] != truths.shape:
        raise ValueError(f"estimates {estimates.shape} don't go with truths {truths.shape}")
    for name, signals in (("truths", truths), ("estimates", estimates)):
        if not signals.any(-1).all():
            silent = np.argwhere(~signals.any(-1)).tolist()
            raise ValueError(f"{name} {silent} are all zeros, which have no SDR: leave them out (`is_silent`)")
    count, length = truths.shape
    work = []  # (signal, number of its estimate, sources that it stands for)
    for e, rows in enumerate(estimates.reshape(-1, count, length)):
        if (rows[1:] == rows[0]).all():  # as the mixture is, of every source
            work.append((rows[0], e, range(count)))
        else:
            work += [(row, e, [j]) for j, row in enumerate(rows)]

    size = fft.next_fast_len(length + filter_length - 1, real=True)
    spectra, heard = fft.rfft(truths, size), fft.rfft([signal for signal, *_ in work], size)  # (N, F), (S, F)
    gram, own_grams = _gram(spectra, size, filter_length)
    delays = -np.arange(filter_length)
    products = np.stack([fft.irfft(spectra * one.conj(), size)[:, delays] for one in heard])  # (S, N, taps)
    filters, factor = _solve(gram, products.reshape(len(work), -1))
    filters = filters.reshape(products.shape)
    own_filters = [_solve(own, products[:, j])[0] for j, own in enumerate(own_grams) if j or factor is None]
    if factor is not None:  # its leading part is the first block's
        first = factor[:filter_length, :filter_length]
        own_filters.insert(0, _solve_factored(first, products[:, 0]))  # N times (S, taps)

    out = np.empty((3, work[-1][1] + 1, count))
    for s, (_, e, sources) in enumerate(work):
        projected = (fft.rfft(filters[s], size) * spectra).sum(0)  # on the delayed copies of all truths
        for j in sources:
            own = fft.rfft(own_filters[j][s], size) * spectra[j]  # on those of its own truth
            out[0, e, j] = _decibels(own, heard[s] - own, size)
            out[1, e, j] = _decibels(own, projected - own, size)
            out[2, e, j] = _decibels(projected, heard[s] - projected, size)
    return tuple(out.reshape(3, *estimates.shape[:-1]))


def score_pair(pair):
    """SDR, SIR and SAR of all that is known of one pair, see `judge_all`.

    Returns:
        (len(KINDS), 3) float64, dB, means over the N sources, NaN where the pair lacks that kind; or the name of the
        first of "truths" and KINDS that has a silent source.
    """
    truths = np.asarray(pair["truths"])
    there = [kind for kind in ESTIMATE_KINDS if kind in pair]
    for name in ("truths", *there):
        if is_silent(pair[name]).any():
            return name
    out = np.full((len(ESTIMATE_KINDS), 3), np.nan)
    found = bss_eval(truths, np.stack([np.broadcast_to(pair[kind], truths.shape) for kind in there]))
    out[[ESTIMATE_KINDS.index(kind) for kind in there]] = np.stack(found, -1).mean(1)
    return out


def score_pairs(pairs, workers=1):
    """`judge` of many pairs: a list in their order.

    Args:
        pairs: iterable of dicts: "truths" (N, T) float in -1..1, what was mixed; "mixture" (T,), their sum; "estimates"
            (N, T), the net's. Where it is known: "swapped" (N, T), the net's with the frames in another order, so that
            no output has its own frame; "ideal_binary", "ideal_ratio" (N, T), what the masks make of the mixture that
            are computed from the truths. It is read as the measuring goes on, a few pairs ahead.
        workers: how many pairs are judged at a time, on one thread each.
    """
    return list(_in_threads(score_pair, pairs, workers))


def separation_summary(found):
    """What metrics.json tells of separation (SoP sec. 4.3; NSDR is the gain over the mixture as it is).

    Args:
        found: list of what `judge` returned.

    Returns:
        dict. pairs: how many were measured; skipped: how many not, because a source, or an estimate of it, is silent;
        silent_estimates: those of the skipped where the net gave silence for a source that is none. Over the measured
        pairs, means over their sources, dB: sdr, sir, sar; sdr_mixture, sir_mixture, of the mixture as every source;
        nsdr = sdr - sdr_mixture, with nsdr_median and nsdr_standard_error; nsdr_ideal_binary, nsdr_ideal_ratio.
        In 0..1: sir_above_mixture, the share of pairs with a higher SIR than their mixture; nsdr_share_of_ideal =
        nsdr / nsdr_ideal_binary; swap_consistency, the share of pairs whose SDR is lower with frames swapped. What
        needs a kind that the pairs lack is absent, and so are all figures if no pair was measured.
    """
    silent = [scores for scores in found if isinstance(scores, str)]
    judged = [scores for scores in found if not isinstance(scores, str)]
    counts = {"pairs": len(judged), "skipped": len(silent), "silent_estimates": silent.count("estimates")}
    if not judged:
        return counts
    sdr, sir, sar = (
        dict(zip(ESTIMATE_KINDS, values, strict=True)) for values in np.stack(judged).transpose(2, 1, 0)
    )  # (P,)
    gain = sdr["estimates"] - sdr["mixture"]
    out = {"sdr": sdr["estimates"], "sir": sir["estimates"], "sar": sar["estimates"]}
    out |= {"sdr_mixture": sdr["mixture"], "sir_mixture": sir["mixture"], "nsdr": gain}
    out |= {"sir_above_mixture": sir["estimates"] > sir["mixture"]}
    out |= {f"nsdr_{kind}": sdr[kind] - sdr["mixture"] for kind in ("ideal_binary", "ideal_ratio")}
    out = {name: float(values.mean()) for name, values in out.items()}
    out |= {"nsdr_median": float(np.median(gain)), "nsdr_standard_error": float(gain.std() / len(gain) ** 0.5)}
    out["nsdr_share_of_ideal"] = out["nsdr"] / out["nsdr_ideal_binary"]
    if not np.isnan(sdr["swapped"]).any():
        out["swap_consistency"] = float((sdr["swapped"] < sdr["estimates"]).mean())
    return {name: value for name, value in out.items() if not np.isnan(value)} | counts


def _in_threads(function, items, workers):
    """Yield function(item) in order, `workers` at a time.

    Threads, which need no copies: but for Cholesky, about a third of `bss_eval`, scipy lets others run meanwhile.
    """
    waiting = deque()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _gram(spectra, size, taps):
    """Inner products of the truths' delayed copies: (N * taps, N * taps), and the N own blocks on its diagonal."""
    count = len(spectra)
    gram = np.empty((count * taps, count * taps))
    for i in range(count):
        for j in range(i, count):
            c = fft.irfft(spectra[i] * spectra[j].conj(), size)
            lags = np.concatenate((c[-taps + 1 :] if taps > 1 else c[:0], c[:taps]))
            block = sliding_window_view(lags, taps)[::-1]  # [a, b]: by how much b is later than a
            gram[i * taps : (i + 1) * taps, j * taps : (j + 1) * taps] = block
            gram[j * taps : (j + 1) * taps, i * taps : (i + 1) * taps] = block.T
    return gram, [gram[j * taps : (j + 1) * taps, j * taps : (j + 1) * taps] for j in range(count)]


def _solve(matrix, rights):
    """Solve `matrix` y = right for each of `rights` (k, n), where the matrix is symmetric and may be singular.

    Returns:
        ((k, n) the solutions, the matrix's lower Cholesky factor or None if it has none to be trusted).
    """
    factor, failed = dpotrf(matrix.T.copy(order="F"), lower=1, clean=0, overwrite_a=1)
    diagonal = factor.diagonal()
    if not failed and diagonal.max() ** 2 < CHOLESKY_UNTIL * diagonal.min() ** 2:
        return _solve_factored(factor, rights), factor
    factor, pivots, singular = dgetrf(matrix.T.copy(order="F"), overwrite_a=1)  # twice the work
    if not singular:
        return lu_solve((factor, pivots), rights.T, check_finite=False).T, None
    return lstsq(matrix, rights.T, check_finite=False)[0].T, None


def _solve_factored(factor, rights):
    """The same, with the lower Cholesky factor."""
    return cho_solve((factor, True), rights.T, check_finite=False).T


def _decibels(signal, noise, size):
    """The ratio of two energies, of spectra of real signals: float, dB."""
    above, below = _energy(signal, size), _energy(noise, size)
    return 10 * np.log10(above / below) if below else np.inf


def _energy(spectrum, size):
    """The sum of squares of the real signal of `size` samples (up to a factor) that a spectrum (F,) belongs to."""
    once = abs(spectrum[0]) ** 2 + (abs(spectrum[-1]) ** 2 if size % 2 == 0 else 0)  # all others stand for two
    return 2 * np.vdot(spectrum, spectrum).real - once
