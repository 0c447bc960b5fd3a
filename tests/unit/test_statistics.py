"""The statistics of verdicts against known truths: closed forms, brute force, statsmodels, and seeded simulations."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ddpm_dip.evaluation.frechet import frechet_distance, frechet_distance_from_statistics
from ddpm_dip.evaluation.statistics import (
    contrast,
    decide,
    energy_distance,
    holm,
    jackknife_frechet,
    pseudo_values,
    standard_error,
)

D = 8


def spread(seed):
    """A covariance (D, D) and its Cholesky factor."""
    factor = np.random.default_rng(seed).standard_normal((D, D)) / 2 + np.eye(D)
    return factor @ factor.T, factor


TRUE_COVARIANCES = (spread(1), spread(2))


def drawn(rng, n, which, mean=0.0):
    return mean + rng.standard_normal((n, D)) @ TRUE_COVARIANCES[which][1].T


SCALE = np.geomspace(1, 0.01, 64) ** 0.5


def seen(rng, n, by=0.0):
    """64 features of n images, whose mean is `by` standard deviations off: a Fréchet distance of by^2 sum(SCALE^2)."""
    return (rng.standard_normal((n, 64)) + by) * SCALE


def true_distance(mean):
    (a, _), (b, _) = TRUE_COVARIANCES
    return frechet_distance_from_statistics(np.full(D, mean), a, np.zeros(D), b)


def test_the_jackknife_is_the_one_by_hand():
    rng = np.random.default_rng(0)
    x, y = drawn(rng, 50, 0, 0.3), drawn(rng, 61, 1)
    found = jackknife_frechet(x, y, blocks=5)
    pseudo = []
    for g in range(5):
        left = [[row for i, row in enumerate(a) if i % 5 != g] for a in (x, y)]
        pseudo.append(5 * frechet_distance(x, y) - 4 * frechet_distance(*map(np.array, left)))
    np.testing.assert_allclose(found.pseudo_values, pseudo, rtol=1e-9)
    assert found.estimate == pytest.approx(np.mean(pseudo))
    assert found.standard_error == pytest.approx(np.std(pseudo, ddof=1) / 5**0.5)
    with pytest.raises(ValueError, match="too few for 8 blocks"):
        jackknife_frechet(x[:15], y)


def test_pseudo_values_of_a_mean_are_its_blocks_means_and_of_a_matrix_leave_out_rows_and_columns():
    rng = np.random.default_rng(1)
    x, matrix = rng.standard_normal((24, 3)), rng.standard_normal((24, 17))
    whole, pseudo = pseudo_values(lambda of: [of["x"].mean()], {"x": x}, {"x": 1})
    assert whole[0] == pytest.approx(x.mean()) and pseudo.shape == (8, 1)
    np.testing.assert_allclose(pseudo[:, 0], [x[g::8].mean() for g in range(8)])
    assert standard_error(pseudo[:, 0]) == pytest.approx(stats.sem(pseudo[:, 0]))
    whole, pseudo = pseudo_values(
        lambda of: [of["m"].max(), of["m"].size], {"m": matrix, "x": x}, {"m": 2, "x": 1, "other": 1}, blocks=3
    )
    left = [np.delete(np.delete(matrix, range(g, 24, 3), 0), range(g, 17, 3), 1) for g in range(3)]
    np.testing.assert_allclose(pseudo, [[3 * matrix.max() - 2 * a.max(), 3 * matrix.size - 2 * a.size] for a in left])


@pytest.mark.slow
@pytest.mark.parametrize("n", [256, 512])
def test_the_jackknife_has_no_bias_and_its_intervals_cover(n):
    rng, truth, found = np.random.default_rng(n), true_distance(0.3), []
    for _ in range(2000):
        found.append(jackknife_frechet(drawn(rng, n, 0, 0.3), drawn(rng, n, 1)))
    estimates, errors = (np.array([each[i] for each in found]) for i in (0, 1))
    plug_in = np.mean([frechet_distance(drawn(rng, n, 0, 0.3), drawn(rng, n, 1)) for _ in range(100)])
    assert abs(estimates.mean() - truth) < 0.02 * truth < abs(plug_in - truth)
    covered = np.abs(estimates - truth) < stats.t.ppf(0.975, 7) * errors
    assert 0.90 <= covered.mean() <= 0.99


@pytest.mark.slow
def test_with_as_many_features_and_as_few_images_as_in_the_default_study_intervals_cover_and_the_bias_is_small():
    """64 features, 128 samples against 256 images; two thirds of the features carry next to nothing, as a net's do.

    The bias is -5 % of the distance, a fifth of its standard deviation.
    """
    rng, found, truth = np.random.default_rng(0), [], 0.04 * (SCALE**2).sum()
    for _ in range(2000):
        found.append(jackknife_frechet(seen(rng, 128, 0.2), seen(rng, 256)))
    estimates, errors = (np.array([each[i] for each in found]) for i in (0, 1))
    assert abs(estimates.mean() - truth) < 0.07 * truth
    assert 0.90 <= (np.abs(estimates - truth) < stats.t.ppf(0.975, 7) * errors).mean() <= 0.99


@pytest.mark.slow
def test_verdicts_of_one_net_err_as_often_as_they_say_at_the_border_of_the_margin():
    """The sides share their reference, and one's true distance is (1 + margin) times the other's; as above."""
    rng, margin, runs = np.random.default_rng(0), 0.5, []
    for _ in range(2000):
        reference = seen(rng, 256)
        b, a = (jackknife_frechet(seen(rng, 128, by), reference) for by in (0.2, 0.2 * (1 + margin) ** 0.5))
        runs.append(decide(contrast(a.pseudo_values, b.pseudo_values, margin)))
    for wrong in ("supported", "refuted"):
        assert np.mean([run.verdict == wrong for run in runs]) <= 0.07
    assert 0.90 <= np.mean([run.ci_low <= 0 <= run.ci_high for run in runs]) <= 0.99


def test_energy_distance_is_the_naive_sums_and_unbiased():
    rng = np.random.default_rng(3)
    x, y = drawn(rng, 9, 0), drawn(rng, 7, 1)

    def mean(a, b, same):
        pairs = [np.linalg.norm(p - q) for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)]
        return np.mean(pairs)

    naive = 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)
    assert energy_distance(x, y) == pytest.approx(naive)
    null = [energy_distance(drawn(rng, 40, 0), drawn(rng, 30, 0)) for _ in range(400)]
    assert abs(np.mean(null)) < 4 * np.std(null) / 20 and min(null) < 0
    with pytest.raises(ValueError, match="at least two rows"):
        energy_distance(x[:1], y)


@pytest.mark.parametrize("replicates", [3, 5, 8])
def test_decisions_err_as_often_as_they_say_and_intervals_cover(replicates):
    rng = np.random.default_rng(replicates)
    runs = [decide(rng.normal(0, 1.7, replicates)) for _ in range(2000)]
    for wrong in ("supported", "refuted"):
        assert np.mean([run.verdict == wrong for run in runs]) <= 0.07
    runs = [decide(rng.normal(0.4, 1.7, replicates)) for _ in range(2000)]
    assert 0.90 <= np.mean([run.ci_low <= 0.4 <= run.ci_high for run in runs]) <= 0.99


@pytest.mark.parametrize(
    "replicates, margin, published", [(3, 0.5, 0.92), (3, 0.25, 0.51), (5, 0.25, 0.85), (8, 0.15, 0.73)]
)
def test_power_is_what_was_computed_for_an_arm_that_is_as_good(replicates, margin, published):
    """A contrast's sd between nets is 17 % of the distance."""
    rng, supported = np.random.default_rng(7), 0
    for _ in range(2000):
        b = np.full(replicates, 10.0)
        a = b + rng.normal(0, 1.7, replicates)
        supported += decide(contrast(a, b, margin)).verdict == "supported"
    noncentrality = margin * replicates**0.5 / 0.17
    exact = stats.nct.cdf(stats.t.ppf(0.05, replicates - 1), replicates - 1, -noncentrality)
    assert supported / 2000 == pytest.approx(exact, abs=0.03)
    assert exact == pytest.approx(published, abs=0.03)


def test_decisions_by_hand():
    found = decide([-1.0, -2.0, -3.0])
    low, high = stats.t.interval(0.95, 2, -2, 1 / 3**0.5)
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((-2, low, high))
    assert found.p == pytest.approx(stats.ttest_1samp([-1, -2, -3], 0, alternative="less").pvalue)
    assert found.verdict == "supported"
    assert decide([-1.0, -1.0]).verdict == "supported" and decide([-1.0, -1.0]).ci_high == -1
    assert decide([0.0, 0.0]).verdict == "inconclusive"  # an arm that is the reference under another name
    assert decide(contrast([4.0, 5.0], [4.0, 5.0], 0.5)).verdict == "supported"  # and as good as itself
    bounds = -2 + stats.t.ppf([0.05, 0.95], 2) / 3**0.5
    assert (found.bound_low, found.bound_high) == pytest.approx(tuple(bounds))
    for wrong in ([1.0], [-5.0, np.inf], [-5.0, np.nan]):
        with pytest.raises(ValueError, match="two or more values, and all of them finite"):
            decide(wrong)


def test_holm_is_statsmodels():
    rng = np.random.default_rng(5)
    for n in (1, 2, 11):
        p = rng.uniform(0, 0.2, n)
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
