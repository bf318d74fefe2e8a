"""No view mirrors the head: a phantom is drawn and read back from the canvas; what was looked at stays in view."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import volume_to_layer
from napari_synthseg.widgets.layers.labels_layer import labels_array, show_only
from napari_synthseg.widgets.view import view
from tests.widgets.builders import AFFINES

SIZE = 40
SIDES = {"L": (-1, 0, 0), "R": (1, 0, 0), "P": (0, -1, 0), "A": (0, 1, 0), "I": (0, 0, -1), "S": (0, 0, 1)}  # in RAS
VALUES = {letter: number for number, letter in enumerate(SIDES, 1)}
EVERY = [(name, convention) for name in view.VIEWS for convention in view.CONVENTIONS]


def phantom(viewer, affine=None, reach: float = 14.0):
    """A Labels layer with a ball on each side of the middle, each with its own value."""
    affine = AFFINES["RAS"] if affine is None else affine
    index = np.indices((SIZE,) * 3).reshape(3, -1)
    world = affine[:3, :3] @ (index - (SIZE - 1) / 2)  # RAS mm from the middle
    data = np.zeros(SIZE**3, np.uint8)
    for letter, side in SIDES.items():
        data[np.linalg.norm(world - reach * np.array(side)[:, None], axis=0) < 4] = VALUES[letter]
    array, kwargs = volume_to_layer(Volume(data.reshape((SIZE,) * 3), affine))
    return viewer.add_labels(labels_array(array), opacity=1, **kwargs)


def places(viewer, layer) -> dict[str, np.ndarray]:
    """Where each ball is drawn: to the right and up, from the middle of the canvas, as parts of its height."""
    found = {}
    viewer.canvas.overlays.axes.visible = False
    for letter in "LAS":
        show_only(layer, [VALUES[letter]], VALUES.values())
        picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].max(axis=-1) > 40
        drawn = np.argwhere(picture)
        if len(drawn):
            middle = np.array(picture.shape) / 2
            found[letter] = ((drawn.mean(axis=0) - middle) / picture.shape[0] * (-1, 1))[::-1]
    return found


@pytest.fixture
def drawn(window):
    viewer = window(show=True)
    viewer.window.resize(700, 500)
    return viewer


def test_every_side_is_drawn_where_it_is(drawn):
    for affine in ("LIA", "oblique LIA"):
        drawn.dims.ndisplay = 2
        drawn.layers.clear()
        layer = phantom(drawn, AFFINES[affine])
        for name, convention in EVERY:
            view.set_view(drawn, name, convention)
            directions = _world_directions(drawn)[::-1]  # to the right, up
            found = places(drawn, layer)
            assert found, f"{convention} {name} shows nothing"
            for letter, place in found.items():  # balls in front of or behind the slice are not drawn
                for along, direction in zip(place, directions, strict=True):
                    towards = np.dot(SIDES[letter], direction)
                    assert abs(towards) < 0.5 or along * towards > 0.1, f"{convention} {name}: {letter} is at {place}"
            left = -1 if convention == view.NEUROLOGICAL else 1
            if name != view.SAGITTAL:
                assert found["L"][0] * left > 0.1
            assert found["A" if name == view.AXIAL else "S"][1] > 0.1


def test_what_is_in_front_in_3d_hides_what_is_behind(drawn):
    layer = phantom(drawn, reach=5.0)  # balls that cover each other: with the depth turned round, another is seen
    for convention, near in ((view.NEUROLOGICAL, "P"), (view.RADIOLOGICAL, "A")):
        view.set_view(drawn, view.THREE_D, convention)
        drawn.scene.camera.set_view_direction((0, 1 if near == "P" else -1, 0), (1, 0, 0))
        show_only(layer, [VALUES["A"], VALUES["P"]], VALUES.values())
        picture = drawn.screenshot(canvas_only=True, flash=False)[..., :3]
        height, width = picture.shape[:2]
        seen = picture[height // 2, width // 2] / 255
        colors = {letter: np.array(layer.colormap.map(VALUES[letter])[:3]) for letter in "AP"}
        hues = {letter: color / np.linalg.norm(color) for letter, color in colors.items()}
        closeness = {letter: float(hue @ seen / np.linalg.norm(seen)) for letter, hue in hues.items()}
        assert max(closeness, key=closeness.get) == near


def test_napari_s_own_3d_button_does_not_mirror_either():
    viewer = ViewerModel()
    phantom(viewer)
    for name, convention in EVERY:
        view.set_view(viewer, name, convention)
        viewer.dims.ndisplay = 3
        up, right = _world_directions(viewer)
        towards = np.cross(right, up)  # in a world that is not mirrored this points at who looks
        np.testing.assert_allclose(towards, -_ahead(viewer), atol=1e-9, err_msg=f"{convention} {name} is mirrored")
        viewer.dims.ndisplay = 2


def _world_directions(viewer) -> list[np.ndarray]:
    """Up and right on the canvas, in RAS."""
    out = []
    for direction in view.screen_directions(viewer):
        world = np.zeros(3)
        world[list(viewer.dims.displayed)] = direction
        out.append(world[::-1])
    return out


def _ahead(viewer) -> np.ndarray:
    """The way the camera looks, in RAS."""
    world = np.zeros(3)
    world[list(viewer.dims.displayed)] = viewer.scene.camera.view_direction
    return world[::-1]


# Directions


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    phantom(viewer)
    return viewer


@pytest.mark.parametrize(
    ("name", "convention", "expected"),
    [
        ("axial", "neurological", "AR"),
        ("axial", "radiological", "AL"),
        ("coronal", "neurological", "SR"),
        ("coronal", "radiological", "SL"),
        ("sagittal", "neurological", "SA"),
        ("sagittal", "radiological", "SP"),
        ("3d", "neurological", "SR"),
        ("3d", "radiological", "SL"),
    ],
)
def test_what_is_up_and_on_the_right(viewer, name, convention, expected):
    view.set_view(viewer, name, convention)
    found = [max(SIDES, key=lambda side: np.dot(SIDES[side], one)) for one in _world_directions(viewer)]
    assert "".join(found) == expected


# What stays


def test_the_point_looked_at_stays(viewer):
    view.set_view(viewer, "axial", "neurological")
    viewer.scene.camera.zoom = 100.0
    view.look_at(viewer, np.array([3.0, -4.0, 7.0]))
    for name, convention in EVERY:
        view.set_view(viewer, name, convention)
        np.testing.assert_allclose(np.array(viewer.dims.point), [3, -4, 7], atol=0.51)
        shown = [[3.0, -4.0, 7.0][axis] for axis in viewer.dims.displayed]
        np.testing.assert_allclose(viewer.scene.camera.center[-viewer.dims.ndisplay :], shown, atol=0.51)
        assert viewer.scene.camera.zoom == 100.0


def test_where_the_user_panned_to_is_where_the_other_planes_cut(viewer):
    view.set_view(viewer, "axial", "neurological")
    viewer.scene.camera.zoom = 100.0
    viewer.scene.camera.center = (0.0, 12.0, -10.0)
    view.set_view(viewer, "coronal", "neurological")
    assert viewer.dims.point[1] == pytest.approx(12, abs=0.51)
    np.testing.assert_allclose(viewer.scene.camera.center[-1], -10)


def test_slices_stay_and_the_scene_is_fitted_where_all_was_in_view(viewer):
    viewer.reset_view()
    viewer.dims.set_current_step(1, 30)
    view.set_view(viewer, "coronal", "neurological")
    assert viewer.dims.current_step[1] == 30
    zoom = viewer.scene.camera.zoom
    viewer.fit_to_view()
    assert viewer.scene.camera.zoom == pytest.approx(zoom)


def test_time_stays_in_front(viewer):
    viewer.add_image(np.zeros((3, SIZE, SIZE, SIZE)))
    viewer.dims.set_current_step(0, 2)
    view.set_view(viewer, "sagittal", "neurological")
    assert viewer.dims.order == (0, 3, 1, 2)
    assert viewer.dims.current_step[0] == 2


@pytest.mark.parametrize("rolls", [1, 2, 3])
@pytest.mark.parametrize("ndisplay", [2, 3])
def test_a_view_can_be_chosen_while_time_is_on_the_canvas(viewer, rolls, ndisplay):
    viewer.add_image(np.zeros((5, 8, 9, 10)))
    viewer.dims.ndisplay = ndisplay
    for _ in range(rolls):
        viewer.dims.roll()
    view.set_view(viewer, view.CORONAL)
    assert view.current_view(viewer)[0] == view.CORONAL
    assert viewer.dims.order[0] == 0


def test_a_flat_picture_is_left_alone():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((8, 8)))
    before = viewer.scene.camera.orientation
    view.set_view(viewer, "axial")
    view.anatomical_view(viewer)
    assert viewer.scene.camera.orientation == before


def test_the_anatomical_view_goes_to_the_middle(viewer):
    view.anatomical_view(viewer, "radiological")
    assert viewer.dims.current_step == (SIZE // 2,) * 3
    assert view.current_view(viewer) == ("axial", "radiological")
