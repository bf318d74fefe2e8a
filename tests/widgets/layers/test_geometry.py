"""Layers become volumes in RAS mm and come back where they were."""

from __future__ import annotations

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_synthseg.errors import InputError
from napari_synthseg.volume import to_canonical
from napari_synthseg.widgets.layers.geometry import (
    copied_geometry,
    layer_problem,
    layer_scan,
    layer_to_volume,
    series_kwargs,
    shown_volume,
    volume_to_layer,
)
from napari_synthseg.widgets.layers.writer import layer_file
from tests.widgets.builders import AFFINES, scan_layer, volume

COPIED = ("scale", "translate", "rotate", "shear", "affine")
SHEARED_FLAT = [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1 + 1e-8, 0], [0, 0, 0, 1]]


def assert_world_is_ras(layer: Image) -> None:
    """The volume's affine gives, for some voxels, what napari gives, in reversed order."""
    got = layer_to_volume(layer)
    for index in ((0, 0, 0), (1, 2, 3), (3, 0, 2)):
        world = layer.data_to_world(index)
        np.testing.assert_allclose((got.affine @ [*index[::-1], 1])[:3], world[::-1], atol=1e-6)
        assert got.data[index[::-1]] == layer.data[index]


@pytest.mark.parametrize("kind", AFFINES)
def test_our_layers_give_the_exact_canonical_volume(kind):
    expected = to_canonical(volume(kind))
    got = layer_to_volume(scan_layer(kind))
    assert np.array_equal(got.affine, expected.affine)
    assert np.array_equal(got.data, expected.data)


@pytest.mark.parametrize("kind", ["RAS", "LAS", "LIA", "thick"])
def test_a_straight_scan_is_shown_in_ras_mm(kind):
    assert_world_is_ras(scan_layer(kind))


def test_an_oblique_scan_is_shown_straight_with_its_centre_in_place():
    scan = to_canonical(volume("oblique"))
    layer = scan_layer("oblique")
    assert np.array_equal(np.asarray(layer.affine), np.eye(4))
    assert np.allclose(np.asarray(layer.scale), np.linalg.norm(scan.affine[:3, :3], axis=0)[::-1])
    middle = (np.array(scan.data.shape) - 1) / 2
    world = layer.data_to_world(middle[::-1])
    np.testing.assert_allclose(world[::-1], (scan.affine @ [*middle, 1])[:3], atol=1e-9)


def test_a_layer_moved_in_napari_moves_its_volume():
    layer = scan_layer("oblique")
    before = layer_to_volume(layer).affine
    layer.translate = layer.translate + np.array([2.0, 0.0, 5.0])  # S, A, R
    moved = layer_to_volume(layer).affine
    np.testing.assert_allclose(moved[:3, 3] - before[:3, 3], [5.0, 0.0, 2.0], atol=1e-9)
    np.testing.assert_allclose(moved[:3, :3], before[:3, :3], atol=1e-9)
    np.testing.assert_allclose(layer_file(layer).affine[:3, 3] - volume("oblique").affine[:3, 3], [5, 0, 2], atol=1e-9)


@pytest.mark.parametrize("kind", AFFINES)
def test_a_cropped_layer_keeps_its_voxels_where_they_were(kind):
    """Also in an oblique scan, of which napari shows a straightened picture."""
    layer = scan_layer(kind)
    corner, step = np.array([1, 0, 2]), np.array([1, 2, 1])
    start = layer.data_to_world(corner)
    part = layer.data[1:, ::2, 2:]
    cropped = Image(part, scale=layer.scale * step, translate=start, metadata=layer.metadata)
    whole, got = layer_to_volume(layer), layer_to_volume(cropped)
    for index in ((0, 0, 0), (2, 1, 1)):
        in_whole = corner[::-1] + step[::-1] * index
        assert got.data[index] == whole.data[tuple(in_whole)]
        np.testing.assert_allclose(got.affine @ [*index, 1], whole.affine @ [*in_whole, 1], atol=1e-9)


def test_a_cropped_layer_is_saved_in_the_order_of_its_file():
    layer = scan_layer("oblique LIA")
    cropped = Image(
        layer.data[1:], scale=layer.scale, translate=layer.data_to_world((1, 0, 0)), metadata=layer.metadata
    )
    got, whole = layer_file(cropped), volume("oblique LIA")
    assert nib.aff2axcodes(got.affine) == nib.aff2axcodes(whole.affine)
    for index in ((0, 0, 0), (3, 2, 1)):
        place = np.linalg.solve(whole.affine, got.affine @ [*index, 1])[:3]
        assert got.data[index] == whole.data[tuple(np.rint(place).astype(int))]
        np.testing.assert_allclose(place, np.rint(place), atol=1e-9)


