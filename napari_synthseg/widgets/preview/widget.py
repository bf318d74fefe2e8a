"""The *Preview synthesis* widget: one tab for each generative model, made when it is first looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets.preview.page import PreviewPage
from napari_synthseg.widgets.preview.tabs import BrainsTab, DegradeTab, ShapesTab
from napari_synthseg.widgets.view.bar import ViewBar

if TYPE_CHECKING:
    import napari

TABS: tuple[type[BrainsTab] | type[DegradeTab] | type[ShapesTab], ...] = (BrainsTab, DegradeTab, ShapesTab)
"""A further generative model is one more page here."""


class PreviewWidget(Face):
    """Shows what generative models make, and what each of their priors does.

    Args:
        napari_viewer: the viewer that pictures are shown in.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.pages: dict[str, PreviewPage] = {}
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for tab in TABS:
            holder = QWidget()
            layout = QVBoxLayout(holder)
            layout.setContentsMargins(0, 0, 0, 0)
            self.tabs.setTabToolTip(self.tabs.addTab(holder, tab.title), tab.tip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)  # a dock's title hides what touches it
        layout.addWidget(self.tabs, 1)
        self.view = ViewBar(napari_viewer, self)
        self.view.layout().setContentsMargins(6, 0, 6, 6)
        layout.addWidget(self.view)
        self.tabs.currentChanged.connect(self.page)
        self.page(0)

    def page(self, index: int) -> PreviewPage:
        """The page of a tab; it is made if it was not looked at before."""
        tab = TABS[index]
        if tab.title not in self.pages:
            self.pages[tab.title] = tab(self._viewer)
            holder = self.tabs.widget(index).layout()
            assert holder is not None
            holder.addWidget(self.pages[tab.title])
            self.pages[tab.title].show()  # now, not when Qt comes to it
        return self.pages[tab.title]

    @property
    def brains(self) -> BrainsTab:
        """The first tab."""
        page = self.page(TABS.index(BrainsTab))
        assert isinstance(page, BrainsTab)
        return page

    @property
    def degrade(self) -> DegradeTab:
        """The second tab."""
        page = self.page(TABS.index(DegradeTab))
        assert isinstance(page, DegradeTab)
        return page

    @property
    def shapes(self) -> ShapesTab:
        """The third tab."""
        page = self.page(TABS.index(ShapesTab))
        assert isinstance(page, ShapesTab)
        return page

    def sizeHint(self) -> QSize:
        """Wide enough for the ranges in a fresh dock; tabs that are not shown yet ask for too much."""
        return QSize(330, super().sizeHint().height())

    def hidden(self) -> None:
        """Keep the choices."""
        for page in self.pages.values():
            page.remember_choices()

    def close_down(self) -> None:
        """Stop what runs."""
        for page in self.pages.values():
            page.close_down()
