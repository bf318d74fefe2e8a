"""What pointing at things does: clicks become prompts of a draft, and answers become its voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.prompts import Box, Prompts
from napari_synthseg.widgets._shared.controls import listen, single_shot
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.prompt import pointing
from napari_synthseg.widgets.prompt.asking import Asker, Through
from napari_synthseg.widgets.prompt.engine import (
    EACH,
    LOADING,
    WHOLE,
    Engine,
    ImageSource,
    MakeSession,
    Question,
    make_session,
    neighbours,
)
from napari_synthseg.widgets.prompt.model import Asked, Draft, Interaction, Place
from napari_synthseg.widgets.prompt.pending import Work, is_ours

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.prompting import Answer

NO_IMAGE = "Open an image first, or take one of File > Open Sample > SynthSeg."
NO_MODEL = "There is no promptable model yet; choose Open weights file… above, such as mobile_sam.pt."
TIP = "Click to add, Ctrl-click to remove. Shift-drag: a box around the object."
CORRECT = "Click to add, Ctrl-click to remove. Accept it when it fits."
NOTHING = "Nothing was found there: add a point, or Shift-drag a box around the object."
ONLY_OUTSIDE = "Click inside the object too: points outside only say where it ends."
SOON_MS = 250
"""How long a slice is looked at before it is encoded ahead."""
PATIENCE_MS = 120
"""What takes longer is said."""


class Prompting(QObject):
    """Turns what the mouse and the keys do into an object.

    Attributes:
        image: the layer that is pointed at.
        positive: whether a plain click is inside.
        window: WHOLE, EACH or LAYER, see `engine`.
        model: name or path; empty if there is none.
    """

    changed = Signal()  # what there is to undo, accept...
    said = Signal(str)
    switched = Signal(bool)  # pointing is on, or off

    def __init__(self, viewer: ViewerModel, make: MakeSession = make_session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.image: Image | None = None
        self.positive = True
        self.window, self.model, self.device = WHOLE, "", "auto"
        self.works: list[Work] = []
        self._stage, self._stage_said = "", False
        self._then: Callable[[], None] | None = None
        self.pointer = pointing.Pointer(viewer, self)
        self.asker = Asker(Engine(make), self)
        self.asker.answered.connect(self._on_answered)
        self.asker.failed.connect(self._on_failed)
        self.asker.staged.connect(self._on_staged)
        self.asker.idle.connect(self._on_idle)
        self.through = Through(viewer, self, self)
        self._soon = single_shot(self, SOON_MS, self._prepare)
        self._patience = single_shot(self, PATIENCE_MS, self._say_stage)
        dims = viewer.dims.events
        listen(self, Prompting._on_moved, dims.point, dims.order, dims.ndisplay)
        listen(self, Prompting._on_layer_removed, viewer.layers.events.removed)

    # What there is

    @property
    def on(self) -> bool:
        return self.pointer.on

    @property
    def work(self) -> Work | None:
        return next((work for work in self.works if work.image is self.image), None)

    @property
    def begun(self) -> bool:
        return self.work is not None and bool(self.work.draft.steps)

    def problem(self) -> str | None:
        if self.image is None:
            return NO_IMAGE
        return NO_MODEL if not self.model else pointing.problem_of(self.image, self._viewer.dims)

    # The mode and the image

    def switch(self, on: bool) -> None:
        """Take clicks for prompts, or leave the mouse to napari."""
        if on == self.on:
            return
        (self.pointer.start if on else self.pointer.stop)()
        self.say(self.problem() or TIP if on else "")
        self._on_moved()
        self.switched.emit(on)

    def set_image(self, image: Image | None) -> None:
        if image is self.image:
            return
        work, self.image = self.work, image
        if work is not None and image is not None and self.work is None and pointing.same_grid(work.image, image):
            work.image = image
        if self.on:
            self.say(self.problem() or TIP)
            self._on_moved()
        self.changed.emit()

    def say(self, text: str) -> None:
        self._stage_said = False
        self.said.emit(text)

    # What the mouse does, see `Hand`

    def busy_layer(self) -> str | None:
        active = self._viewer.layers.selection.active
        mode = str(getattr(active, "mode", "pan_zoom"))
        if active is None or mode == "pan_zoom":
            return None
        if is_ours(active):
            return active.name
        self.say(f'"{active.name}" has its tool "{mode}" in hand; choose pan/zoom there to point again.')
        return active.name

    def click(self, world: Sequence[float], *, outside: bool) -> None:
        """Point at a position of the world: inside, or outside with a modifier; vice versa with the polarity turned."""
        found = self.ready()
        if found is None:
            return
        work, where = found
        at = pointing.position(work.image, self._viewer.dims, world)
        if at is None:
            self.say(f'That is beside "{work.image.name}"; click on the image.')
            return
        self._ask(work, work.draft.add_point(where.place, at, self.positive != outside))

    def drag_box(self, first: Sequence[float], last: Sequence[float]) -> None:
        if (found := self.ready()) is not None:
            found[0].show_box((found[1].place, self._box(found[0], first, last)))

    def drop_box(self, first: Sequence[float], last: Sequence[float]) -> None:
        found = self.ready()
        if found is None:
            return
        work, where = found
        box = self._box(work, first, last)
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            work.show()
            self.say("The box holds less than a pixel of the image; drag it across the thing.")
            return
        self._ask(work, work.draft.add_box(where.place, box))

    def draw(self, tool: str, corners: np.ndarray) -> None:
        """Ask for what a scribble or a lasso means; corners (n, D) are positions in the image's array."""
        found = self.ready()
        if found is None:
            return
        work, where = found
        on = [axis for axis, at in enumerate(where.place) if at is None]
        limits = np.array([pointing.image_shape(work.image)[axis] for axis in on]) - 1
        path = [(float(row), float(column)) for row, column in np.clip(corners[:, on], 0, limits)]
        if tool == "lasso" and len(path) < 3:
            self.say("The lasso has fewer than three corners; draw it around the object.")
            return
        self._ask(work, work.draft.draw(where.place, tool, path, self.positive))

    # There and back

    def undo(self) -> bool:
        """Take the last interaction back; False if there is none."""
        if (work := self.work) is None or (step := work.draft.undo()) is None:
            return False
        self.through.stop_for(lambda token: token.step is step)
        self.asker.drop(lambda token: token.step is step)
        self.show(work)
        return True

    def redo(self) -> bool:
        work = self.work
        step = work.draft.redo() if work is not None else None
        if work is None or step is None:
            return False
        if not step.answered and step.place is not None:
            self._put(work, step, step.place)
        self.show(work)
        return True

    def clear(self) -> None:
        work = self.work
        if work is None or not self.begun:
            return
        self.asker.drop(lambda token: token.work is work)
        self.through.stop()
        work.draft.clear()
        self.show(work)
        self.say(TIP)

    # An object as a whole, for `objects`

    def start(self) -> Work | None:
        """The current object, begun where there is none; None (and said why) where that cannot be."""
        problem = self.problem()
        if problem is not None or self.image is None:
            self.say(problem or NO_IMAGE)
            return None
        work = self.work
        if work is not None and work.draft.shape != pointing.image_shape(self.image):
            self.drop(work)
            work = None
        if work is not None:
            return work
        from napari_synthseg.io.checks import check_memory  # imports what reads files

        try:
            check_memory(f'"{self.image.name}"', pointing.image_shape(self.image))  # of the object, and of all objects
        except InputError as error:
            self.say(str(error))
            return None
        return self.put(self.image, Draft(pointing.image_shape(self.image)))

    def put(self, image: Image, draft: Draft) -> Work:
        work = Work(self._viewer, image, draft)
        self.works.append(work)
        return work

    def drop(self, work: Work) -> None:
        if work in self.works:
            self.works.remove(work)
        self.asker.drop(lambda token: token.work is work)
        self.through.stop_for(lambda token: token.work is work)
        work.remove()
        self.changed.emit()

    def when_answered(self, then: Callable[[], None]) -> bool:
        """Have something done once all clicks are answered; False, and nothing is, if none waits."""
        if not self.asker.waiting:
            return False
        self._then = then
        return True

    # Questions and answers

    def ready(self) -> tuple[Work, pointing.ShownSlice] | None:
        """The current object and the slice that is shown; None, and said why, where nothing can be pointed at."""
        work = self.start()
        where = pointing.shown(work.image, self._viewer.dims) if work is not None else None
        return None if work is None or where is None else (work, where)

    def _box(self, work: Work, first: Sequence[float], last: Sequence[float]) -> Box:
        ends = [
            pointing.position(work.image, self._viewer.dims, world, clip=True) or (0.0, 0.0) for world in (first, last)
        ]
        (row0, row1), (column0, column1) = (sorted(pair) for pair in zip(*ends, strict=True))
        return row0, column0, row1, column1

    def _ask(self, work: Work, step: Interaction) -> None:
        assert step.place is not None
        self._viewer.layers.selection.active = work.image  # a Labels layer would take Ctrl+Z for itself
        self.show(work)
        self._put(work, step, step.place)

    def _put(self, work: Work, step: Interaction, place: Place) -> None:
        self.asker.ask(Asked(work, step), self.question(work, place, step.after[place]))

    def question(self, work: Work, place: Place, prompts: Prompts | None = None) -> Question:
        where = pointing.shown(work.image, self._viewer.dims)
        through = where.through if where is not None else None
        ahead = neighbours(place, through, pointing.image_shape(work.image))
        return Question(self._picture(work.image), place, prompts or Prompts(), self.model, self.device, ahead)

    def _picture(self, image: Image) -> ImageSource:
        low, high = image.contrast_limits or (0, 1)
        window = self.window if self.window in (WHOLE, EACH) else (float(low), float(high))
        return ImageSource(image.name, image.data, bool(image.rgb), pointing.spacing(image), window)

    def _on_answered(self, token: Asked, answer: Answer) -> None:
        if token.work not in self.works or not token.work.draft.answer(token.step, answer.mask):
            return
        self.show(token.work)
        if not self.asker.waiting and token.step.place is not None:
            asked = token.step.after[token.step.place].ask
            self.say(ONLY_OUTSIDE if not asked else CORRECT if answer.mask.any() else NOTHING)

    def _on_failed(self, error: Exception) -> None:
        self._then = None
        for work in self.works:
            work.draft.drop_unanswered()
            self.show(work)
        self.say(complain(error, "Answering"))

    def _on_staged(self, stage: str) -> None:
        self._stage = stage
        if not self._patience.isActive():
            self._patience.start()

    def _say_stage(self) -> None:
        waiting, asked = self.asker.waiting, self.asker.token
        if self._stage == LOADING or (asked is not None and asked.work in self.works):
            self.say(f"{self._stage}…" + (f" ({waiting} clicks wait)" if waiting > 1 else ""))
            self._stage_said = True

    def _on_idle(self) -> None:
        self._patience.stop()
        if self._stage_said:  # there was no answer that would say something now
            self.say((self.problem() or TIP) if self.on else "")
        then, self._then = self._then, None
        if then is not None:
            then()
        self.changed.emit()

    # What happens meanwhile

    def _prepare(self) -> None:
        if not self.on or self.image is None or self.problem() is not None:
            return
        where = pointing.shown(self.image, self._viewer.dims)
        if where is not None:
            ahead = (where.place, *neighbours(where.place, where.through, pointing.image_shape(self.image)))
            picture = self._picture(self.image)
            self.asker.prepare(Question(picture, where.place, Prompts(), self.model, self.device, ahead))

    def _on_moved(self, event: Any = None) -> None:
        if self.on:
            self._soon.start()

    def _on_layer_removed(self, event: Any) -> None:
        for work in [*self.works]:
            if event.value is work.image:
                self.drop(work)
                self.say(f'"{work.image.name}" was deleted, and with it the object that was not accepted.')
            elif work.forget(event.value):
                self.drop(work)
                self.say("The current object was deleted.")

    def close(self) -> None:
        """Leave the viewer as it was: no callbacks, no layers of ours, no model in memory."""
        self.switch(False)
        for work in [*self.works]:
            self.drop(work)
        self._soon.stop()
        self._patience.stop()
        self.through.stop()
        self.asker.close()

    def show(self, work: Work) -> None:
        work.show()
        self.changed.emit()
