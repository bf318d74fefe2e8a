"""Putting napari's camera so that a scan in (S, A, R) world order is seen as anatomists see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

# Depth, vertical and horizontal direction of the displayed axes. The default of napari, (towards, down, right), shows
# an axial slice upside down and a mirrored head in 3D.
NEUROLOGICAL = ("towards", "up", "right")
RADIOLOGICAL = ("away", "up", "left")


def anatomical_view(viewer: ViewerModel, orientation: tuple[str, str, str] = NEUROLOGICAL) -> None:
    """Show axial slices with the front of the head up, and put the slices through the middle of the scene.

    Args:
        viewer: the viewer.
        orientation: `NEUROLOGICAL` (the patient's left on the left) or `RADIOLOGICAL` (on the right).
    """
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.scene.camera.orientation = orientation
    first_space = max(viewer.dims.ndim - 3, 0)
    for axis in range(first_space, viewer.dims.ndim):
        viewer.dims.set_current_step(axis, viewer.dims.nsteps[axis] // 2)
    viewer.reset_view()
