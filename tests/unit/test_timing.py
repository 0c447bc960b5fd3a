"""Times compared: paired by round."""

import math

import numpy as np
import pytest

from ddpm_dip.evaluation import statistics, timing


def test_log_ratios_are_paired_by_round():
    a, b = np.array([1.0, 2.0, 8.0]), np.array([2.0, 4.0, 4.0])
    np.testing.assert_allclose(timing.log_ratio(a, b), [-math.log(2), -math.log(2), math.log(2)])
    np.testing.assert_allclose(timing.log_ratio(b, a), -timing.log_ratio(a, b))
    with pytest.raises(ValueError, match="the same rounds"):
        timing.log_ratio(a, b[:2])


def test_a_slow_moment_that_meets_both_decides_nothing_and_hides_nothing():
    """Rounds of which some take ten times as long: 10 % less in each is found, as pairs share their moment."""
    rng = np.random.default_rng(0)
    moment = np.exp(rng.normal(0, 1, 15))
    a, b = (moment * own * np.exp(rng.normal(0, 0.02, 15)) for own in (0.9, 1.0))
    found = statistics.decide(timing.log_ratio(a, b))
    assert found.verdict == "supported" and math.exp(found.ci_low) < 0.9 < math.exp(found.ci_high)
    assert statistics.decide(timing.log_ratio(a, a / 0.9 * 1.0)).estimate == pytest.approx(math.log(0.9))
