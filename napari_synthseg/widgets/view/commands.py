"""Commands of the menus, the command palette and keys: anatomical views."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_synthseg.widgets.view.follow import Upright
from napari_synthseg.widgets.view.view import (
    AXIAL,
    CONVENTIONS,
    CORONAL,
    SAGITTAL,
    THREE_D,
    anatomical_view,
    convention_preferred,
    current_view,
    set_view,
)

if TYPE_CHECKING:
    import napari


def view_axial(viewer: napari.viewer.Viewer) -> None:
    """Show axial slices, the front of the head up."""
    _show(AXIAL, viewer)


def view_coronal(viewer: napari.viewer.Viewer) -> None:
    """Show coronal slices, the top of the head up."""
    _show(CORONAL, viewer)


def view_sagittal(viewer: napari.viewer.Viewer) -> None:
    """Show sagittal slices, the top of the head up."""
    _show(SAGITTAL, viewer)


def view_3d(viewer: napari.viewer.Viewer) -> None:
    """Show the head in 3D, from a little above."""
    _show(THREE_D, viewer)


def view_whole(viewer: napari.viewer.Viewer) -> None:
    """Show axial slices through the middle of the scene, fitted to the canvas."""
    Upright.of(viewer)
    anatomical_view(viewer, current_view(viewer)[1])


def swap_sides(viewer: napari.viewer.Viewer) -> None:
    """Switch between neurological and radiological convention."""
    Upright.of(viewer)
    name, convention = current_view(viewer)
    now = convention or convention_preferred()
    set_view(viewer, name or AXIAL, CONVENTIONS[1 - CONVENTIONS.index(now)])


KEYS: dict[str, Callable[[napari.viewer.Viewer], None]] = {
    "F6": view_axial,
    "F7": view_coronal,
    "F8": view_sagittal,
    "F9": view_3d,
    "Shift-F6": swap_sides,
}
"""Keys of the viewer while a widget of the plugin is open; napari 0.9 has no keys for plugins."""


def bind_keys(viewer: napari.viewer.Viewer) -> None:
    """Bind `KEYS` in a viewer, except those that are bound already."""
    for key, command in KEYS.items():
        with suppress(ValueError):  # is bound
            viewer.bind_key(key, command)  # a function: napari reads its name at every key


def _show(name: str, viewer: napari.viewer.Viewer) -> None:
    Upright.of(viewer)
    set_view(viewer, name, current_view(viewer)[1])
