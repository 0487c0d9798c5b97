"""Pixels grouped by what they sound like (SoP fig. 6). Pure functions on arrays."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial.distance import pdist

RANGE = 40.0  # dB: how much fainter than the mixture's mean still counts
SAME = 1.0  # dB, root mean square: groups that differ by less are one
COMPONENTS, STARTS, MOST = 8, 4, 20_000  # of the PCA; of k-means, of which the best is kept; spectra it is fitted to


def relative_spectra(spectra, mixture):
    """How much of a sound each pixel is given, part by part.

    Args:
        spectra: (..., D) powers. mixture: (D,) powers of the whole sound, at least as large.

    Returns:
        (..., D) float32, dB: 0 all of it, -RANGE or a little more nothing; near 0 as well where there is no sound.
    """
    floor = 10 ** (-RANGE / 10) * mixture.max() + 1e-20
    return 10 * np.log10((spectra + floor) / (mixture + floor))


def cluster(spectra, count, seed=0):
    """Group pixels by k-means of their spectra, reduced by PCA.

    Args:
        spectra: (..., D) float, such as of `relative_spectra`. count: largest number of groups.

    Returns:
        (...) int64 numbers of groups, 0 and up; fewer than `count` where fewer differ by SAME.
    """
    flat = spectra.reshape(-1, spectra.shape[-1])
    rng = np.random.default_rng(seed)
    few = flat[rng.permutation(len(flat))[:MOST]]
    mean = few.mean(0)
    _, vectors = np.linalg.eigh(np.cov(few - mean, rowvar=False))
    axes = vectors[:, ::-1][:, :COMPONENTS]
    reduced, few = (flat - mean) @ axes, (few - mean) @ axes
    while True:
        centres = _best_centres(few, count, rng)
        if count == 1 or pdist(centres).min() >= SAME * spectra.shape[-1] ** 0.5:
            return vq(reduced, centres)[0].reshape(spectra.shape[:-1]).astype(np.int64)
        count -= 1


def _best_centres(points, count, rng):
    """The centres (count, C) of k-means with the smallest sum of squares of STARTS."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a start that leaves a group empty is no loss
        for _ in range(STARTS):
            centres, _ = kmeans2(points, count, minit="++", rng=rng)
            found.append((np.square(vq(points, centres)[1]).sum(), centres))
    return min(found, key=lambda one: one[0])[1]


def by_loudness(labels, energies):
    """Number groups anew, the one whose pixels sound loudest on average first: (M, h, w), (M, h, w) -> (M, h, w)."""
    names, numbers = np.unique(labels, return_inverse=True)
    means = np.bincount(numbers.ravel(), energies.ravel(), len(names)) / np.bincount(numbers.ravel())
    rank = np.argsort(np.argsort(-means, kind="stable"))
    return rank[numbers].reshape(labels.shape)


def loudest_places(labels, energies, count):
    """The place of each of the first `count` groups that sounds loudest over the whole time: list of (x, y) in 0..1."""
    height, width = energies.shape[1:]
    places = []
    for name in range(min(count, labels.max() + 1)):
        total = np.where(labels == name, energies, 0).sum(0)
        row, column = np.unravel_index(total.argmax(), total.shape)
        places.append(((column + 0.5) / width, (row + 0.5) / height))
    return places
