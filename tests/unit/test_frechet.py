"""The Frechet distance, against pytorch-fid's own and against closed forms."""

import numpy as np
import pytest

from ddpm_dip.data import torchvision_import  # noqa: F401 (before pytorch_fid)
from ddpm_dip.evaluation.frechet import frechet_distance, frechet_distance_from_statistics, statistics


def correlated(n: int, dims: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + rng.normal(size=dims)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
@pytest.mark.parametrize(
    ("n", "m", "dims"), [(500, 400, 64), (40, 30, 64), (20, 200, 128)], ids=["full", "both-rank", "one-rank"]
)
def test_agrees_with_pytorch_fid(n, m, dims):
    from pytorch_fid.fid_score import calculate_frechet_distance

    a, b = correlated(n, dims, 0), correlated(m, dims, 1)
    theirs = calculate_frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(theirs, rel=1e-6)
    assert frechet_distance_from_statistics(*statistics(a), *statistics(b)) == pytest.approx(theirs, rel=1e-6)


def test_statistics_are_float64_and_divide_by_n_minus_1():
    mean, covariance = statistics(np.array([[1, 2], [3, 8]], dtype=np.float32))
    assert mean.dtype == covariance.dtype == np.float64
    assert mean.tolist() == [2, 5]
    assert covariance.tolist() == [[2, 6], [6, 18]]


def test_one_dimension():
    # two Gaussians on a line: (difference of means)^2 + (difference of standard deviations)^2
    assert frechet_distance_from_statistics([1], [[4]], [4], [[25]]) == pytest.approx(9 + 9)
    assert frechet_distance([[0.0], [2.0]], [[5.0], [9.0]]) == pytest.approx(36 + (2**0.5 - 8**0.5) ** 2)


def test_equal_covariance_gives_squared_distance_of_means():
    a = correlated(300, 16, 2)
    shift = np.arange(16) / 4
    assert frechet_distance(a, a + shift) == pytest.approx((shift**2).sum(), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9 * np.trace(np.cov(a.T)))


def test_commuting_covariances():
    rng = np.random.default_rng(3)
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    u, v = rng.uniform(0, 3, 8), rng.uniform(0, 3, 8)
    u[0] = v[1] = 0  # singular on either side
    distance = frechet_distance_from_statistics(np.zeros(8), basis * u @ basis.T, np.ones(8), basis * v @ basis.T)
    assert distance == pytest.approx(8 + ((np.sqrt(u) - np.sqrt(v)) ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_values_that_are_not_finite(bad):
    good = correlated(10, 4, 4)
    spoiled = good.copy()
    spoiled[3, 2] = bad
    with pytest.raises(ValueError, match="features_b: NaN or infinite"):
        frechet_distance(good, spoiled)
    with pytest.raises(ValueError, match="NaN or infinite"):
        frechet_distance_from_statistics(spoiled[3], np.eye(4), good[0], np.eye(4))


def test_refuses_what_has_no_covariance_or_does_not_fit():
    good = correlated(10, 4, 5)
    with pytest.raises(ValueError, match="features_a: .* at least 2 samples, not 1"):
        frechet_distance(good[:1], good)
    with pytest.raises(ValueError, match=r"must be \(N, D\)"):
        frechet_distance(good.ravel(), good)
    with pytest.raises(ValueError, match="different dimensions: 4 and 3"):
        frechet_distance(good, good[:, :3])
    with pytest.raises(ValueError, match="do not fit"):
        frechet_distance_from_statistics(*statistics(good), *statistics(good[:, :3]))
