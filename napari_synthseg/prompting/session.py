"""One object a session: an image, clicks, boxes and masks on it, and the mask that answers them (no napari)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from napari_synthseg.devices import resolve_device, threads
from napari_synthseg.errors import InputError
from napari_synthseg.networks.prompt_decoding import decode_image
from napari_synthseg.networks.prompt_layers import PromptTensors
from napari_synthseg.networks.promptable import Promptable, quicken
from napari_synthseg.prompting.decode import answer_mask, at_image_resolution
from napari_synthseg.prompting.encodings import LIMIT, SQUARE, Encoding, Encodings
from napari_synthseg.prompting.prompts import Box, Point, Prompts, with_lasso, with_scribble
from napari_synthseg.weights.sam import load_model


@dataclass(frozen=True)
class Answer:
    """Answer to the prompts."""

    mask: np.ndarray
    """(rows, columns) of the image, bool; every click inside is in it, every click outside is not."""
    score: float
    """IoU with the truth that the model expects, 0-1."""
    changed: tuple[int, int, int, int] | None
    """row0, column0, row1, column1 (the last two exclusive) of the difference to the answer before; None if none."""


class Session:
    """Prompts on one image at a time, and their answers.

    Methods raise `InputError` if there is no image yet, or if what is given does not fit it.

    Args:
        model: name or file of a promptable model (see `weights.sam.find`), or a model.
        device: auto, cpu, cuda or mps.
        precision: of the encoder, see `Promptable.encode`.
        memory: bytes of embeddings that are kept, so that images seen before answer at once.
        connected: keep only the parts of an answer that a prompt means (`decode.meant_parts`); by default according
            to the model's card: decoders trained here saw connected objects, SAM's own did not.
        encodings: folder in which embeddings are kept for later sessions, found again by the hash of the image.

    Raises:
        InputError: no such weights or device, or the folder cannot be written to.
    """

    def __init__(
        self,
        model: str | Path | Promptable = "default",
        device: str = "cpu",
        precision: torch.dtype = torch.float32,
        memory: int = LIMIT,
        connected: bool | None = None,
        encodings: Path | None = None,
    ) -> None:
        self.device = resolve_device(device)
        if not isinstance(model, Promptable):
            quicken(model := load_model(model))
        self.model = model.to(self.device).eval()
        self.connected = bool(self.model.card.get("connected")) if connected is None else connected
        self._encodings = Encodings(self.model, precision, memory, encodings)
        self._encoding: Encoding | None = None
        self._last: np.ndarray | None = None
        self._states, self._now = [Prompts()], 0

    def beside(self) -> Session:
        """Make another session on the same model and embeddings, with its own image and prompts (for another thread).

        Closing either closes both.
        """
        other = copy(self)
        other._encoding = other._last = None
        other._states, other._now = [Prompts()], 0
        return other

    @property
    def prompts(self) -> Prompts:
        """All prompts so far."""
        return self._states[self._now]

    @property
    def can_undo(self) -> bool:
        return self._now > 0

    @property
    def can_redo(self) -> bool:
        return self._now + 1 < len(self._states)

    def set_image(
        self, image: np.ndarray, window: tuple[float, float] | None = None, pixel: tuple[float, float] = SQUARE
    ) -> None:
        """Encode an image, unless it is cached; prompts and their history start again.

        Args:
            image: (rows, columns), or (rows, columns, 3 or 4) in colour; any kind of numbers.
            window: values that become black and white; by default percentiles (`encodings.to_rgb`). All slices of a
                volume should have the same (`prompts.window_of`).
            pixel: height and width of a pixel, in any unit, so that the model sees true proportions.

        Raises:
            InputError: it is no image; the session does not change.
        """
        self._encoding = self._encodings.get(image, window, pixel)
        self._states, self._now, self._last = [Prompts()], 0, None

    def encode_ahead(
        self,
        images: Iterable[np.ndarray],
        window: tuple[float, float] | None = None,
        pixel: tuple[float, float] = SQUARE,
    ) -> None:
        """Encode images in the background, such as the neighbouring slices; replaces earlier requests."""
        self._encodings.ahead(images, window, pixel)

    def add_point(self, position: tuple[float, float], positive: bool = True) -> None:
        """Click at a (row, column) inside the object, or outside it."""
        self._push(self.prompts.with_points(self._on_image([position], 1), positive))

    def add_box(self, box: Box) -> None:
        """Draw a box (row0, column0, row1, column1) around the object; it replaces an earlier one."""
        rows, columns = self._shape
        if not np.isfinite(box).all():
            raise InputError("The corners of the box are not finite: drag it across the object.")
        (row0, row1), (column0, column1) = sorted((box[0], box[2])), sorted((box[1], box[3]))
        first = max(0.0, float(row0)), max(0.0, float(column0))
        last = min(rows - 1.0, float(row1)), min(columns - 1.0, float(column1))
        if not (first[0] < last[0] and first[1] < last[1]):
            raise InputError("The box contains nothing of the image: drag it across the object.")
        self._push(replace(self.prompts, box=(*first, *last)))

    def add_scribble(self, path: Sequence[Point], positive: bool = True) -> None:
        """Draw a line (row, column) inside the object, or outside it."""
        self._push(with_scribble(self.prompts, self._on_image(path, 1), positive))

    def add_lasso(self, polygon: Sequence[Point], positive: bool = True) -> None:
        """Draw a polygon (row, column) of three corners or more roughly around the object, or around something else."""
        self._push(with_lasso(self.prompts, self._on_image(polygon, 3), positive, self._shape))

    def set_mask(self, mask: np.ndarray) -> None:
        """Start from a mask (rows, columns), to be repaired by points: not 0, or the probability of inside, 0-1."""
        given = np.asarray(mask)
        given = np.clip(given, 0, 1) if given.dtype.kind == "f" else given != 0
        if given.shape != self._shape:
            raise InputError(f"The mask has the shape {given.shape} and the image {self._shape}: give one of its own.")
        if not given.any():
            raise InputError("The mask is empty: choose one with something in it.")
        self._push(replace(self.prompts, mask=given))

    def point_at(self, prompts: Prompts) -> None:
        """Give all of these prompts, one interaction each: the mask, the box, then the points."""
        if prompts.mask is not None:
            self.set_mask(prompts.mask)
        if prompts.box is not None:
            self.add_box(prompts.box)
        for position, positive in zip(prompts.points, prompts.positive, strict=True):
            self.add_point(position, positive)

    def undo(self) -> bool:
        """Undo the last interaction; False if there is none."""
        possible = self.can_undo
        self._now -= possible
        return possible

    def redo(self) -> bool:
        """Redo the last interaction that was undone; False if there is none."""
        possible = self.can_redo
        self._now += possible
        return possible

    def reset(self) -> None:
        """Remove all prompts; this too can be undone."""
        if self.prompts != Prompts() or self.prompts.mask is not None:
            self._push(Prompts())

    def predict(self) -> np.ndarray:
        """Return the mask that answers the prompts, (rows, columns) bool; empty if the prompts ask for nothing."""
        return self.answer().mask

    def answer(self, evidence: np.ndarray | None = None) -> Answer:
        """Return the mask that answers the prompts, its score, and its difference to the answer before.

        `evidence` (rows, columns) are log-odds of inside, added to those of the decoder.
        """
        before = self._last if self._last is not None else np.zeros(self._shape, bool)
        mask, score = np.zeros(self._shape, bool), 0.0
        if self.prompts.ask:
            logits, score = self._logits()
            mask = answer_mask(logits, self._image.frame, self.prompts, self.connected, evidence)
        self._last = mask
        return Answer(mask, score, _bounds(mask != before))

    def offset(self, mask: np.ndarray, where: np.ndarray) -> float:
        """Return the log-odds that, added to the answer to the prompts, make it as large as a mask (rows, columns).

        Pixels of the answer count `where` (rows, columns) is true; they are more than those of the mask.
        """
        values = np.sort(at_image_resolution(self._logits()[0], self._image.frame)[where])
        return -float(values[-1 - int(mask.sum())])

    @torch.inference_mode()
    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return the image's embedding at pixels (n, 2), (row, column): (n, C) float32."""
        return self._image.sample(self._image.embedding, torch.from_numpy(pixels)[None])[0, :, 0].T.cpu().numpy()

    @torch.inference_mode()
    def projected(self, weights: np.ndarray) -> np.ndarray:
        """Return the embedding's weighted sum over channels at each pixel, (rows, columns) float32."""
        embedding = self._image.embedding
        cells = torch.einsum("c,bchw->bhw", torch.from_numpy(weights).to(embedding), embedding)[:, None]
        rows, columns = (torch.arange(count) for count in self._shape)
        return self._image.sample(cells, torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1))[0, 0].numpy()

    def close(self) -> None:
        """Stop encoding ahead and free all embeddings; the session cannot be used afterwards."""
        self._encodings.close()
        self._encoding = None

    @property
    def _shape(self) -> tuple[int, int]:
        return self._image.frame.shape

    @property
    def _image(self) -> Encoding:
        if self._encoding is None:
            raise InputError("There is no image to prompt yet: set one first.")
        return self._encoding

    def _on_image(self, positions: Sequence[Point], least: int) -> list[Point]:
        """Return positions as floats; InputError if one is not on the image, or there are fewer than `least`."""
        rows, columns = self._shape
        found = [(float(row), float(column)) for row, column in positions]
        for row, column in found:
            if not (-0.5 <= row < rows - 0.5 and -0.5 <= column < columns - 0.5):
                given, size = f"({row:g}, {column:g})", f"{rows} x {columns}"
                raise InputError(f"The point {given} is not on the image of {size} pixels: click inside it.")
        if len(found) < least:
            raise InputError(f"The drawing has {len(found)} corners: draw at least {least}.")
        return found

    def _push(self, prompts: Prompts) -> None:
        self._states = [*self._states[: self._now + 1], prompts]
        self._now += 1

    @torch.inference_mode()
    def _logits(self) -> tuple[torch.Tensor, float]:
        """Return the decoder's logits (h, w) and the IoU with the truth that it expects."""
        prompts, frame = self.prompts, self._image.frame
        points = labels = boxes = masks = None
        if prompts.points:
            points = torch.from_numpy(frame.to_model(np.array(prompts.points)))[None].to(self.device)
            labels = torch.tensor(prompts.positive, dtype=torch.int64, device=self.device)[None]
        if prompts.box is not None:
            boxes = torch.from_numpy(frame.box_to_model(prompts.box))[None].to(self.device)
        if prompts.mask is not None:
            masks = frame.mask_to_model(prompts.mask).to(self.device)
        asked = PromptTensors(points, labels, boxes, masks)
        with threads(1):  # two threads gain little, and wait for each other beside other programs
            logits, score = decode_image(self.model, self._image.embedding, asked)
        return logits[0, 0], float(score.clamp(0, 1))


def _bounds(changed: np.ndarray) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    if rows.size == 0:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
