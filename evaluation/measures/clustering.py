"""Cluster pixels by what they sound like (SoP fig. 6). Pure functions on arrays."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial.distance import pdist

MIN_ENERGY = 0.01  # a pixel that is given a smaller fraction of the sound is silent
SILENT_CLUSTER = -1  # its cluster
DYNAMIC_RANGE = 40.0  # dB below the mixture's maximum that still count
MIN_DISTANCE = 1.0  # dB, root mean square: clusters that differ by less are merged
PCA_COMPONENTS = 8
KMEANS_STARTS = 4  # of which the best is kept
MAX_FITTED = 20_000  # spectra to which PCA and k-means are fitted


def relative_spectra(spectra: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Compute how much of a sound each pixel is given, for each frequency and time.

    Args:
        spectra: (..., D) powers.
        mixture: (D,) powers of the whole sound, at least as large.

    Returns:
        (..., D) float32, dB: 0 for all of it, about -DYNAMIC_RANGE for nothing; near 0, too, where there is no sound.
    """
    floor = 10 ** (-DYNAMIC_RANGE / 10) * mixture.max() + 1e-20
    return 10 * np.log10((spectra + floor) / (mixture + floor))


class SpectrumClusters(NamedTuple):
    """Clusters of spectra, to which others can be assigned.

    Attributes:
        mean: (D,), subtracted from spectra.
        axes: (D, C), on which they are projected.
        centers: (K, C), of the clusters.
    """

    mean: np.ndarray
    axes: np.ndarray
    centers: np.ndarray

    def nearest(self, spectra: np.ndarray) -> np.ndarray:
        """Find the cluster of each of `spectra`: (N, D) -> (N,) int64."""
        return vq((spectra - self.mean) @ self.axes, self.centers)[0]


def fit_clusters(spectra: np.ndarray, count: int, seed: int = 0) -> SpectrumClusters:
    """Cluster spectra by k-means after PCA.

    Args:
        spectra: (N, D) float, such as of `relative_spectra`.
        count: largest number of clusters; there are fewer where fewer differ by MIN_DISTANCE.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    sample = spectra[rng.permutation(len(spectra))[:MAX_FITTED]]
    mean = sample.mean(0)
    _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    axes = vectors[:, ::-1][:, :PCA_COMPONENTS]
    sample = (sample - mean) @ axes
    while True:
        centers = _best_centers(sample, count, rng)
        if count == 1 or pdist(centers).min() >= MIN_DISTANCE * spectra.shape[-1] ** 0.5:
            return SpectrumClusters(mean, axes, centers)
        count -= 1


def _best_centers(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Compute the centers (count, C) of k-means with the smallest sum of squares of KMEANS_STARTS."""
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a start that leaves a cluster empty is not the best one
        for _ in range(KMEANS_STARTS):
            centers, _ = kmeans2(points, count, minit="++", rng=rng)
            runs.append((np.square(vq(points, centers)[1]).sum(), centers))
    return min(runs, key=lambda run: run[0])[1]


class PixelClusters:
    """Clusters of the pixels that are not silent.

    Args:
        spectra: (M, h, w, D), as for `relative_spectra`, of the moments to which the clusters are fitted.
        mixture: (D,), as for `relative_spectra`.
        count: largest number of clusters.
    """

    def __init__(self, spectra: np.ndarray, mixture: np.ndarray, count: int) -> None:
        self._mixture = mixture
        sounding = spectra[self._is_sounding(spectra)]
        self._clusters = fit_clusters(relative_spectra(sounding, mixture), count) if len(sounding) else None

    def assign(self, spectra: np.ndarray) -> np.ndarray:
        """Find the cluster of each pixel, in no order: `spectra` (..., D) -> (...) int16, or SILENT_CLUSTER."""
        out = np.full(spectra.shape[:-1], SILENT_CLUSTER, np.int16)
        sounding = self._is_sounding(spectra)
        if self._clusters is not None and sounding.any():
            out[sounding] = self._clusters.nearest(relative_spectra(spectra[sounding], self._mixture))
        return out

    def _is_sounding(self, spectra: np.ndarray) -> np.ndarray:
        return spectra.sum(-1) >= MIN_ENERGY * self._mixture.sum()


def order_clusters(labels: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Number clusters anew: the one with the highest mean energy first, none that no pixel is in.

    Args:
        labels: (M, h, w) int16, from `PixelClusters.assign`.
        energies: (M, h, w).

    Returns:
        (M, h, w) int16: 0 and up, or SILENT_CLUSTER.
    """
    names = [name for name in range(int(labels.max()) + 1) if (labels == name).any()]
    ranked = sorted(names, key=lambda name: -float(energies[labels == name].mean()))
    numbers = np.full(int(labels.max()) + 2, SILENT_CLUSTER, np.int16)  # the last one is that of SILENT_CLUSTER, -1
    numbers[ranked] = np.arange(len(ranked))
    return numbers[labels]


def loudest_locations(labels: np.ndarray, energies: np.ndarray) -> list[tuple[float, float]]:
    """Find the location of each cluster with the highest energy over the whole time.

    Args:
        labels: (M, h, w), from `order_clusters`.
        energies: (M, h, w).

    Returns:
        (x, y) in 0..1 for each cluster.
    """
    height, width = energies.shape[1:]
    locations = []
    for cluster in range(labels.max() + 1):
        total = energies.sum(0, where=labels == cluster)
        row, column = np.unravel_index(total.argmax(), total.shape)
        locations.append(((int(column) + 0.5) / width, (int(row) + 0.5) / height))
    return locations


def clusters_at(labels: np.ndarray, locations: Sequence[tuple[float, float]]) -> list[int]:
    """Find the cluster to which each location belongs most of the time.

    Args:
        labels: (M, h, w), from `order_clusters`.
        locations: N of (x, y) in 0..1.

    Returns:
        N clusters.
    """
    height, width = labels.shape[1:]
    most_frequent = []
    for x, y in locations:
        row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
        clusters, counts = np.unique(labels[:, row, column], return_counts=True)
        most_frequent.append(int(clusters[counts.argmax()]))
    return most_frequent
