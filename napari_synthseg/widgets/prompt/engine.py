"""What answers in the worker thread: the model, loaded once, and the jobs that ask it. No Qt or napari here.

Torch is imported inside, since a widget opens without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.jobs import Progress
from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.prompts import Anchor, Planes, Prompts
from napari_synthseg.widgets.layers.geometry import computed
from napari_synthseg.widgets.prompt.model import Place, section

if TYPE_CHECKING:
    from napari_synthseg.prompting import Answer, Session
    from napari_synthseg.prompting.propagate import SliceAnswer

LOADING, ENCODING, ANSWERING = "Loading the model", "Encoding this slice", "Answering"
WHOLE, EACH, LAYER = "whole", "slice", "layer"
"""Windows: percentiles of the whole image, of each slice, the layer's contrast limits."""
SAMPLED = 16
"""So many sections of an image that is read from a file are enough for its percentiles."""
AHEAD = 1
"""So many slices on either side are encoded before they are asked for."""

MakeSession = Callable[..., "Session"]


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image and how it is to be seen; taken of the layer on the main thread, read on the worker."""

    name: str
    data: Any
    """Array-like, possibly lazy; the last axis has the colors if it is `rgb`."""
    rgb: bool
    spacing: tuple[float, ...]
    window: str | tuple[float, float]
    """WHOLE or EACH, or the values that become black and white."""

    def pixel(self, place: Place) -> tuple[float, float]:
        height, width = (length for length, at in zip(self.spacing, place, strict=True) if at is None)
        return height, width

    def read(self, index: tuple[int | slice, ...]) -> np.ndarray:
        return computed(self.data, self.name, index)


@dataclass(frozen=True, eq=False)
class Question:
    picture: ImageSource
    place: Place
    prompts: Prompts
    model: str
    device: str
    ahead: tuple[Place, ...] = ()
    """Slices that will probably be asked for next."""


@dataclass(frozen=True, eq=False)
class Way:
    """A propagation that is asked for."""

    picture: ImageSource
    start: Place
    """A slice that is marked."""
    through: int
    """Axis across which the slices lie."""
    masks: dict[int, np.ndarray]
    """The marked slices by their index, `start` among them."""
    prompts: dict[int, Prompts]
    model: str
    device: str
    options: dict[str, Any]
    """Fields of `PropagateOptions`."""
    known: np.ndarray | None = None
    """The object so far in the volume that `start` lies in."""
    corrected: tuple[int, ...] | None = None
    """Marked slices that changed since the object was whole; None: all of them count."""

    @property
    def volume(self) -> Place:
        """The volume that `start` lies in, as an index of the image's array."""
        return tuple(None if axis == self.through else at for axis, at in enumerate(self.start))

    def place(self, index: int) -> Place:
        return tuple(index if axis == self.through else at for axis, at in enumerate(self.start))


def make_session(model: str, device: str, *, keep: bool = False) -> Session:
    from napari_synthseg.prompting import Session
    from napari_synthseg.weights.catalogue import cache_folder

    return Session(model, device, encodings=cache_folder() / "encodings" if keep else None)


