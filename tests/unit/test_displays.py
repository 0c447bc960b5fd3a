"""The two displays, and the way to 8-bit RGB."""

import numpy as np

from ddpm_dip.evaluation.displays import DISPLAYS, clamp, diverged, minmax, to_rgb_uint8, to_uint8


def image(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def test_names():
    assert {"minmax": minmax, "clamp": clamp} == DISPLAYS


def test_clamp():
    assert clamp(image(-7, -1, 0, 0.5, 1, 9)).flatten().tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_minmax_stretches_each_image_by_itself():
    x = np.concatenate([image(-3, 1, 5), image(0.1, 0.2, 0.3)])
    np.testing.assert_allclose(minmax(x).reshape(2, -1), [[0, 0.5, 1], [0, 0.5, 1]], rtol=1e-6)
    np.testing.assert_allclose(minmax(3 * x - 20), minmax(x), atol=1e-5)


def test_minmax_takes_extremes_over_all_channels():
    x = image(0, 1, 4).reshape(1, 3, 1, 1)
    assert minmax(x).flatten().tolist() == [0, 0.25, 1]


def test_minmax_of_constant_image_is_0():
    assert (minmax(np.full((2, 1, 3, 3), 5, np.float32)) == 0).all()


def test_to_uint8_rounds_to_nearest():
    assert to_uint8(np.array([-1, 0, 0.4 / 255, 0.6 / 255, 1, 2])).tolist() == [0, 0, 0, 1, 255, 255]


def test_8_bit_images_survive_model_range_and_back():
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(to_uint8(clamp(x.astype(np.float32) / 127.5 - 1)), x)


def test_rgb():
    grey = to_rgb_uint8(image(0, 0.5, 1))
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[[[0, 128, 255]]] * 3]
    colour = image(0, 0.2, 1).reshape(1, 3, 1, 1)
    assert to_rgb_uint8(colour).flatten().tolist() == [0, 51, 255]


def test_diverged_images_are_those_that_no_display_can_show():
    x = np.zeros((6, 1, 2, 2), np.float32)
    x[1, 0, 0, 0], x[2, 0, 1, 1], x[3, 0, 0, 1] = np.nan, np.inf, -np.inf
    x[4, 0, 0], x[5, 0, 0] = 3e38, 1e30
    x[4, 0, 1] = -3e38  # both are finite in float32, their difference is not
    assert diverged(x).tolist() == [False, True, True, True, True, False]
