"""Clicks become masks on the slice that is shown; what goes wrong is told in a sentence and raises nothing."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QTimer

from napari_synthseg.errors import InputError
from napari_synthseg.widgets.prompt import PromptWidget
from tests.widgets.prompt.conftest import blobs, settle
from tests.widgets.prompt.fakes import maker

INSIDE_1, INSIDE_2 = (6.0, 5.0), (8.0, 16.0)
"""(row, column) in the two things of `blobs`."""


def click(widget, world, *, outside=False):
    widget.prompting.click(world, outside=outside)
    settle(widget)


def mask_of(widget, at=None) -> np.ndarray:
    voxels = widget.prompting.work.draft.voxels
    return voxels[at] != 0 if at is not None else voxels != 0


def test_a_click_gives_the_thing_on_the_slice_that_is_shown(viewer, widget):
    image = viewer.add_image(blobs())
    viewer.dims.set_point(0, 3)
    widget.point.click()
    click(widget, (3, *INSIDE_1))
    np.testing.assert_array_equal(mask_of(widget, 3), blobs()[3] == 1)
    assert mask_of(widget).sum() == (blobs()[3] == 1).sum()
    outline = widget.prompting.work.outline
    assert outline in viewer.layers and outline.contour >= 1
    np.testing.assert_array_equal(outline.data, widget.prompting.work.draft.voxels)
    np.testing.assert_allclose(outline.extent.world, image.extent.world)


def test_outside_by_modifier_and_by_polarity(viewer, widget, make):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    click(widget, INSIDE_1)
    click(widget, INSIDE_2)
    assert mask_of(widget).sum() == (blobs((20, 24)) > 0).sum()
    click(widget, INSIDE_2, outside=True)
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 1)
    widget.outside.click()
    click(widget, INSIDE_1)
    assert not mask_of(widget).any()
    click(widget, INSIDE_2, outside=True)  # the other way round now
    assert [positive for _, positive in make.log.answers[-1][0]] == [True, True, False, False, True]


def test_a_box_gives_what_is_in_it_and_may_end_beside_the_image(viewer, widget):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    widget.prompting.drag_box((2.0, 2.0), (8.0, 8.0))
    assert widget.prompting.work.box in viewer.layers
    widget.prompting.drop_box((-5.0, 10.0), (100.0, 100.0))
    settle(widget)
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 2)
    assert len(widget.prompting.work.box.data) == 1
    widget.prompting.drop_box((3.0, 3.0), (3.2, 9.0))
    assert "less than a pixel" in widget.status.text()


def test_a_series_and_colours(viewer, widget, make):
    viewer.add_image(np.stack([np.zeros_like(blobs()), blobs()]))
    viewer.dims.point = (1, 3, 0, 0)
    widget.point.click()
    click(widget, (1, 3, *INSIDE_2))
    np.testing.assert_array_equal(mask_of(widget)[1, 3], blobs()[3] == 2)
    assert mask_of(widget).sum() == (blobs()[3] == 2).sum()
    viewer.add_image(np.repeat(blobs((20, 24))[..., None], 3, axis=2), rgb=True)
    click(widget, (1, 3, *INSIDE_1))
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 1)
    assert make.log.seen[-1][0].shape == (20, 24, 3)


def test_the_model_sees_one_window_and_true_proportions(viewer, widget, make):
    data = blobs().astype(np.float32) * 100
    viewer.add_image(data, scale=(3.0, 1.0, 2.0))
    viewer.dims.set_point(0, 3)
    widget.point.click()
    click(widget, viewer.layers[0].data_to_world((1, *INSIDE_1)))
    whole = make.log.seen[-1][1]
    assert make.log.seen[-1][2] == (1.0, 2.0)
    viewer.dims.set_point(0, 0.0)  # an empty slice
    click(widget, viewer.layers[0].data_to_world((0, *INSIDE_1)))
    assert make.log.seen[-1][1] == whole and whole[1] > whole[0]
    viewer.layers[0].contrast_limits = (20, 150)
    widget.options.asking.controls["window"].setCurrentIndex(1)
    click(widget, viewer.layers[0].data_to_world((0, *INSIDE_1)))
    assert make.log.seen[-1][1] == (20, 150)
    widget.options.asking.controls["window"].setCurrentIndex(2)
    click(widget, viewer.layers[0].data_to_world((0, *INSIDE_1)))
    assert make.log.seen[-1][1] is None


def test_the_window_lives_while_an_image_is_encoded_and_clicks_wait(viewer, qtbot):
    gate = threading.Event()
    make = maker(gate=gate)
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget)
    viewer.add_image(blobs((20, 24)))
    widget.prompting.switch(True)
    ticks, said = [], []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(0))
    timer.start(10)
    widget.prompting.said.connect(said.append)
    for world in (INSIDE_1, INSIDE_2, INSIDE_1):
        widget.prompting.click(world, outside=False)
    assert widget.prompting.asker.waiting == 3
    assert len(widget.prompting.work.points.data) == 3  # shown at once
    qtbot.waitUntil(lambda: bool(make.log.seen))
    del ticks[:]
    qtbot.waitUntil(lambda: len(ticks) > 20)
    assert said[-1].startswith("Encoding this slice…") and "3 clicks" in said[-1]
    assert not make.log.answers
    gate.set()
    settle(widget)
    assert [len(points) for points, _, _ in make.log.answers] == [1, 2, 3]
    assert mask_of(widget).sum() == (blobs((20, 24)) > 0).sum()
    assert threading.main_thread() not in make.log.threads
    widget.close_down()


def test_undo_and_redo_of_clicks(viewer, widget):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    click(widget, INSIDE_1)
    click(widget, INSIDE_2)
    widget.undo.click()
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 1)
    assert len(widget.prompting.work.points.data) == 1
    widget.undo.click()
    assert not mask_of(widget).any() and not widget.undo.isEnabled()
    widget.redo.click()
    widget.redo.click()
    assert mask_of(widget).sum() == (blobs((20, 24)) > 0).sum() and not widget.redo.isEnabled()
    widget.discard.click()
    assert not mask_of(widget).any()
    widget.undo.click()
    assert mask_of(widget).sum() == (blobs((20, 24)) > 0).sum()


def test_an_undo_before_the_answer_and_its_redo(viewer, qtbot):
    gate = threading.Event()
    make = maker(gate=gate)
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget)
    viewer.add_image(blobs((20, 24)))
    widget.prompting.switch(True)
    widget.prompting.click(INSIDE_1, outside=False)
    qtbot.waitUntil(lambda: bool(make.log.seen))
    widget.objects.undo()
    gate.set()
    settle(widget)
    assert not mask_of(widget).any()
    assert "Encoding" not in widget.status.text()
    widget.prompting.redo()
    settle(widget)
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 1)
    widget.close_down()


# What can go wrong


def says(widget, *words):
    text = widget.status.text()
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("world", "outside", "words"),
    [
        ((-3.0, 5.0), False, 'beside "scan"'),
        (INSIDE_1, True, "Click inside the object too"),
        ((0.0, 0.0), False, "Nothing was found there"),
    ],
)
def test_a_click_without_an_object_is_answered_in_a_sentence(viewer, widget, world, outside, words):
    viewer.add_image(blobs((20, 24)), name="scan")
    widget.point.click()
    click(widget, world, outside=outside)
    says(widget, words)
    assert widget.prompting.begun is ("beside" not in words)


@pytest.mark.parametrize("case", ["hidden", "3D", "multiscale"])
def test_what_cannot_be_pointed_at(viewer, widget, case):
    if case == "multiscale":
        viewer.add_image([np.zeros((16, 16)), np.zeros((8, 8))], multiscale=True)
    else:
        viewer.add_image(blobs())
    widget.point.click()
    if case == "hidden":
        viewer.layers[0].visible = False
    if case == "3D":
        viewer.dims.ndisplay = 3
    click(widget, (3,) * viewer.dims.ndim)
    says(widget, {"3D": "3D to 2D"}.get(case, case))
    assert len(viewer.layers) == 1


def test_the_image_is_deleted_meanwhile(viewer, qtbot):
    gate = threading.Event()
    make = maker(gate=gate)
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget)
    viewer.add_image(blobs((20, 24)), name="scan")
    widget.prompting.switch(True)
    widget.prompting.click(INSIDE_1, outside=False)
    widget.prompting.click(INSIDE_2, outside=False)
    qtbot.waitUntil(lambda: bool(make.log.seen))
    viewer.layers.remove("scan")
    gate.set()
    settle(widget)
    assert len(viewer.layers) == 0
    says(widget, "scan", "deleted")
    widget.prompting.click(INSIDE_1, outside=False)
    says(widget, "Open an image first")
    widget.close_down()


def test_the_outline_is_deleted(viewer, widget):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    click(widget, INSIDE_1)
    viewer.layers.remove(widget.prompting.work.outline)
    assert len(viewer.layers) == 1 and not widget.prompting.begun
    click(widget, INSIDE_2)
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 2)


def test_an_answer_that_fails_leaves_what_was_answered(viewer, qtbot):
    make = maker()
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget)
    viewer.add_image(blobs((20, 24)))
    widget.prompting.switch(True)
    click(widget, INSIDE_1)
    widget.prompting.asker.engine._session.error = InputError("There is no memory left.")
    click(widget, INSIDE_2)
    says(widget, "no memory left")
    np.testing.assert_array_equal(mask_of(widget), blobs((20, 24)) == 1)
    assert len(widget.prompting.work.draft.steps) == 1
    widget.close_down()


def test_no_model_is_said_in_a_sentence(viewer, qtbot, monkeypatch):
    monkeypatch.setattr("napari_synthseg.weights.sam.available", lambda: [])
    widget = PromptWidget(viewer, maker())
    qtbot.addWidget(widget)
    viewer.add_image(blobs((20, 24)))
    assert not widget.point.isEnabled()
    text = widget.model.problem.text()
    assert "No promptable weights were found" in text and "mobile_sam.pt" in text
    widget.prompting.switch(True)  # by its key
    click(widget, INSIDE_1)
    says(widget, "no promptable model")
    widget.close_down()


def test_another_image_of_the_same_grid_goes_on_with_the_object(viewer, widget):
    first = viewer.add_image(blobs((20, 24)))
    widget.point.click()
    click(widget, INSIDE_1)
    second = viewer.add_image(3 * blobs((20, 24)))
    assert widget.image.layer() is second
    click(widget, INSIDE_2)
    assert mask_of(widget).sum() == (blobs((20, 24)) > 0).sum()
    viewer.add_image(blobs((20, 24)), scale=(2, 2))
    assert not widget.prompting.begun
    widget.image.set_layer(second)
    assert mask_of(widget).sum() == (blobs((20, 24)) > 0).sum()
    assert first in viewer.layers


def test_closing_leaves_the_viewer_as_it_was(make, qtbot):
    viewer = ViewerModel()
    viewer.add_image(blobs((20, 24)))
    assert viewer.cursor.style == "standard"
    drag, double = list(viewer.mouse_drag_callbacks), list(viewer.mouse_double_click_callbacks)
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget)
    widget.prompting.switch(True)
    click(widget, INSIDE_1)
    widget.prompting.drop_box((2.0, 2.0), (8.0, 8.0))
    settle(widget)
    assert len(viewer.layers) == 4
    assert viewer.cursor.style == "cross"
    assert viewer.mouse_drag_callbacks != drag and viewer.mouse_double_click_callbacks != double
    widget.close()
    assert len(viewer.layers) == 1
    assert viewer.mouse_drag_callbacks == drag and viewer.mouse_double_click_callbacks == double
    assert viewer.cursor.style == "standard"
    assert make.log.closed == 1
    viewer.dims.ndisplay = 3
    viewer.layers.clear()
