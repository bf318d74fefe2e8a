"""The slice that is taken is the one napari draws, and a position on it is the pixel that is drawn there."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_synthseg.widgets.prompt import pointing as planes
from napari_synthseg.widgets.prompt.model import section

DATA = np.arange(6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
TURN = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
LAYERS = {
    "plain": {},
    "anisotropic": {"scale": (3.0, 0.5, 1.5), "translate": (-4.0, 10.0, 2.5)},
    "mirrored": {"scale": (-1.0, 1.0, -2.0)},
    "turned in the plane": {"rotate": TURN, "scale": (2.0, 1.0, 1.0)},
    "sheared": {"shear": (0.0, 0.0, 0.3)},
    "micrometres": {"scale": (1000.0, 500.0, 500.0), "units": ("um",) * 3},
}
ORDERS = [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)]


def raw(layer) -> np.ndarray:
    """What napari draws, in the order of the array's axes."""
    drawn = np.asarray(layer._slice.image.raw)
    order = layer._slice_input.displayed
    return drawn if order == sorted(order) else drawn.swapaxes(0, 1)


def with_layer(name, data=DATA, mm=False, **more):
    viewer = ViewerModel()
    if mm:
        viewer.add_image(np.zeros((4, 4, 4)), scale=(1, 1, 1), units=("mm",) * 3)
    return viewer, viewer.add_image(data, **LAYERS[name], **more)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", LAYERS)
def test_the_slice_is_the_one_that_is_drawn(name, order):
    viewer, layer = with_layer(name)
    viewer.dims.order = order
    for fraction in (0.45, 0.6):
        low, high, _ = viewer.dims.range[order[0]]
        viewer.dims.set_point(order[0], low + fraction * (high - low))
        shown = planes.shown(layer, viewer.dims)
        assert shown.through == order[0]
        np.testing.assert_array_equal(DATA[section(shown.place)], raw(layer))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", [name for name in LAYERS if "turned" not in name and "sheared" not in name])
def test_a_position_is_the_pixel_there(name, order):
    viewer, layer = with_layer(name)
    viewer.dims.order = order
    index = np.array([2.0, 3.25, 4.5])
    world = layer.data_to_world(index)
    viewer.dims.point = world
    expected = np.delete(index, order[0])
    np.testing.assert_allclose(planes.position(layer, viewer.dims, world), expected, atol=1e-9)
    far = np.array(world) + 1000 * np.max(np.abs(layer.scale))
    assert planes.position(layer, viewer.dims, far) is None


def test_layers_in_other_units_lie_where_they_are_drawn():
    viewer, layer = with_layer("micrometres", mm=True)
    viewer.dims.set_point(0, 2.0)  # mm
    assert {str(unit) for unit in viewer.dims.units} in ({"millimeter"}, {"micrometer"})
    factor = 1000 if "micro" in str(viewer.dims.units[0]) else 1
    viewer.dims.set_point(0, 2.0 * factor)
    shown = planes.shown(layer, viewer.dims)
    np.testing.assert_array_equal(DATA[section(shown.place)], raw(layer))
    at = planes.position(layer, viewer.dims, (2.0 * factor, 1.5 * factor, 2.0 * factor))
    np.testing.assert_allclose(at, (3.0, 4.0), atol=1e-6)


def test_two_dimensions_have_one_slice():
    viewer, layer = with_layer("plain", DATA[0])
    assert planes.shown(layer, viewer.dims) == planes.ShownSlice((None, None), None)
    assert planes.position(layer, viewer.dims, (3.0, 4.0)) == (3.0, 4.0)
    assert planes.position(layer, viewer.dims, (-0.6, 4.0)) is None


def test_an_image_beside_a_volume_and_a_series():
    viewer = ViewerModel()
    flat = viewer.add_image(DATA[0])
    series = viewer.add_image(np.stack([DATA, DATA + 1000]))
    viewer.dims.point = (1, 4, 0, 0)
    shown = planes.shown(series, viewer.dims)
    assert shown == planes.ShownSlice((1, 4, None, None), 1)
    np.testing.assert_array_equal(raw(series), DATA[4] + 1000)
    assert planes.shown(flat, viewer.dims).place == (None, None)
    assert planes.position(flat, viewer.dims, (1, 4, 2.0, 3.0)) == (2.0, 3.0)


def test_colours_are_no_axis():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 6, 7, 3), np.uint8), rgb=True)
    viewer.dims.set_point(0, 3)
    assert planes.image_shape(layer) == (5, 6, 7)
    assert planes.shown(layer, viewer.dims).place == (3, None, None)


def test_there_is_no_slice_beside_the_image():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((40, 8, 8)))
    layer = viewer.add_image(DATA, translate=(10, 0, 0))
    viewer.dims.set_point(0, 5)
    assert planes.shown(layer, viewer.dims) is None
    assert "no slice here" in planes.problem_of(layer, viewer.dims)
    viewer.dims.set_point(0, 15)
    assert planes.problem_of(layer, viewer.dims) is None
    assert planes.shown(layer, viewer.dims).place == (5, None, None)


def test_the_same_grid_is_told_from_another():
    viewer = ViewerModel()
    one = viewer.add_image(DATA, scale=(2, 1, 1))
    assert planes.same_grid(one, viewer.add_image(DATA, scale=(2, 1, 1)))
    assert not planes.same_grid(one, viewer.add_image(DATA, scale=(2, 1, 1.01)))
    assert not planes.same_grid(one, viewer.add_image(DATA[:5], scale=(2, 1, 1)))
    assert not planes.same_grid(one, viewer.add_image(DATA, scale=(2, 1, 1), translate=(0, 0, 1)))
    assert planes.spacing(one) == (2.0, 1.0, 1.0)
