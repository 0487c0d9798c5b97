"""Canonical correlation analysis: scikit-learn's as the oracle, degenerate data, and what it does for retrieval."""

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA as Oracle

from evaluation.measures import cca
from utils.errors import UserError


def pairs(seed=0, count=400, dims=(7, 5), shared=4, noise=0.7):
    """(x, y): mixtures of `shared` common sources of falling strength and of noise, far from the origin."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(count, shared)) * (1 / np.arange(1, shared + 1))
    x, y = (sources @ rng.normal(size=(shared, d)) + noise * rng.normal(size=(count, d)) + 5 for d in dims)
    return x, y


def scores(fitted, x, y):
    return (x - fitted.mean_x) @ fitted.weights_x, (y - fitted.mean_y) @ fitted.weights_y


def correlations(a, b):
    return np.array([np.corrcoef(p, q)[0, 1] for p, q in zip(a.T, b.T, strict=True)])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_scikit_learn_up_to_sign(seed):
    x, y = pairs(seed)
    theirs = Oracle(n_components=4, max_iter=20000, tol=1e-14).fit(x, y)
    fitted = cca.fit_cca(x, y, components=4, ridge=1e-12)
    fresh_x, fresh_y = pairs(seed + 10, count=50)
    for data in ((x, y), (fresh_x, fresh_y)):
        for ours, other in zip(scores(fitted, *data), theirs.transform(*data), strict=True):
            centred = (ours - ours.mean(0)) / ours.std(0), (other - other.mean(0)) / other.std(0)
            sign = np.sign((centred[0] * centred[1]).sum(0))
            assert np.abs(centred[0] - sign * centred[1]).max() < 1e-4
    expected = correlations(*theirs.transform(x, y))
    assert fitted.correlations == pytest.approx(expected, abs=1e-7)
    assert correlations(*scores(fitted, x, y)) == pytest.approx(expected, abs=1e-7)  # also the signs of both sides


def test_scores_are_uncorrelated_with_variance_1_whatever_the_features_scale():
    x, y = pairs()
    fitted = cca.fit_cca(x * [1e-3, 1, 1, 1, 1, 1, 10], y, ridge=1e-12)
    assert np.array_equal(fitted.weights_x.shape, (7, 5)) and fitted.weights_y.shape == (5, 5)  # all that there are
    for side in scores(fitted, x * [1e-3, 1, 1, 1, 1, 1, 10], y):
        assert np.cov(side.T) == pytest.approx(np.eye(5), abs=1e-5)
    assert (np.diff(fitted.correlations) <= 0).all() and 0 <= fitted.correlations[-1] <= fitted.correlations[0] <= 1
    assert fitted.correlations == pytest.approx(cca.fit_cca(x, y, ridge=1e-12).correlations, abs=1e-5)


def test_the_default_ridge_changes_nothing_that_counts_on_full_rank_data():
    x, y = pairs(count=2000)
    plain, ours = cca.fit_cca(x, y, ridge=0.0), cca.fit_cca(x, y)
    assert ours.correlations == pytest.approx(plain.correlations, abs=1e-4)
    assert np.abs(np.abs(ours.weights_x) - np.abs(plain.weights_x)).max() < 1e-3


def test_projections_have_unit_length_and_components_count_alike():
    x, y = pairs()
    fitted = cca.fit_cca(x, y, components=3)
    v, a = cca.project_cca(fitted, x[:20], y[:20])
    assert v.shape == a.shape == (20, 3) and v.dtype == a.dtype == np.float64
    for side, score in zip((v, a), scores(fitted, x[:20], y[:20]), strict=True):
        assert np.linalg.norm(side, axis=1) == pytest.approx(1)
        assert side == pytest.approx(score / np.linalg.norm(score, axis=1, keepdims=True))
    middle = cca.project_cca(fitted, fitted.mean_x[None], fitted.mean_y[None])
    assert all((side == 0).all() for side in middle)


def test_unaligned_embeddings_become_searchable():
    """Both sides hold the same sources in unrelated bases: chance before, nearly always right after, on fresh clips."""
    x, y = pairs(count=3000, dims=(20, 20), shared=12, noise=0.02)
    fitted = cca.fit_cca(x[:2500], y[:2500], components=12)
    v, a = cca.project_cca(fitted, x[2500:], y[2500:])

    def first_hit(queries, collection):
        centred = [side - side.mean(0) for side in (queries, collection)]
        units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in centred]
        return ((units[0] @ units[1].T).argmax(1) == np.arange(500)).mean()

    assert first_hit(x[2500:], y[2500:]) < 0.05 and first_hit(v, a) > 0.9


def test_constant_and_collinear_features_do_no_harm():
    x, y = pairs()
    clean = cca.fit_cca(x, y)
    rng = np.random.default_rng(3)
    copies = x @ rng.normal(size=(7, 6))
    padded = np.concatenate([x, np.full((400, 3), 2.5), copies + 0 * x[:, :1], np.zeros((400, 1))], 1)
    fitted = cca.fit_cca(padded, y)
    assert fitted.correlations == pytest.approx(clean.correlations, abs=1e-4)
    float32 = cca.fit_cca(padded.astype(np.float32), y.astype(np.float32))  # copies now differ by rounding errors
    assert float32.correlations[:5] == pytest.approx(clean.correlations, abs=1e-3)
    for projected in cca.project_cca(float32, padded.astype(np.float32), y.astype(np.float32)):
        assert np.isfinite(projected).all() and projected.dtype == np.float64


def test_rounding_errors_of_collinear_features_are_not_taken_for_signal():
    """Two copies of each feature differ by noise alone, the same on both sides: the ridge keeps it from the front."""
    x, y = pairs(count=300)
    hum = 1e-5 * np.random.default_rng(4).normal(size=(300, 1))
    doubled = np.concatenate([x, x[:, :1] + hum], 1), np.concatenate([y, y[:, :1] + hum], 1)
    assert cca.fit_cca(*doubled).correlations[0] == pytest.approx(cca.fit_cca(x, y).correlations[0], abs=1e-3)
    assert cca.fit_cca(*doubled, ridge=0.0).correlations[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("count", "dims", "kept"), [(6, (30, 40), 5), (2, (4, 4), 1), (50, (3, 40), 3), (50, (8, 8), 8)]
)
def test_few_clips_or_few_dimensions_limit_the_components(count, dims, kept):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(count, dims[0])), rng.normal(size=(count, dims[1]))
    fitted = cca.fit_cca(x, y)
    assert fitted.weights_x.shape == (dims[0], kept) and fitted.weights_y.shape == (dims[1], kept)
    assert len(fitted.correlations) == kept and (fitted.correlations <= 1 + 1e-9).all()
    if count <= 6:  # as many directions as clips: everything correlates, the ridge aside
        assert fitted.correlations == pytest.approx(1, abs=1e-4)
    assert all(np.isfinite(side).all() for side in cca.project_cca(fitted, x, y))


def test_the_size_of_the_chunks_changes_nothing():
    x, y = pairs(count=101)
    whole = cca.fit_cca(x, y)
    for chunk in (1, 13, 100):
        assert cca.fit_cca(x, y, chunk=chunk).correlations == pytest.approx(whole.correlations, rel=1e-9)


def test_what_cannot_be_aligned_is_refused_in_one_sentence():
    x, y = pairs(count=20)
    spoilt = x.copy()
    spoilt[3, 2] = np.nan
    for arguments, reason in (
        ((x[:1], y[:1]), "at least 2 pairs"),
        ((spoilt, y), "the first embeddings hold values that are not finite"),
        ((x, np.full_like(y, np.inf)), "the second embeddings hold values that are not finite"),
        ((np.ones((20, 4)), y), "are all the same"),
    ):
        with pytest.raises(UserError, match=reason):
            cca.fit_cca(*arguments)
