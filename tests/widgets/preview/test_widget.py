"""The widget as a whole: its tabs, its size, how quickly it opens, its window."""

from __future__ import annotations

from qtpy.QtCore import QThreadPool

from napari_synthseg.generator.prior_table import rows
from napari_synthseg.generator.priors import PRESETS
from napari_synthseg.widgets.preview import PreviewWidget
from tests.widgets.builders import opening
from tests.widgets.preview.conftest import click


def test_opening_is_quick_and_does_without_torch():
    seconds, torch = opening("napari_synthseg.widgets.preview", "PreviewWidget")
    assert not torch and seconds < 0.5


def test_a_fresh_dock_is_no_wider_than_needed(open_widget):
    widget = open_widget()
    widget.tabs.setMinimumWidth(600)  # tabs ask for too much before they are shown
    assert widget.sizeHint().width() <= 340


def test_it_says_what_to_press_first(open_widget):
    widget = open_widget()
    assert "Press Draw" in widget.brains.status.text()


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
    viewer = window()
    widget = PreviewWidget(viewer)
    viewer.window.add_dock_widget(widget)
    form = widget.brains.form
    form.set_values({row.name: getattr(PRESETS["synthseg-plus"], row.name) for row in rows()})
    form.set_unfolded(list(form.groups))
    assert widget.brains.scroll.widget().minimumSizeHint().width() <= 250  # in napari's style, all of it marked
    click(qtbot, widget.brains.draw)
    qtbot.waitUntil(lambda: widget.brains.pair.image is not None, timeout=30_000)
    viewer.close()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=5000)
