"""A session without a network: what is bright and touches the prompts is the answer."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_synthseg.prompting import Answer, Prompts


class Tracer:
    """Answers with the bright parts (above 0.5) that the mask, the points inside or the middle of the box lie on.

    Attributes:
        scores: by the greatest value of a slice; 0.9 for others.
        seen: the images that were answered, in order.
        pixels: their pixels' height and width.
        windows: the values that were to be black and white in them.
        asked: the images that were asked for ahead, one list a call.
        given: the prompts of each answer.
    """

    model = None
    device = "cpu"

    def __init__(self, scores: dict[float, float] | None = None) -> None:
        self.scores = scores or {}
        self.seen: list[np.ndarray] = []
        self.pixels: list[tuple[float, float]] = []
        self.windows: list[tuple[float, float] | None] = []
        self.asked: list[list[np.ndarray]] = []
        self.given: list[Prompts] = []

    def beside(self) -> Tracer:
        return self

    def close(self) -> None:
        pass

    def set_image(self, image, window=None, pixel=(1.0, 1.0)) -> None:
        self.seen.append(image)
        self.pixels.append(pixel)
        self.windows.append(window)

    def encode_ahead(self, images, window=None, pixel=(1.0, 1.0)) -> None:
        self.asked.append(list(images))

    def reset(self) -> None:
        pass

    def point_at(self, prompts: Prompts) -> None:
        self.given.append(prompts)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return np.zeros((len(pixels), 0), np.float32)

    def projected(self, weights: np.ndarray) -> np.ndarray:
        return np.zeros(self.seen[-1].shape[:2], np.float32)

    def offset(self, mask: np.ndarray, where: np.ndarray) -> float:
        return 0.0

    def answer(self, evidence: np.ndarray | None = None) -> Answer:
        image, prompts = self.seen[-1], self.given[-1]
        parts, _ = ndimage.label(image > 0.5)
        where = np.zeros(parts.shape, bool) if prompts.mask is None else prompts.mask > 0.5
        for (row, column), positive in zip(prompts.points, prompts.positive, strict=True):
            where[round(row), round(column)] |= positive
        if prompts.box is not None:
            r0, c0, r1, c1 = prompts.box
            where[round((r0 + r1) / 2), round((c0 + c1) / 2)] = True
        touched = np.unique(parts[where])
        mask = np.isin(parts, touched[touched > 0])
        return Answer(mask, self.scores.get(float(image.max()), 0.9), None)

    def predict(self) -> np.ndarray:
        return self.answer().mask


def disc(shape: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    """A filled circle: bool."""
    rows, columns = np.indices(shape)
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