class Engine:
    """Holds the model and what it made of images; its jobs run on worker threads, one at a time."""

    def __init__(self, make: MakeSession = make_session) -> None:
        self._make = make
        self._session: Session | None = None
        self._chosen: tuple[str, str, bool] | None = None
        self.keep = False  # embeddings on disk
        self._window: tuple[Any, tuple[float, float] | None] = (None, None)
        self._busy = threading.Lock()  # a stopped job may still be at work when the next begins
        self._closed = False

    def answer(self, question: Question) -> Generator[Progress, None, Answer]:
        with self._busy:
            yield Progress(LOADING)
            session = self._loaded(question.model, question.device)
            image, window = self._seen(question.picture, question.place)
            yield Progress(ENCODING)
            session.set_image(image, window, question.picture.pixel(question.place))
            yield Progress(ANSWERING)
            session.point_at(question.prompts)
            answer = session.answer()
            self._look_ahead(session, question)
            return answer

    def prepare(self, question: Question) -> Generator[Progress, None, None]:
        """Load the model and have a slice and its neighbours encoded in the background, before anyone asks."""
        with self._busy:
            yield Progress(LOADING)
            import pandas  # noqa: F401  napari needs it for the first outline: now, lest the window waits then

            session = self._loaded(question.model, question.device)
            yield Progress(ENCODING)
            self._look_ahead(session, question)

    def follow(self, way: Way) -> Generator[SliceAnswer | Progress, None, np.ndarray]:
        """Follow an object through the slices; reports of slices are `SliceAnswer`s."""
        yield Progress(LOADING)
        with self._busy:
            session = self._loaded(way.model, way.device)
            own = way.picture.rgb or way.picture.window == EACH  # as clicks are answered
            window = "each" if own else self._values(way.picture)
        from napari_synthseg.prompting.propagate import propagate_anchors

        volume = way.picture.read(section(way.volume))
        axes = [axis for axis, at in enumerate(way.volume) if at is None]
        anchors = {index: Anchor(mask, way.prompts.get(index, Prompts())) for index, mask in way.masks.items()}
        planes = Planes(volume, axes.index(way.through), [way.picture.spacing[axis] for axis in axes], window)
        options = PropagateOptions(**way.options)
        return (yield from propagate_anchors(session, planes, anchors, options, way.known, way.corrected))

    def find_similar(self, question: Question, mask: np.ndarray) -> Generator[Progress, None, list[np.ndarray]]:
        """Find the objects on a slice that resemble one of them, (rows, columns) bool.

        Raises:
            InputError: see `similar_objects`.
        """
        yield Progress(LOADING)
        with self._busy:
            session = self._loaded(question.model, question.device)
            image, window = self._seen(question.picture, question.place)
        from napari_synthseg.prompting.similar import similar_objects

        pixel = question.picture.pixel(question.place)
        return (yield from similar_objects(session, image, mask, window=window, pixel=pixel))

    def close(self) -> None:
        self._closed = True
        session, self._session = self._session, None
        self._window = (None, None)
        if session is not None:
            session.close()

    def _loaded(self, model: str, device: str) -> Session:
        if self._session is None or self._chosen != (model, device, self.keep):
            if self._session is not None:
                self._session.close()
                self._session = None
            session = self._make(model, device, **({"keep": True} if self.keep else {}))
            if self._closed:
                session.close()
            self._session, self._chosen = session, (model, device, self.keep)
        return self._session

    def _seen(self, picture: ImageSource, place: Place) -> tuple[np.ndarray, tuple[float, float] | None]:
        image = picture.read(section(place))
        return image, None if picture.rgb or picture.window == EACH else self._values(picture)

    def _values(self, picture: ImageSource) -> tuple[float, float] | None:
        """Values that become black and white in all slices."""
        if isinstance(picture.window, tuple):
            return picture.window
        if self._window[0] is not picture.data:
            self._window = (picture.data, _window_of(picture))
        return self._window[1]

    def _look_ahead(self, session: Session, question: Question) -> None:
        seen = [self._seen(question.picture, place) for place in question.ahead]
        if seen:
            pixel = question.picture.pixel(question.place)
            session.encode_ahead([image for image, _ in seen], seen[0][1], pixel)


def neighbours(place: Place, through: int | None, shape: tuple[int, ...]) -> tuple[Place, ...]:
    """The slices beside one, nearest first."""
    at = place[through] if through is not None else None
    if through is None or at is None:
        return ()
    steps = [step for distance in range(1, AHEAD + 1) for step in (at + distance, at - distance)]
    inside = [index for index in steps if 0 <= index < shape[through]]
    return tuple(tuple(index if axis == through else one for axis, one in enumerate(place)) for index in inside)


def _window_of(picture: ImageSource) -> tuple[float, float] | None:
    from napari_synthseg.prompting.prompts import window_of

    if len(picture.spacing) < 3:
        return None  # the image is its only slice
    if not isinstance(picture.data, np.ndarray):
        step = -(-picture.data.shape[0] // SAMPLED)
        return window_of(picture.read((slice(None, None, step),)))
    return window_of(np.asarray(picture.data))