OTHER_GEOMETRIES = {
    "plain": {},
    "negative scale": {"scale": (-1.0, -2.0, 3.0), "translate": (4.0, 5.0, 6.0)},
    "rotated and sheared": {
        "scale": (1, 2, 3),
        "rotate": (10, 20, 30),
        "shear": (0.1, 0.2, 0.3),
        "translate": (1, 2, 3),
    },
    "permuted": {"affine": [[0, 0, 2, 1], [0, 1, 0, 2], [1, 0, 0, 3], [0, 0, 0, 1]]},
    "composed": {"scale": (2, 1, 1), "affine": [[0.9, 0.1, 0, 1], [-0.1, 0.9, 0, 2], [0, 0.2, 1, 3], [0, 0, 0, 1]]},
}


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("kind", OTHER_GEOMETRIES)
def test_layers_of_other_readers_are_taken_by_their_world(kind):
    assert_world_is_ras(Image(np.random.default_rng(0).random((5, 6, 7)), **OTHER_GEOMETRIES[kind]))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("kind", OTHER_GEOMETRIES)
def test_a_result_lies_exactly_on_its_input(kind):
    image = Image(np.zeros((5, 6, 7)), units="mm", axis_labels=("a", "b", "c"), **OTHER_GEOMETRIES[kind])
    labels = Labels(np.zeros((5, 6, 7), np.uint16), **copied_geometry(image))
    for name in COPIED:
        assert np.array_equal(np.asarray(getattr(labels, name)), np.asarray(getattr(image, name))), name
    assert labels.units == image.units
    assert labels.axis_labels == image.axis_labels


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_result_of_one_volume_of_a_series_lies_on_it():
    affine = np.eye(5)
    affine[1:, 4] = (1, 2, 3, 1)
    image = Image(
        np.zeros((2, 5, 6, 7)),
        scale=(9, 1, 2, 3),
        shear=(0, 0, 0, 0.1, 0.2, 0.3),
        affine=affine,
        units=("s", *["mm"] * 3),
    )
    labels = Labels(np.zeros((5, 6, 7), np.uint16), **copied_geometry(image))
    for index in ((0, 0, 0), (1, 2, 3)):
        np.testing.assert_allclose(labels.data_to_world(index), image.data_to_world((0, *index))[1:])
    assert labels.units == image.units[1:]


def test_units_of_length_become_millimetres():
    got = layer_to_volume(Image(np.zeros((4, 4, 4)), scale=(500, 500, 500), translate=(1000, 0, 0), units="um"))
    assert np.allclose(got.affine[:3, :3], np.eye(3) * 0.5)
    assert np.allclose(got.affine[:3, 3], (0, 0, 1))


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (Image(np.zeros((5, 6, 3), np.uint8), rgb=True), "RGB"),
        (Image(np.zeros((5, 6, 7, 3), np.uint8), rgb=True), "RGB"),
        (Image(np.zeros((5, 6))), "2D"),
        (Image(np.zeros((2, 2, 3, 3, 3))), "5 dimensions"),
        (Image([np.zeros((8, 8, 8)), np.zeros((4, 4, 4))], multiscale=True), "multiscale"),
        (Image(np.zeros((4, 4, 4)), affine=SHEARED_FLAT), "flattened"),
    ],
)
def test_what_is_no_scan_is_refused_in_one_sentence(layer, word):
    problem = layer_problem(layer)
    assert word in problem
    assert layer.name in problem
    assert problem.endswith(".")
    assert "\n" not in problem
    with pytest.raises(InputError, match=word):
        layer_to_volume(layer)


def test_the_volume_shown_is_found_beside_a_series_of_other_steps():
    """The viewer counts in the finest step of all layers: its fourth step is the third volume, 2 s apart."""
    viewer = ViewerModel()
    array, kwargs = volume_to_layer(volume("RAS"))
    slow = viewer.add_layer(Image(np.stack([array] * 6), **series_kwargs(kwargs, 2.0)))
    counted = viewer.add_layer(Image(np.stack([array] * 30), **series_kwargs(kwargs, None)))
    viewer.dims.set_current_step(0, 4)
    assert (shown_volume(slow, viewer.dims), shown_volume(counted, viewer.dims)) == (2, 4)
    viewer.dims.set_current_step(0, 29)
    assert shown_volume(slow, viewer.dims) == 5


def test_a_lazy_layer_is_computed_only_when_read():
    computed = []

    def block(block_info=None):
        computed.append(1)
        return np.ones((4, 4, 4))

    lazy = da.map_blocks(block, chunks=((4,), (4,), (4,)), dtype=float)
    layer = Image(lazy, contrast_limits=(0, 1))
    before = len(computed)
    scan = layer_scan(layer)
    assert len(computed) == before
    assert isinstance(scan.read().data, np.ndarray)
    assert len(computed) > before


def test_a_lazy_layer_that_fails_is_an_error_for_the_user():
    def block(block_info=None):
        raise OSError("gone")

    layer = Image(np.zeros((4, 4, 4)), name="far")
    scan = layer_scan(layer)
    broken = type(scan)(scan.name, da.map_blocks(block, chunks=((4,), (4,), (4,)), dtype=float), scan.affine)
    with pytest.raises(InputError, match="far"):
        broken.read()
