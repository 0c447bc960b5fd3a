"""The noise estimate on noise of a known standard deviation, and on what is no noise."""

import numpy as np
import pytest

from ddpm_dip.evaluation.haar import noise_sd


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_white_noise_has_its_standard_deviation(sigma, channels):
    noise = np.random.default_rng(0).normal(0, sigma, (40, channels, 64, 64)).astype(np.float32)
    found = noise_sd(noise)
    assert found.shape == (40,) and found.mean() == pytest.approx(sigma, rel=0.01)


def test_it_is_the_median_of_the_diagonal_coefficients_by_hand():
    image = np.random.default_rng(1).normal(size=(1, 1, 5, 7))  # the last row and column are left out
    found = []
    for y in (0, 2):
        for x in (0, 2, 4):
            (a, b), (c, d) = image[0, 0, y : y + 2, x : x + 2]
            found.append(abs(a - b - c + d) / 2)
    assert noise_sd(image)[0] == pytest.approx(np.median(found) / 0.6744898)


def test_offsets_slopes_and_a_bar_count_nothing():
    y, x = np.mgrid[:32, :32] / 32
    bar = (x > 0.4).astype(float)
    plain = np.stack([np.full_like(x, 3.0), x + 2 * y, bar])[:, None]
    np.testing.assert_allclose(noise_sd(plain), 0, atol=1e-12)
    noise = np.random.default_rng(2).normal(0, 0.1, plain.shape)
    np.testing.assert_allclose(noise_sd(plain + noise), noise_sd(noise), atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_an_image_that_is_not_finite_has_none():
    images = np.zeros((3, 1, 4, 4), np.float32)
    images[0], images[1] = np.nan, np.inf
    assert np.isnan(noise_sd(images)).tolist() == [True, True, False]
