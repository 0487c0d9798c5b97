"""Pixels grouped by what they sound like (SoP fig. 6). Pure functions on arrays."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial.distance import pdist

MIN_ENERGY = 0.01  # a pixel that is given less of the sound is silent
SILENT_CLUSTER = -1  # its number
DYNAMIC_RANGE = 40.0  # dB: how much fainter than the mixture's mean still counts
MIN_DISTANCE = 1.0  # dB, root mean square: groups that differ by less are one
COMPONENTS, STARTS, MOST = 8, 4, 20_000  # of the PCA; of k-means, of which the best is kept; spectra it is fitted to


def relative_spectra(spectra, mixture):
    """How much of a sound each pixel is given, part by part.

    Args:
        spectra: (..., D) powers. mixture: (D,) powers of the whole sound, at least as large.

    Returns:
        (..., D) float32, dB: 0 all of it, -RANGE or a little more nothing; near 0 as well where there is no sound.
    """
    floor = 10 ** (-DYNAMIC_RANGE / 10) * mixture.max() + 1e-20
    return 10 * np.log10((spectra + floor) / (mixture + floor))


def cluster_spectra(spectra, count, seed=0):
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
        if count == 1 or pdist(centres).min() >= MIN_DISTANCE * spectra.shape[-1] ** 0.5:
            names = vq(reduced, centres)[0]
            return np.unique(names, return_inverse=True)[1].reshape(spectra.shape[:-1])
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


def cluster_pixels(spectra, mixture, energies, count):
    """Group the pixels that sound at all, the group whose pixels sound loudest on average first.

    Args:
        spectra: (M, h, w, D), mixture: (D,), of `relative_spectra`. energies: (M, h, w). count: of groups at most.

    Returns:
        (M, h, w) int64: 0 and up, or SILENT.
    """
    sounding = spectra.sum(-1) >= MIN_ENERGY * mixture.sum()
    out = np.full(sounding.shape, SILENT_CLUSTER)
    if sounding.any():
        found = cluster_spectra(relative_spectra(spectra[sounding], mixture), count)
        means = np.array([energies[sounding][found == name].mean() for name in range(found.max() + 1)])
        out[sounding] = np.argsort(np.argsort(-means, kind="stable"))[found]
    return out


def loudest_locations(labels, energies):
    """The place of each group that sounds loudest over the whole time: list of (x, y) in 0..1."""
    height, width = energies.shape[1:]
    places = []
    for name in range(labels.max() + 1):
        total = np.where(labels == name, energies, 0).sum(0)
        row, column = np.unravel_index(total.argmax(), total.shape)
        places.append(((column + 0.5) / width, (row + 0.5) / height))
    return places


def clusters_at(labels, places):
    """The group to which each place (x, y) belongs most of the time: (M, h, w), list of N -> list of N ints."""
    found = []
    for x, y in places:
        row, column = (min(int(v * side), side - 1) for v, side in zip((y, x), labels.shape[1:], strict=True))
        names, counts = np.unique(labels[:, row, column], return_counts=True)
        found.append(int(names[counts.argmax()]))
    return found
