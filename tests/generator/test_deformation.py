"""Affine and diffeomorphic transforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.generator.deformation import (
    affine_matrix,
    displacement_field,
    integrate,
    interpolation_matrix,
    separable,
)


def test_rotations_are_rotations_and_scalings_scale() -> None:
    m = affine_matrix((10, -20, 30), (1, 1, 1), (0, 0, 0))
    assert torch.allclose(m @ m.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.det(affine_matrix((10, -20, 30), (2, 0.5, 3), (0.1, 0.2, 0.3))).item() == pytest.approx(3.0)


def test_interpolation_matrix_is_linear_interpolation() -> None:
    knots = torch.tensor([0.0, 10.0, 5.0, 7.0])
    at = torch.tensor([-1.0, 0.0, 0.25, 1.5, 3.0, 9.0])
    found = interpolation_matrix(at, 4) @ knots
    assert found.tolist() == pytest.approx([0, 0, 2.5, 7.5, 7, 7])


def test_separable_equals_einsum() -> None:
    g = torch.Generator().manual_seed(0)
    field = torch.randn(2, 3, 4, 5, generator=g)
    m = [torch.randn(n, k, generator=g) for n, k in ((6, 3), (7, 4), (8, 5))]
    assert torch.allclose(separable(field, m), torch.einsum("bxyz,ix,jy,kz->bijk", field, *m), atol=1e-4)


def test_a_constant_velocity_is_a_translation() -> None:
    v = torch.zeros(3, 12, 12, 12)
    v[1] = 2.5
    u = integrate(v, (4.0, 4.0, 4.0))
    assert torch.allclose(u, v, atol=1e-4)


def test_linear_velocity_gives_the_exponential() -> None:
    n, s, a = 33, 1.0, 0.2
    x = (torch.arange(n) - (n - 1) / 2) * s
    v = torch.zeros(3, n, n, n)
    v[0] = a * x[:, None, None]
    u = integrate(v, (s, s, s))
    inner = slice(8, 25)  # away from where the field is cut off
    expected = (np.exp(a) - 1) * x[inner]
    assert torch.allclose(u[0, inner, 16, 16], expected, atol=0.02)


def test_deformations_do_not_fold() -> None:
    f = (192.0, 192.0, 192.0)
    u = displacement_field(3.0, 10, 4, f)
    step = f[0] / (u.shape[-1] - 1)
    gradient = torch.stack([torch.stack(torch.gradient(u[i], spacing=step), 0) for i in range(3)]).permute(
        2, 3, 4, 0, 1
    )
    jacobian = torch.det(gradient + torch.eye(3))
    assert jacobian.min() > 0
    assert u.abs().max() > 1.0


def test_integration_on_the_small_grid_is_accurate() -> None:
    from napari_synthseg.generator import deformation

    f = (200.0, 200.0, 200.0)
    small = displacement_field(3.0, 10, 1, f)
    v = deformation.velocity_field(3.0, 10, 1)
    up = interpolation_matrix(torch.linspace(0, 9, 95), 10)
    fine = integrate(separable(v, (up, up, up)), [200.0 / 94] * 3)[:, ::2, ::2, ::2]
    assert fine.shape == small.shape
    error = (fine - small).norm(dim=0)  # mm, for the strongest field of Table S1
    assert error.mean() < 0.1
    assert error.flatten().quantile(0.99) < 0.5


def test_fields_scale_with_their_strength_and_keep_their_pattern() -> None:
    from napari_synthseg.generator.deformation import velocity_field

    assert torch.allclose(2 * velocity_field(1.0, 10, 7), velocity_field(2.0, 10, 7))
