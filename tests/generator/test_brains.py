"""The generative model as a whole: what is shown, what is asked for, and where it lies; transforms."""

from __future__ import annotations

from dataclasses import replace

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
from napari_synthseg.generator.head import Grid, crop_grid, full_grid, slice_matrix
from napari_synthseg.generator.labelmap import MARGIN, load, prepare, save
from napari_synthseg.generator.sample import apply, apply_batch, deformed
from tests.generator.builders import PAPER, STILL, boxes, record, small_map

VALUES = (0, 2, 24, 41)


def test_means_and_deviations_are_those_of_the_record() -> None:
    m = small_map()
    r = record()
    s = apply(r, m, full_grid(m))
    low, high = s.limits
    raw = s.image * (high - low) + low
    for i, value in enumerate(m.values):
        inside = raw[s.labels == i]
        if len(inside) > 500 and value:
            assert inside.mean().item() == pytest.approx(r["contrast"]["means"][i], abs=2.0)
            assert inside.std().item() == pytest.approx(r["contrast"]["stds"][i], rel=0.1)


@pytest.mark.parametrize(("kind", "gone"), [("none", set()), ("all", {24, 507}), ("keep-csf", {507})])
def test_skull_stripping_removes_what_table_s2_says(kind: str, gone: set[int]) -> None:
    m = small_map()
    r = record(skull_strip=kind, stds=(0.0,) * len(m.values), means=tuple(10.0 * (i + 1) for i in range(len(m.values))))
    s = apply(r, m, full_grid(m))
    low, high = s.limits
    shown = (s.image * (high - low) + low).round()
    for i, value in enumerate(m.values):
        if (s.labels == i).any():
            assert shown[s.labels == i].unique().tolist() == [10.0 if value in gone else 10.0 * (i + 1)]
    csf = s.target(VALUES)[s.labels == m.values.index(24)]
    assert set(csf.tolist()) == {0 if 24 in gone else VALUES.index(24)}


def test_unwanted_labels_are_reset_and_lesions_count_as_white_matter() -> None:
    m = small_map()
    s = apply(record(), m, full_grid(m))
    channels = s.target(VALUES)
    assert set(channels[s.labels == m.values.index(507)].tolist()) == {0}
    assert set(channels[s.labels == m.values.index(25)].tolist()) == {VALUES.index(2)}


def test_dropped_lesions_look_like_white_matter() -> None:
    m = small_map()
    flat = {"stds": (0.0,) * len(m.values), "means": tuple(10.0 * (i + 1) for i in range(len(m.values)))}
    with_, without = (apply(record(lesions=x, **flat), m, full_grid(m)) for x in (True, False))
    lesion = with_.labels == m.values.index(25)
    white = with_.labels == m.values.index(2)
    assert with_.image[lesion].mean() != with_.image[white].mean()
    assert torch.allclose(without.image[lesion].unique(), without.image[white].unique())


def test_a_flip_mirrors_the_map_and_swaps_its_sides() -> None:
    m = small_map()
    grid = Grid.centered((101, 15, 15))
    plain, flipped = (deformed(record(flip=f), m, grid).labels for f in (False, True))
    values = np.array(m.values)
    swap = {2: 41, 41: 2, 25: 57}
    expected = np.vectorize(lambda v: swap.get(v, v))(values[plain.numpy()])[::-1]
    assert np.array_equal(values[flipped.numpy()], expected)


def test_a_crop_is_part_of_the_whole() -> None:
    m = small_map()
    r = record(STILL.with_values(rotation_deg=(5, 9)), label_map=m)
    whole = deformed(r, m, full_grid(m)).labels
    part = deformed(r, m, crop_grid(m, (32, 16, 16), (0.0, 1.0, 0.5))).labels
    assert torch.equal(part, whole[:32, 4:, 2:18])


def test_a_batch_is_its_samples() -> None:
    m = small_map()
    records = [record(PAPER, seed=s, label_map=m) for s in (1, 2)]
    images, targets = apply_batch(records, [m, m], [full_grid(m)] * 2, VALUES)
    assert images.shape == (2, 1, *full_grid(m).shape)
    assert torch.equal(images[1, 0], apply(records[1], m, full_grid(m)).image)
    assert targets.max() < len(VALUES)


def test_slices_are_blocks_of_straight_lines() -> None:
    n = 41
    matrix = slice_matrix(n, 1.0, 5.0, 0.0)
    assert torch.allclose(matrix.sum(1), torch.ones(n))
    back = matrix @ torch.rand(n, generator=torch.Generator().manual_seed(0))
    bends = (back[2:] - 2 * back[1:-1] + back[:-2]).abs() > 1e-5
    assert int(bends.sum()) <= 9  # only at slice positions


def test_prepared_maps_survive_a_file(tmp_path) -> None:
    m = small_map()
    save(tmp_path / "maps.npz", [m])
    (back,) = load(tmp_path / "maps.npz")
    assert torch.equal(back.index, m.index)
    assert replace(back, index=m.index) == m


@pytest.mark.parametrize(
    "data", [np.zeros((4, 4, 4)), np.ones((4, 4)), np.full((4, 4, 4), 0.5), np.full((4, 4, 4), -2)]
)
def test_arrays_that_are_no_label_maps_are_refused(data: np.ndarray) -> None:
    with pytest.raises(ValueError, match="[Ll]abel map|label"):
        prepare(data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_agree_on_labels() -> None:
    m = small_map()
    r = record(PAPER, seed=3, label_map=m)
    a = deformed(r, m, full_grid(m)).labels
    b = deformed(r, m.to("cuda"), full_grid(m)).labels.cpu()
    assert (a == b).float().mean() > 0.999


# Label maps made ready


@pytest.mark.parametrize("large", [300, 70_000])
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_every_voxel_keeps_its_value(large: int, dtype: type) -> None:
    data = np.where(boxes() == 507, large, boxes()).astype(dtype)
    m = prepare(data)
    values = np.array(m.values)[m.index.numpy()]
    kept = tuple(slice(o + MARGIN, o + n - MARGIN) for o, n in zip(m.offset, m.index.shape, strict=True))
    assert np.array_equal(values[MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN], data[kept])
    assert (data > 0).sum() == (data[kept] > 0).sum()
    assert large in m.values and m.targets[m.values.index(large)] == large


def test_the_center_is_the_middle_of_the_brain() -> None:
    data = boxes(values=(2, 41, 24, 507))
    m = prepare(data)
    brain = np.argwhere(np.isin(data, (2, 41)))
    assert np.allclose(np.array(m.center) + m.offset, (brain.min(0) + brain.max(0)) / 2)


# Transforms


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
