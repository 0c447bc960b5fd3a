"""The two displays, and the way to 8-bit RGB."""

import torch

from ddpm_dip.display import DISPLAYS, clamp, minmax, to_rgb_uint8, to_uint8


def image(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_names():
    assert {"minmax": minmax, "clamp": clamp} == DISPLAYS


def test_clamp():
    assert clamp(image(-7, -1, 0, 0.5, 1, 9)).flatten().tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_minmax_stretches_each_image_by_itself():
    x = torch.cat([image(-3, 1, 5), image(0.1, 0.2, 0.3)])
    torch.testing.assert_close(minmax(x).flatten(1), torch.tensor([[0, 0.5, 1], [0, 0.5, 1]]))
    torch.testing.assert_close(minmax(3 * x - 20), minmax(x))


def test_minmax_takes_extremes_over_all_channels():
    x = torch.tensor([0.0, 1.0, 4.0]).view(1, 3, 1, 1)
    assert minmax(x).flatten().tolist() == [0, 0.25, 1]


def test_minmax_of_constant_image_is_0():
    assert minmax(torch.full((2, 1, 3, 3), 5.0)).eq(0).all()


def test_to_uint8_rounds_to_nearest():
    assert to_uint8(torch.tensor([-1, 0, 0.4 / 255, 0.6 / 255, 1, 2])).tolist() == [0, 0, 0, 1, 255, 255]


def test_8_bit_images_survive_model_range_and_back():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(clamp(x / 127.5 - 1)), x)


def test_rgb():
    grey = to_rgb_uint8(image(0, 0.5, 1))
    assert grey.dtype == torch.uint8
    assert grey.tolist() == [[[[0, 128, 255]]] * 3]
    colour = torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1)
    assert to_rgb_uint8(colour).flatten().tolist() == [0, 51, 255]
