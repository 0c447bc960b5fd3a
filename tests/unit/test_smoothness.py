"""Smoothness of strips whose measures are known."""

import numpy as np
import pytest

from ddpm_dip.evaluation.smoothness import smoothness


def test_a_straight_line_is_perfectly_smooth():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 3, 1, 64))
    fractions = np.linspace(0, 1, 6)[:, None]
    measured = smoothness((1 - fractions) * start + fractions * end)
    length = np.linalg.norm(end - start, axis=-1)[:, 0]
    np.testing.assert_allclose(measured.steps, np.tile(length[:, None] / 5, 5), rtol=1e-12)
    np.testing.assert_allclose(measured.path_length, length, rtol=1e-12)
    np.testing.assert_allclose(measured.end_to_end, length, rtol=1e-12)
    np.testing.assert_allclose(measured.path_ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(measured.largest_share, 1 / 5, rtol=1e-12)


def test_a_jump_is_one_step():
    """What the study says of DDPM's first row: the colour jumps once between neighbours and then stays."""
    jump = np.zeros((2, 5, 3))
    jump[0, 3:] = [3, 4, 0]
    jump[1, 1:] = 1
    measured = smoothness(jump)
    assert measured.steps.tolist() == [[0, 0, 5, 0], [3**0.5, 0, 0, 0]]
    assert measured.largest_share.tolist() == measured.path_ratio.tolist() == [1, 1]


def test_a_half_circle_is_even_but_long():
    angles = np.linspace(0, np.pi, 101)
    measured = smoothness(np.stack([np.cos(angles), np.sin(angles)], axis=1)[None])
    chord = 2 * np.sin(np.pi / 200)
    np.testing.assert_allclose(measured.steps, chord, rtol=1e-10)
    np.testing.assert_allclose(measured.path_ratio, [100 * chord / 2], rtol=1e-10)  # nearly pi / 2
    np.testing.assert_allclose(measured.largest_share, [0.01], rtol=1e-10)


def test_strips_that_return_or_stand_still():
    measured = smoothness([[[0.0], [3.0], [0.0]], [[1.0], [1.0], [1.0]]])
    assert measured.path_length.tolist() == [6, 0] and measured.end_to_end.tolist() == [0, 0]
    assert measured.path_ratio[0] == np.inf and np.isnan(measured.path_ratio[1])
    assert measured.largest_share[0] == 0.5 and np.isnan(measured.largest_share[1])


def test_8_bit_pixels_do_not_wrap_around():
    measured = smoothness(np.array([[[255], [0], [255]]], np.uint8))
    assert measured.steps.tolist() == [[255, 255]]


@pytest.mark.parametrize("points", [np.zeros((3, 4)), np.zeros((2, 1, 3)), np.zeros((1, 2, 3, 4))])
def test_other_shapes_are_refused(points):
    with pytest.raises(ValueError, match=r"must be \(pairs, points, D\) with at least 2 points, not "):
        smoothness(points)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        smoothness([[[0.0], [np.nan]]])
