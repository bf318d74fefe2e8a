"""Following an object through the slices: they appear as they come, and what is said when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.prompt.follow import stale_places, way_of
from napari_synthseg.widgets.prompt.prompting import Prompting
from napari_synthseg.widgets.prompt.work import Following

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.prompting.propagate import SliceAnswer


class Through(QObject):
    """Follows the current object.

    Args:
        viewer: goes along.
        prompting: what makes it.
    """

    def __init__(self, viewer: ViewerModel, prompting: Prompting, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._prompting, self._asker = viewer, prompting, prompting.asker
        self._ends: list[str] = []
        self._asker.sliced.connect(self._on_sliced)
        self._asker.followed.connect(self._on_followed)
        self._asker.unfollowed.connect(self._on_unfollowed)

    @property
    def running(self) -> bool:
        """Whether an object is being followed."""
        return self._asker.following

    def stop(self) -> None:
        """What came so far stays."""
        self._asker.stop_following()

    def follow(self, options: dict[str, Any]) -> None:
        """Follow the object through the slices of the view that is shown.

        Args:
            options: fields of `PropagateOptions`.
        """
        prompting = self._prompting
        found = prompting.ready() if prompting.begun else None
        if found is None or self.running:
            return
        work, where = found
        try:
            way = way_of(work.draft, where, prompting.question(work, where.place), options)
        except InputError as error:
            prompting.say(str(error))
            return
        self._ends = []
        self._asker.follow(Following(work, work.draft.begin_carrying(), way), way)
        prompting.say("Through the slices…")
        prompting.changed.emit()

    def _on_sliced(self, token: Following, report: SliceAnswer) -> None:
        if token.work not in self._prompting.works:
            return
        if token.work.draft.carry(token.step, token.way.place(report.index), report.mask):
            token.work.pending.show_outline()
            self._go_to(token, report.index)
        if report.ended:
            self._ends.append(f"at slice {report.index}: {report.ended}")
        image, through = token.work.image, token.way.through
        total = int(image.data.shape[through]) - len(token.way.masks)
        most = token.way.options.get("most_slices")
        total = total if most is None else min(total, 2 * int(most))
        self._prompting.say(f"Through the slices: {report.done} of at most {total}, now slice {report.index}.")

    def _go_to(self, token: Following, index: int) -> None:
        """Move the view to a slice that was answered."""
        image, dims = token.work.image, self._viewer.dims
        middle = [0 if at is None else at for at in token.way.place(index)]
        world = image.data_to_world(middle)
        axis = dims.ndim - image.ndim + token.way.through
        if axis in dims.not_displayed:
            dims.set_point(axis, float(world[token.way.through]))

    def _on_followed(self, token: Following, result: np.ndarray | None) -> None:
        self._prompting.changed.emit()
        if token.work not in self._prompting.works:
            return
        if result is not None:
            draft = token.work.draft
            for place in stale_places(draft, token.way, result):
                draft.carry(token.step, place, np.zeros_like(draft.mask(place)))
            self._prompting.show(token.work)
        if result is None:
            end = "Stopped; the slices that came stay."
        else:
            end = f"It ends {'; '.join(self._ends)}." if self._ends else "Followed as far as was asked."
        self._prompting.say(f"{end} Correct any slice by clicks and follow again.")

    def _on_unfollowed(self, token: Following, error: Exception) -> None:
        self._prompting.say(complain(error, "Following through the slices"))
        self._prompting.changed.emit()
