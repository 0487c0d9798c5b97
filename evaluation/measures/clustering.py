"""Cluster pixels by what they sound like (SoP fig. 6). Pure functions on arrays."""

import warnings
from collections.abc import Sequence

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


def cluster_spectra(spectra: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Cluster spectra by k-means after PCA.

    Args:
        spectra: (..., D) float, such as of `relative_spectra`.
        count: largest number of clusters.
        seed: of the random numbers.

    Returns:
        (...) int64 clusters, 0 and up; fewer than `count` where fewer differ by MIN_DISTANCE.
    """
    flat = spectra.reshape(-1, spectra.shape[-1])
    rng = np.random.default_rng(seed)
    sample = flat[rng.permutation(len(flat))[:MAX_FITTED]]
    mean = sample.mean(0)
    _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    axes = vectors[:, ::-1][:, :PCA_COMPONENTS]
    reduced, sample = (flat - mean) @ axes, (sample - mean) @ axes
    while True:
        centers = _best_centers(sample, count, rng)
        if count == 1 or pdist(centers).min() >= MIN_DISTANCE * spectra.shape[-1] ** 0.5:
            nearest = vq(reduced, centers)[0]
            return np.unique(nearest, return_inverse=True)[1].reshape(spectra.shape[:-1])
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


def cluster_pixels(spectra: np.ndarray, mixture: np.ndarray, energies: np.ndarray, count: int) -> np.ndarray:
    """Cluster the pixels that are not silent, the cluster with the highest mean energy first.

    Args:
        spectra: (M, h, w, D), as for `relative_spectra`.
        mixture: (D,), as for `relative_spectra`.
        energies: (M, h, w).
        count: largest number of clusters.

    Returns:
        (M, h, w) int64: 0 and up, or SILENT_CLUSTER.
    """
    sounding = spectra.sum(-1) >= MIN_ENERGY * mixture.sum()
    out = np.full(sounding.shape, SILENT_CLUSTER)
    if sounding.any():
        clusters = cluster_spectra(relative_spectra(spectra[sounding], mixture), count)
        means = np.array([energies[sounding][clusters == name].mean() for name in range(clusters.max() + 1)])
        out[sounding] = np.argsort(np.argsort(-means, kind="stable"))[clusters]
    return out


def loudest_locations(labels: np.ndarray, energies: np.ndarray) -> list[tuple[float, float]]:
    """Find the location of each cluster with the highest energy over the whole time.

    Args:
        labels: (M, h, w), from `cluster_pixels`.
        energies: (M, h, w).

    Returns:
        (x, y) in 0..1 for each cluster.
    """
    height, width = energies.shape[1:]
    locations = []
    for cluster in range(labels.max() + 1):
        total = np.where(labels == cluster, energies, 0).sum(0)
        row, column = np.unravel_index(total.argmax(), total.shape)
        locations.append(((int(column) + 0.5) / width, (int(row) + 0.5) / height))
    return locations


def clusters_at(labels: np.ndarray, locations: Sequence[tuple[float, float]]) -> list[int]:
    """Find the cluster to which each location belongs most of the time.

    Args:
        labels: (M, h, w), from `cluster_pixels`.
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
