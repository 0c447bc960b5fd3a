"""Interpolation: scipy's great circles, exact ends, known norms."""

import numpy as np
import pytest
import torch
from scipy.spatial import geometric_slerp

from ddpm_dip.sampling.interpolation import lerp, slerp

FRACTIONS = np.linspace(0, 1, 9)


def latents(seed, shape=(3, 2, 4, 4), dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(x):
    return x / x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))


# --- between latents ---


def test_lerp_is_a_straight_line():
    a, b = latents(0), latents(1)
    strips = lerp(a, b, FRACTIONS)
    assert strips.shape == (3, 9, 2, 4, 4) and strips.dtype == torch.float64
    for i, f in enumerate(FRACTIONS):
        torch.testing.assert_close(strips[:, i], a + f * (b - a), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dims", [2, 3, 50])
def test_slerp_is_scipy_s_between_unit_vectors(dims):
    a, b = unit(latents(0, (5, dims))), unit(latents(1, (5, dims)))
    for start, end, strip in zip(a, b, slerp(a, b, FRACTIONS), strict=True):
        np.testing.assert_allclose(strip, geometric_slerp(start.numpy(), end.numpy(), FRACTIONS), atol=1e-13)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 9e-8, 1.1e-7, 1e-4, 1.0, 3.0, np.pi - 1e-6])
def test_slerp_keeps_the_norm_and_turns_evenly(angle):
    a = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[np.cos(angle), np.sin(angle), 0.0]], dtype=torch.float64)
    strip = slerp(a, b, FRACTIONS)[0]
    torch.testing.assert_close(strip.norm(dim=1), torch.ones(9).double(), atol=1e-9, rtol=0)
    turned = torch.atan2(strip[:, 1], strip[:, 0])
    torch.testing.assert_close(turned, torch.from_numpy(FRACTIONS * angle), atol=1e-9 * angle, rtol=0)


def test_slerp_of_right_angles_by_hand():
    strip = slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]]), [0, 1 / 3, 0.5, 1])
    expected = [[[2, 0], [3**0.5, 2], [2**0.5, 2 * 2**0.5], [0, 4]]]  # sines of 60, 30 and 45 degrees
    torch.testing.assert_close(strip, torch.tensor(expected), atol=1e-6, rtol=0)


def test_the_angle_is_over_all_dimensions_of_one_latent():
    a, b = latents(0), latents(1)
    flat = slerp(a.flatten(1), b.flatten(1), FRACTIONS)
    assert torch.equal(slerp(a, b, FRACTIONS).flatten(2), flat)
    for i in range(3):  # each pair for itself
        assert torch.equal(slerp(a[i : i + 1], b[i : i + 1], FRACTIONS).flatten(2), flat[i : i + 1])


@pytest.mark.parametrize("interpolate", [lerp, slerp])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_ends_are_exact(interpolate, dtype):
    a, b = latents(0, dtype=dtype), latents(1, dtype=dtype)
    strips = interpolate(a, b, [0, 0.5, 1])
    assert strips.dtype == dtype
    assert torch.equal(strips[:, 0], a) and torch.equal(strips[:, 2], b)


def test_float32_is_computed_in_float64():
    a, b = latents(0, dtype=torch.float32), latents(1, dtype=torch.float32)
    for interpolate in (lerp, slerp):
        assert torch.equal(interpolate(a, b, FRACTIONS), interpolate(a.double(), b.double(), FRACTIONS).float())


def test_parallel_latents_and_zeros_fall_back_to_lerp():
    a = latents(0)
    b = torch.stack([a[0], 3 * a[1], torch.zeros_like(a[2])])
    assert torch.equal(slerp(a, b, FRACTIONS), lerp(a, b, FRACTIONS))
    assert torch.equal(slerp(b, a, FRACTIONS), lerp(b, a, FRACTIONS))
    zeros = torch.zeros_like(a)
    assert torch.equal(slerp(zeros, zeros, FRACTIONS), torch.zeros(3, 9, 2, 4, 4).double())


def test_gaussian_latents_keep_their_norm_on_the_sphere_alone():
    """In D dimensions independent latents are at right angles but for 1/sqrt(D); the bound is five of that."""
    a, b = latents(0, (4, 3, 64, 64)), latents(1, (4, 3, 64, 64))
    norms = [f(a, b, [0.5]).flatten(1).norm(dim=1) / (3 * 64 * 64) ** 0.5 for f in (lerp, slerp)]
    torch.testing.assert_close(norms[0], torch.full((4,), 0.5**0.5).double(), atol=0.05, rtol=0)
    torch.testing.assert_close(norms[1], torch.ones(4).double(), atol=0.05, rtol=0)


def test_what_has_no_interpolation_is_refused():
    a = latents(0)
    for interpolate in (lerp, slerp):
        with pytest.raises(ValueError, match=r"two shapes: \(3, 2, 4, 4\) and \(2, 2, 4, 4\)"):
            interpolate(a, a[:2], FRACTIONS)
    b = torch.stack([a[1], -2 * a[1], a[0]])
    with pytest.raises(ValueError, match="pair 1: the two latents are opposite"):
        slerp(a, b, FRACTIONS)
