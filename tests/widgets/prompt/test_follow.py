"""An object is followed through the slices: they appear as they come, it can be stopped, and clicks correct it."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtTest import QTest

from napari_synthseg.widgets.prompt import PromptWidget
from tests.widgets.prompt.conftest import blobs, settle
from tests.widgets.prompt.fakes import maker
from tests.widgets.prompt.test_prompting import INSIDE_1, INSIDE_2, click, mask_of, says


@pytest.fixture
def pointing(viewer, widget):
    viewer.add_image(blobs(), scale=(2.0, 1.0, 1.0))
    viewer.dims.set_point(0, 6)
    widget.point.click()
    return widget


def follow(widget):
    widget.follow.click()
    settle(widget)


def test_an_object_is_followed_to_its_ends(viewer, pointing):
    click(pointing, (6, *INSIDE_1))
    follow(pointing)
    np.testing.assert_array_equal(mask_of(pointing), blobs() == 1)
    says(pointing, "at slice 1: nothing of it is found there", "at slice 6: nothing of it is found there")
    pointing.undo.click()
    assert mask_of(pointing).sum() == (blobs()[3] == 1).sum()
    pointing.redo.click()
    np.testing.assert_array_equal(mask_of(pointing), blobs() == 1)


def test_the_view_goes_along_and_the_total_is_told(viewer, pointing):
    told, seen = [], []
    pointing.prompting.said.connect(told.append)
    viewer.dims.events.point.connect(lambda event: seen.append(viewer.dims.point[0]))
    click(pointing, (6, *INSIDE_1))
    follow(pointing)
    assert {2.0, 4.0, 8.0, 10.0} <= set(seen)  # slices of 2 mm beside the one that was clicked on
    total = len(blobs()) - 1
    assert any(f"of at most {total}, now slice" in text for text in told)


def test_along_another_axis(viewer, pointing):
    viewer.dims.order = (2, 0, 1)
    viewer.dims.point = (6, 6, 5)
    click(pointing, (6, 6, 5))
    follow(pointing)
    np.testing.assert_array_equal(mask_of(pointing), blobs() == 1)


def test_in_a_volume_of_a_series(viewer, widget):
    viewer.add_image(np.stack([np.zeros_like(blobs()), blobs()]))
    viewer.dims.point = (1, 3, 0, 0)
    widget.point.click()
    click(widget, (1, 3, *INSIDE_2))
    follow(widget)
    np.testing.assert_array_equal(mask_of(widget)[1], blobs() == 2)
    assert not mask_of(widget)[0].any()


def test_a_corrected_slice_is_kept_and_followed_from(viewer, pointing):
    click(pointing, (6, *INSIDE_1))
    follow(pointing)
    viewer.dims.set_point(0, 8)
    click(pointing, (8, *INSIDE_2))  # both things from here on
    np.testing.assert_array_equal(mask_of(pointing, 4), blobs()[4] > 0)
    follow(pointing)
    np.testing.assert_array_equal(mask_of(pointing, 5), blobs()[5] > 0)
    np.testing.assert_array_equal(mask_of(pointing, 4), blobs()[4] > 0)
    np.testing.assert_array_equal(mask_of(pointing, 2), blobs()[2] == 1)


def test_what_an_earlier_run_left_beyond_the_end_goes(viewer, pointing):
    click(pointing, (6, *INSIDE_1))
    follow(pointing)
    viewer.dims.set_point(0, 8)
    click(pointing, (8, *INSIDE_1), outside=True)  # it ends here
    assert not mask_of(pointing, 4).any()
    follow(pointing)
    assert not mask_of(pointing, 5).any()
    assert mask_of(pointing, 2).any()


def test_it_stops_and_what_came_stays(viewer, qtbot):
    widget = PromptWidget(viewer, maker(seconds=0.05))
    qtbot.addWidget(widget)
    deep = np.repeat(blobs()[3:4], 60, axis=0)
    deep[:, 0, 0] = np.arange(60) % 3  # every slice is another picture
    viewer.add_image(deep)
    viewer.dims.set_point(0, 30)
    widget.prompting.switch(True)
    click(widget, (30, *INSIDE_1))
    widget.follow.click()
    assert "Stop" in widget.follow.text().replace("&", "")
    qtbot.waitUntil(lambda: mask_of(widget).any(axis=(1, 2)).sum() >= 4)  # they appear as they come
    widget.act("follow")
    settle(widget)
    says(widget, "Stopped")
    assert 4 <= mask_of(widget).any(axis=(1, 2)).sum() < 60
    assert "Stop" not in widget.follow.text().replace("&", "")
    widget.close_down()


def test_clicks_are_answered_while_it_is_followed(viewer, qtbot):
    widget = PromptWidget(viewer, maker(seconds=0.05))
    qtbot.addWidget(widget)
    deep = np.repeat(blobs()[3:4], 40, axis=0)
    deep[:, 0, 0] = 3 + np.arange(40)
    viewer.add_image(deep)
    viewer.dims.set_point(0, 20)
    widget.prompting.switch(True)
    click(widget, (20, *INSIDE_1))
    widget.follow.click()
    viewer.dims.set_point(0, 25)
    widget.prompting.click((25, *INSIDE_2), outside=False)
    settle(widget)
    assert (mask_of(widget, 25) & (deep[25] == 2)).any()
    assert mask_of(widget).any(axis=(1, 2)).all()
    widget.close_down()


@pytest.mark.parametrize("case", ["flat", "nothing"])
def test_what_cannot_be_followed_is_said(viewer, widget, case):
    viewer.add_image(blobs((20, 24)) if case == "flat" else blobs())
    viewer.dims.point = (3, 0, 0)[-viewer.dims.ndim :]
    widget.point.click()
    click(widget, (3, *(INSIDE_1 if case == "flat" else (0.0, 0.0)))[-viewer.dims.ndim :])
    follow(widget)
    says(widget, "no slices" if case == "flat" else "Nothing of the object")


def test_the_image_is_deleted_while_it_is_followed(viewer, qtbot):
    widget = PromptWidget(viewer, maker(seconds=0.05))
    qtbot.addWidget(widget)
    viewer.add_image(np.random.default_rng(0).integers(1, 3, (40, 16, 16)).astype(np.uint8))
    viewer.dims.set_point(0, 20)
    widget.prompting.switch(True)
    widget.prompting.drop_box((20, 2.0, 2.0), (20, 12.0, 12.0))
    settle(widget)
    widget.follow.click()
    QTest.qWait(100)
    viewer.layers.clear()
    settle(widget)
    assert len(viewer.layers) == 0
    assert "Stopped" not in widget.status.text()
    widget.close_down()
