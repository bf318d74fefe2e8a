"""Scribbles and lassos drawn in a Shapes layer, and all objects like one."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtTest import QTest

from tests.widgets.prompt.conftest import blobs, settle
from tests.widgets.prompt.test_prompting import INSIDE_1, INSIDE_2, click, mask_of, says


@pytest.fixture
def pointing(viewer, widget):
    viewer.add_image(blobs())
    viewer.dims.set_point(0, 3)
    widget.point.click()
    return widget


def draw(widget, kind: str, corners) -> None:
    """Draw in the layer of the tool in hand, on slice 3."""
    widget.drawing.layer.add(np.array([(3, *corner) for corner in corners], float), shape_type=kind)
    QTest.qWait(20)
    settle(widget)


def test_a_scribble_is_answered_and_undone_at_once(viewer, pointing):
    pointing.scribble.click()
    assert pointing.drawing.layer is viewer.layers.selection.active
    assert str(pointing.drawing.layer.mode) == "add_path"
    draw(pointing, "path", [(5, 4), (9, 4), (9, 7)])
    np.testing.assert_array_equal(mask_of(pointing, 3), blobs()[3] == 1)
    assert not pointing.drawing.layer.data and pointing.scribble.isChecked()
    pointing.undo.click()
    assert not mask_of(pointing, 3).any()


def test_a_scribble_outside_takes_away(viewer, pointing):
    click(pointing, (3, *INSIDE_1))
    click(pointing, (3, *INSIDE_2))
    pointing.outside.click()
    pointing.scribble.click()
    draw(pointing, "path", [(7, 14), (14, 18)])
    np.testing.assert_array_equal(mask_of(pointing, 3), blobs()[3] == 1)


def test_a_lasso_is_a_polygon(viewer, pointing, make):
    pointing.lasso.click()
    assert str(pointing.drawing.layer.mode) == "add_polygon_lasso" and not pointing.scribble.isChecked()
    draw(pointing, "polygon", [(3, 2), (3, 9), (13, 9), (13, 2)])
    np.testing.assert_array_equal(mask_of(pointing, 3), blobs()[3] == 1)
    inside = [point for point, positive in make.log.answers[-1][0] if positive]
    assert inside and all(3 <= row <= 13 for row, _ in inside)


def test_the_tool_is_put_away(viewer, pointing):
    pointing.scribble.click()
    pointing.scribble.click()
    assert pointing.drawing.layer is None and [layer.name for layer in viewer.layers] == ["Image"]
    pointing.lasso.click()
    viewer.layers.remove(pointing.drawing.layer)
    assert pointing.drawing.tool is None and not pointing.lasso.isChecked()
    pointing.lasso.click()
    pointing.close_down()
    assert [layer.name for layer in viewer.layers] == ["Image"]


def test_without_an_image_there_is_nothing_to_draw_on(widget):
    assert not widget.scribble.isEnabled() and not widget.lasso.isEnabled()


def cells() -> np.ndarray:
    """Three squares alike and a large one."""
    image = np.zeros((60, 80), np.uint8)
    for row, column in ((8, 8), (8, 60), (40, 10)):
        image[row : row + 8, column : column + 8] = 200
    image[30:58, 40:76] = 200
    return image


def test_all_objects_like_the_accepted_one_become_labels(viewer, widget, qtbot):
    viewer.add_image(cells())
    widget.point.click()
    click(widget, (12.0, 12.0))
    widget.name.setText("Cell")
    widget.accept.click()
    widget.list.choose(1)
    widget.similar.click()
    qtbot.waitUntil(lambda: not widget.objects._similar.running)
    QTest.qWait(50)
    target = widget.objects.target
    assert np.unique(target.data).tolist() == [0, 1, 2, 3] and not target.data[30:58, 40:76].any()
    assert sorted(target.features["name"]) == ["Background", "Cell", "Cell 2", "Cell 3"]
    says(widget, "2 objects like")
    widget.undo.click()
    assert np.unique(target.data).tolist() == [0, 1, 2]


def test_similar_objects_need_one_that_is_on_the_slice(viewer, widget):
    viewer.add_image(blobs())
    viewer.dims.set_point(0, 3)
    widget.point.click()
    click(widget, (3, *INSIDE_1))
    widget.objects.find_similar(1)
    says(widget, "Accept the object first")
    widget.accept.click()
    viewer.dims.set_point(0, 7)
    widget.objects.find_similar(1)
    says(widget, "Nothing on this slice")
