"""The widget as a whole: its tabs, its size, its window."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QThreadPool

from napari_synthseg.generator.presets import preset
from napari_synthseg.widgets.preview import PreviewWidget
from napari_synthseg.widgets.view.view import current_view
from tests.widgets.builders import click
from tests.widgets.preview.conftest import blocks_layer, settle


def test_a_fresh_dock_is_no_wider_than_needed(open_widget):
    widget = open_widget()
    widget.tabs.setMinimumWidth(600)  # tabs ask for too much before they are shown
    assert widget.sizeHint().width() <= 340


def test_there_are_three_tabs_with_tips(open_widget):
    tabs = open_widget().tabs
    assert [tabs.tabText(index) for index in range(tabs.count())] == ["Brains", "Degrade a scan", "Shapes"]
    assert all(tabs.tabToolTip(index) for index in range(tabs.count()))


def test_it_fits_a_narrow_dock_and_a_low_window(open_widget):
    widget = open_widget()
    for index in range(widget.tabs.count()):
        widget.tabs.setCurrentIndex(index)
    for page in widget.pages.values():
        page.form.set_unfolded(list(page.form.groups))
    assert widget.minimumSizeHint().width() <= 270
    assert widget.minimumSizeHint().height() <= 560


def test_in_a_window_it_is_narrow_draws_and_closes_in_the_middle_of_it(window, qtbot):
    viewer = window(show=True)
    widget = PreviewWidget(viewer)
    viewer.window.add_dock_widget(widget)
    form = widget.brains.form
    form.set_values(preset("synthseg-plus").values)
    form.set_unfolded(list(form.groups))
    assert widget.brains.scroll.widget().minimumSizeHint().width() <= 250  # in napari's style, all of it marked
    qtbot.waitUntil(widget.brains.isVisible)
    click(qtbot, widget.brains.draw)
    qtbot.waitUntil(lambda: widget.brains.pair.image is not None)
    viewer.close()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0)


# Tabs take the canvas in turn


def draw_on(qtbot, widget, index: int):
    """Go to a tab and press Draw; returns its page."""
    widget.tabs.setCurrentIndex(index)
    page = widget.page(index)
    click(qtbot, page.draw)
    settle(qtbot, page)
    return page


def shown(viewer) -> set[str]:
    return {layer.name for layer in viewer.layers if layer.visible}


def test_a_tab_takes_the_canvas_back_with_every_draw(open_widget, viewer, qtbot):
    widget = open_widget()
    viewer.add_layer(blocks_layer())
    widget.brains.source.choose(viewer.layers["blocks"])
    for _ in range(2):
        draw_on(qtbot, widget, 0)
        assert shown(viewer) <= {"Synthetic scan", "Synthetic labels", "blocks"} and "Synthetic scan" in shown(viewer)
        assert current_view(viewer)[0] == "axial"
        image = viewer.layers["Synthetic scan"]
        assert np.allclose(viewer.scene.camera.center[-2:], image.extent.world.mean(axis=0)[-2:], atol=2)
        draw_on(qtbot, widget, 2)
        assert shown(viewer) == {"Synthetic scene", "Synthetic prompts", "Synthetic objects"}
        assert tuple(map(str, viewer.scene.camera.orientation)) == ("towards", "down", "right")


def test_scenes_with_fewer_points_are_drawn_after_scenes_with_more(open_widget, viewer, qtbot):
    page = draw_on(qtbot, open_widget(), 2)
    for _ in range(6):
        click(qtbot, page.another)
        settle(qtbot, page)
        points = viewer.layers["Synthetic prompts"]
        assert len(points.symbol) == len(points.data) == len(points.features)


def test_a_tab_that_nobody_sees_draws_nothing(open_widget, viewer, qtbot):
    widget = open_widget()
    scan = viewer.add_image(np.random.default_rng(0).random((12, 12, 12)).astype("f4"), name="scan")
    page = draw_on(qtbot, widget, 1)
    assert "Degraded scan" in viewer.layers
    viewer.layers.remove("Degraded scan")
    widget.tabs.setCurrentIndex(0)
    scan.data = scan.data * 0.5
    page.form.set_values({})
    qtbot.wait(400)
    assert not page.redrawer.running and "Degraded scan" not in viewer.layers


def test_a_new_scan_draws_nothing_by_itself(open_widget, viewer, qtbot):
    widget = open_widget()
    viewer.add_image(np.random.default_rng(0).random((12, 12, 12)).astype("f4"), name="first")
    page = draw_on(qtbot, widget, 1)
    viewer.layers.clear()
    viewer.add_image(np.random.default_rng(1).random((12, 12, 12)).astype("f4"), name="second")
    qtbot.wait(400)
    assert not page.redrawer.running and len(viewer.layers) == 1
    assert "Press Draw" in page.status.text()
