"""SDR, SIR and SAR of separated sources, as mir_eval's `bss_eval_sources` computes them. Pure functions on arrays.

An estimate is split into three parts: what a filter of 512 taps can make of the true source (target), what such filters
add from the other sources (interference), and the rest (artifacts). The ratios of their energies are SDR, SIR and SAR
(Vincent, Gribonval, Févotte 2006, "Performance measurement in blind audio source separation", sec. III.B). As in the
papers on mix-and-separate, an estimate belongs to its source, and no permutation is tried.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft
from scipy.linalg import cho_solve, lstsq, lu_solve
from scipy.linalg.lapack import dgetrf, dpotrf

FILTER_TAPS = 512  # as Vincent et al. and mir_eval
# A Cholesky factor is used up to this condition number, of which its diagonal gives a lower bound.
MAX_CHOLESKY_CONDITION = 1e10


class Ratios(NamedTuple):
    """SDR, SIR and SAR, (..., N) float64 each, dB."""

    sdr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray


class _Signal(NamedTuple):
    """A signal (T,) to be decomposed, the index of its estimate in the stack, and the sources it is compared with."""

    samples: np.ndarray
    estimate: int
    sources: Sequence[int]


def bss_eval(truths: np.ndarray, estimates: np.ndarray, filter_length: int = FILTER_TAPS) -> Ratios:
    """Compute SDR, SIR and SAR, equal to mir_eval's `bss_eval_sources(truths, estimates, compute_permutation=False)`.

    What depends on the truths alone is computed once: pass all estimates of the same truths in one call. The ratios
    equal mir_eval's to 1e-9 dB, with exceptions where its own change with the order of the sources. Truths that are
    band-limited to the last digit of a double make the equations singular: SDR is still exact, but how an estimate's
    noise outside the band is split into interference and artifacts is not determined, and SIR and SAR differ by up to
    decibels. Ratios that are infinite in exact numbers, such as the SIR of identical truths, come out above 200 dB.

    Args:
        truths: (N, T) float.
        estimates: (..., K, T) float, of the first K of the truths; the others are interference only.
        filter_length: taps of the filters that are allowed.

    Returns:
        ratios of shape (..., K).

    Raises:
        ValueError: the shapes don't match, or a signal is all zeros.
    """
    truths, estimates = np.asarray(truths, np.float64), np.asarray(estimates, np.float64)
    _check(truths, estimates)
    length, judged = truths.shape[1], estimates.shape[-2]
    signals = _distinct_signals(estimates.reshape(-1, judged, length))

    size = fft.next_fast_len(length + filter_length - 1, real=True)
    truth_spectra = fft.rfft(truths, size)  # (N, F)
    spectra = fft.rfft([signal.samples for signal in signals], size)  # (S, F)
    gram, own_grams = _gram(truth_spectra, size, filter_length)
    delays = -np.arange(filter_length)
    products = np.stack([fft.irfft(truth_spectra * one.conj(), size)[:, delays] for one in spectra])  # (S, N, taps)
    flat_filters, factor = _solve(gram, products.reshape(len(signals), -1))
    filters = flat_filters.reshape(products.shape)
    own_filters = [_solve(own, products[:, j])[0] for j, own in enumerate(own_grams[:judged]) if j or factor is None]
    if factor is not None:  # its leading part is the first block's
        first = factor[:filter_length, :filter_length]
        own_filters.insert(0, _solve_factored(first, products[:, 0]))  # K times (S, taps)

    out = np.empty((3, signals[-1].estimate + 1, judged))
    for s, (_, estimate, sources) in enumerate(signals):
        projected = (fft.rfft(filters[s], size) * truth_spectra).sum(0)  # on the delayed copies of all truths
        for j in sources:
            own_part = fft.rfft(own_filters[j][s], size) * truth_spectra[j]  # on those of its own truth
            out[0, estimate, j] = _decibels(own_part, spectra[s] - own_part, size)
            out[1, estimate, j] = _decibels(own_part, projected - own_part, size)
            out[2, estimate, j] = _decibels(projected, spectra[s] - projected, size)
    return Ratios(*out.reshape(3, *estimates.shape[:-1]))


def _check(truths: np.ndarray, estimates: np.ndarray) -> None:
    """Raise ValueError if shapes don't match or a signal is all zeros."""
    if estimates.shape[-1] != truths.shape[1] or estimates.shape[-2] > len(truths):
        raise ValueError(f"estimates {estimates.shape} don't match truths {truths.shape}")
    for name, signals in (("truths", truths), ("estimates", estimates)):
        if not signals.any(-1).all():
            silent = np.argwhere(~signals.any(-1)).tolist()
            raise ValueError(f"{name} {silent} are all zeros, which have no SDR: leave them out (`is_silent`)")


def _distinct_signals(estimates: np.ndarray) -> list[_Signal]:
    """List the signals of a stack of estimates (E, K, T); one that is the estimate of all sources, once."""
    signals = []
    for index, rows in enumerate(estimates):
        if (rows[1:] == rows[0]).all():  # such as the mixture
            signals.append(_Signal(rows[0], index, range(len(rows))))
        else:
            signals += [_Signal(row, index, [source]) for source, row in enumerate(rows)]
    return signals


def _gram(spectra: np.ndarray, size: int, taps: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Compute the inner products of the truths' delayed copies from their `spectra` (N, F) of `size` samples.

    Returns:
        (N * taps, N * taps), and the N blocks on its diagonal, of each truth with itself.
    """
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


def _solve(matrix: np.ndarray, rights: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Solve `matrix` y = right for each of `rights` (k, n), where the matrix is symmetric and may be singular.

    Returns:
        (k, n) solutions, and the matrix's lower Cholesky factor, or None if it is too badly conditioned.
    """
    factor, failed = dpotrf(matrix.T.copy(order="F"), lower=1, clean=0, overwrite_a=1)
    diagonal = factor.diagonal()
    if not failed and diagonal.max() ** 2 < MAX_CHOLESKY_CONDITION * diagonal.min() ** 2:
        return _solve_factored(factor, rights), factor
    factor, pivots, singular = dgetrf(matrix.T.copy(order="F"), overwrite_a=1)  # twice the work
    if not singular:
        return lu_solve((factor, pivots), rights.T, check_finite=False).T, None
    return lstsq(matrix, rights.T, check_finite=False)[0].T, None


def _solve_factored(factor: np.ndarray, rights: np.ndarray) -> np.ndarray:
    """Solve the same with the lower Cholesky factor."""
    return cho_solve((factor, True), rights.T, check_finite=False).T


def _decibels(signal: np.ndarray, noise: np.ndarray, size: int) -> float:
    """Compute the ratio of the energies of two spectra (F,) of real signals, dB."""
    above, below = _energy(signal, size), _energy(noise, size)
    return 10 * np.log10(above / below) if below else np.inf


def _energy(spectrum: np.ndarray, size: int) -> float:
    """Compute the sum of squares, up to a factor, of the real signal of `size` samples that has this spectrum (F,)."""
    unpaired = abs(spectrum[0]) ** 2 + (abs(spectrum[-1]) ** 2 if size % 2 == 0 else 0)  # all others stand for two
    return 2 * np.vdot(spectrum, spectrum).real - unpaired
