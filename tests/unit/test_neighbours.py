"""Precision, recall, coverage and nearest neighbours, against torch-fidelity, prdc and brute force."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.spatial.distance import cdist

from ddpm_dip.data import torchvision_import  # noqa: F401 (before torch_fidelity)
from ddpm_dip.evaluation import distances, metrics, neighbours
from ddpm_dip.evaluation.statistics import energy_distance

# isort: split
from torch_fidelity.metric_prc import prc_features_to_metric


def drawn(n: int, m: int, shift: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.normal(shift, 1, (n, 6))).astype(np.float32), rng.normal(size=(m, 6)).astype(np.float32)


def given(features: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    (sums, near), (reference_sums, reference_near) = (distances.by_block(x) for x in (features, reference))
    to_reference = distances.distances(features, reference)
    found = {"features": features, "reference": reference, "to_reference": to_reference, "sums": sums, "near": near}
    return found | {"reference_sums": reference_sums, "reference_near": reference_near}


@pytest.mark.parametrize("n", [5, 9, 40])
def test_distances_by_block_are_those_of_brute_force(n, monkeypatch):
    monkeypatch.setattr(distances, "ROWS", 7)
    x, y = drawn(n, 11)
    np.testing.assert_allclose(distances.distances(x, y), cdist(x, y), rtol=1e-9)
    assert distances.distances(x, x[:3])[1, 1] == 0
    sums, near = distances.by_block(x)
    for i in range(n):
        for g in range(8):
            others = sorted(np.linalg.norm(x[i].astype(float) - x[j]) for j in range(g, n, 8) if j != i)
            assert sums[i, g] == pytest.approx(sum(others))
            nearest = (others + [np.inf] * 5)[:5]
            np.testing.assert_allclose(np.sort(near[i, g]), nearest)


@pytest.mark.parametrize(("n", "m", "shift"), [(60, 90, 0.0), (128, 50, 0.7), (40, 40, 3.0)])
def test_precision_and_recall_are_those_of_torch_fidelity(n, m, shift):
    x, y = drawn(n, m, shift)
    theirs = prc_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), prc_neighborhood=3, verbose=False)
    ours, _ = metrics.measure(["precision", "recall"], given(x, y))
    assert ours == pytest.approx({name: theirs[name] for name in ours})
    assert shift == 3.0 or 0 < ours["precision"] < 1


@pytest.mark.parametrize(("n", "m", "shift"), [(60, 90, 0.0), (128, 50, 0.7), (40, 40, 3.0)])
def test_coverage_is_that_of_prdc(n, m, shift, capsys):
    x, y = drawn(n, m, shift)
    theirs = compute_prdc(y.astype(np.float64), x.astype(np.float64), nearest_k=5)
    assert metrics.measure(["coverage"], given(x, y))[0]["coverage"] == pytest.approx(theirs["coverage"])


def test_coverage_of_the_same_distribution_is_as_expected():
    found = [metrics.measure(["coverage"], given(*drawn(400, 400, 0, seed)))[0]["coverage"] for seed in range(5)]
    assert np.mean(found) == pytest.approx(1 - 2**-5, abs=0.01)


def test_nearest_neighbour_ratio_by_hand():
    x, y = drawn(30, 50)
    among = cdist(y, y)
    np.fill_diagonal(among, np.inf)
    by_hand = cdist(x, y).min(1).mean() / among.min(1).mean()
    assert neighbours.nn_ratio(cdist(x, y), distances.by_block(y)[1]) == pytest.approx(by_hand, rel=1e-6)
    assert neighbours.nn_ratio(cdist(y, y), distances.by_block(y)[1]) == 0  # copies
    alike = y[:1].repeat(9, 0)
    with np.errstate(all="raise"):
        assert not np.isfinite(neighbours.nn_ratio(cdist(x, alike), distances.by_block(alike)[1]))


OF_FEATURES = {
    "energy_classifier": energy_distance,
    "precision": lambda x, y: metrics.measure(["precision"], given(x, y))[0]["precision"],
    "recall": lambda x, y: metrics.measure(["recall"], given(x, y))[0]["recall"],
    "coverage": lambda x, y: metrics.measure(["coverage"], given(x, y))[0]["coverage"],
    "nn_ratio": lambda x, y: metrics.measure(["nn_ratio"], given(x, y))[0]["nn_ratio"],
}


@pytest.mark.parametrize("name", OF_FEATURES)
def test_pseudo_values_are_those_of_features_with_a_block_left_out(name):
    """From one matrix of distances as from the features that are left: with a number that no 8 divides."""
    (x, y), function = drawn(37, 51), OF_FEATURES[name]
    values, pseudo = metrics.measure(list(OF_FEATURES), given(x, y))
    assert values[name] == pytest.approx(function(x, y))
    left = [function(*(np.delete(a, range(g, len(a), 8), 0) for a in (x, y))) for g in range(8)]
    np.testing.assert_allclose(pseudo[name], 8 * function(x, y) - 7 * np.array(left), rtol=1e-9, atol=1e-9)


def test_class_entropy_in_closed_form():
    assert metrics.entropy(np.arange(70) % 7) == pytest.approx(np.log(7))
    assert metrics.entropy(np.full(9, 3)) == 0
    assert metrics.entropy(np.array([0, 0, 0, 5])) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


def test_too_few_for_the_blocks_have_values_but_no_pseudo_values_nor_a_jackknifed_distance():
    arrays = given(*drawn(15, 40))
    values, pseudo = metrics.measure(["coverage", "recall"], arrays)
    assert values["coverage"] > 0 and pseudo == {"coverage": None, "recall": None}
    with pytest.raises(ValueError, match="too few samples or reference images for 8 blocks"):
        metrics.measure(["coverage", "fd_classifier"], arrays)
