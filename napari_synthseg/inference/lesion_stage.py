"""White matter lesions marked after the segmentation, by a small network of its own (`networks.lesion_finder`).

It works with any network that finds white matter. A lesion's probability is taken from the structures that were there,
so that posteriors add up to one, and volumes stay sums of posteriors.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cc3d
import numpy as np
import torch
from torch import nn

from napari_synthseg.anatomy import LESION, WHITE_MATTER
from napari_synthseg.errors import InputError
from napari_synthseg.inference.blocks import plan, window
from napari_synthseg.inference.lesion_doubts import doubts
from napari_synthseg.inference.postprocess import Box, bounding_box, dilated
from napari_synthseg.inference.prediction import Prediction, blend, interruptible
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.lesion_inputs import GROUPS, lesion_inputs, tissue_channels

NAME = "lesions"
"""Of the weights that are used unless others are named, and of their kind of network on a card."""
REACH = 2
"""Lesions lie in white matter or at most so many voxels from it: some of them were taken for another tissue."""
LEAST_MM3 = 5.0
"""Smaller ones are noise more often than lesions."""
MARGIN = 8
"""Voxels around white matter that the network sees."""
OVERLAP = 32
"""Voxels that neighbouring blocks share."""
RIM = 1
"""Voxels around a lesion within which its soft edge stays."""
SURE = 0.5
"""Probability from which on a voxel is a lesion, after the shift that the card's threshold asks for."""
BLOCK = 128**3
"""Voxels of a block at most: each has some forty features."""
HINDBRAIN = next(values for values in GROUPS if 16 in values)
"""Brain stem and cerebellum, whose white matter nothing was learned of."""


@dataclass(frozen=True)
class Marked:
    """A segmentation with lesions.

    Attributes:
        prediction: with a channel of lesions, the last one.
        hard: (X, Y, Z) int16 FreeSurfer values.
        count: lesions, each connected (faces, edges or corners).
        weights: name and checksum of the network's.
        soft_dice: of the lesions' labels and probabilities; None where there are none.
        warnings: sentences about a contrast on which lesions are found badly.
    """

    prediction: Prediction
    hard: np.ndarray
    count: int
    weights: dict[str, Any]
    soft_dice: float | None
    warnings: tuple[str, ...] = ()


def load_lesions(name_or_path: str = NAME) -> nn.Module:
    """The lesion network of a weights file or name.

    Raises:
        InputError: there is none, or the file holds another network.
    """
    from napari_synthseg.weights import find, load_kind

    if name_or_path == NAME:
        try:
            find(NAME)
        except InputError:
            raise InputError(
                "The weights know no white matter lesions, and no lesion network was found: give one (lesion weights; "
                "napari-synthseg train lesions makes them), choose weights that know lesions, or turn lesions off."
            ) from None
    return load_kind(name_or_path, NAME, "a lesion network", "weights that train lesions wrote")


def mark_steps(
    model: nn.Module,
    prediction: Prediction,
    hard: np.ndarray,
    image: np.ndarray,
    device: torch.device,
    *,
    flip: bool = False,
    max_voxels: int = 128**3,
    voxel_mm3: float = 1.0,
) -> Generator[Progress, None, Marked]:
    """Mark the lesions of a segmented scan.

    Args:
        model: the lesion network.
        prediction: cleaned posteriors, inside the prepared image; left as they are.
        hard: (X, Y, Z) int16 FreeSurfer values on their voxels.
        image: (X, Y, Z) the whole prepared image, about 1 mm.
        device: where to run.
        flip: average with the mirrored scan.
        max_voxels: of a block.
        voxel_mm3: volume of a voxel.
    """
    card: dict[str, Any] = getattr(model, "card", None) or {}
    weights: dict[str, Any] = {key: card[key] for key in ("name", "sha256") if key in card}
    box = bounding_box(np.isin(hard, WHITE_MATTER), MARGIN)
    if box is None:
        return Marked(prediction, hard, 0, weights, None)
    probability = yield from probability_steps(model, prediction, box, image, device, flip, max_voxels)
    lesions, count = plausible(probability, hard[box], voxel_mm3)
    posteriors, soft = with_channel(prediction.posteriors, box, probability, lesions)
    marked = hard.copy()
    marked[box][lesions] = LESION
    values = (*prediction.values, LESION)
    agreement = None
    if count:
        inside = float(soft[torch.from_numpy(lesions)].sum(dtype=torch.float64))
        agreement = 2 * inside / (float(lesions.sum()) + float(soft.sum(dtype=torch.float64)))
    under = inside_image(prediction, box)
    doubted = doubts(image[under], hard[box])
    return Marked(replace(prediction, posteriors=posteriors, values=values), marked, count, weights, agreement, doubted)


def inside_image(prediction: Prediction, box: Box) -> Box:
    """A box of the prediction as one of the image it was made from."""
    return tuple(slice(a + side.start, a + side.stop) for a, side in zip(prediction.start, box, strict=True))  # type: ignore[return-value]


def probability_steps(
    model: nn.Module,
    prediction: Prediction,
    box: Box,
    image: np.ndarray,
    device: torch.device,
    flip: bool,
    max_voxels: int,
) -> Generator[Progress, None, np.ndarray]:
    """(X, Y, Z) float32 probability of a lesion in a box of the prediction, block by block."""
    under = inside_image(prediction, box)
    tissues = tissue_channels(prediction.posteriors[(slice(None), *box)], prediction.values)
    inputs = lesion_inputs(torch.from_numpy(np.ascontiguousarray(image[under])), tissues)
    del tissues
    model = model.to(device).eval()
    size = min(max_voxels, BLOCK)
    blocks = plan(inputs.shape[1:], max_voxels=size, overlap=OVERLAP, multiple=model.multiple)  # type: ignore[arg-type]
    card: dict[str, Any] = getattr(model, "card", None) or {}
    shift = float(torch.logit(torch.tensor(card.get("threshold", SURE))))

    def one(first: Sequence[int]) -> torch.Tensor:
        part = window(inputs, first, blocks.size)[None].to(device)
        with torch.inference_mode(), interruptible(model):
            found = (model(part)[0] - shift).sigmoid()
            if flip:
                found = (found + (model(part.flip(2))[0] - shift).sigmoid().flip(1)) / 2
        return found.half()

    found = yield from blend("Finding lesions", one, blocks, 1)
    return found[0].float().numpy()


def plausible(probability: np.ndarray, hard: np.ndarray, voxel_mm3: float) -> tuple[np.ndarray, int]:
    """Where lesions are, and how many: in or at white matter, outside the hindbrain, and not too small.

    Args:
        probability: (X, Y, Z).
        hard: (X, Y, Z) FreeSurfer values.
        voxel_mm3: volume of a voxel.
    """
    region = dilated(np.isin(hard, WHITE_MATTER), REACH) & ~np.isin(hard, HINDBRAIN)
    sizes_of = cc3d.connected_components(np.ascontiguousarray((probability >= SURE) & region), connectivity=26)
    sizes = np.bincount(sizes_of.ravel())
    kept = sizes * voxel_mm3 >= LEAST_MM3
    kept[0] = False
    return kept[sizes_of], int(kept.sum())


def with_channel(
    posteriors: torch.Tensor, box: Box, probability: np.ndarray, lesions: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posteriors with a last channel of lesions, which has the largest posterior where lesions are and nowhere else.

    Args:
        posteriors: (K, X, Y, Z) on the CPU, background first.
        box: where lesions were looked for.
        probability: of lesions in the box.
        lesions: where they are.

    Returns:
        (K + 1, X, Y, Z) float16, and a view of its last channel in the box.
    """
    out = torch.empty((len(posteriors) + 1, *posteriors.shape[1:]), dtype=torch.float16)
    for channel, source in zip(out, posteriors, strict=False):
        channel.copy_(source)
    out[-1].zero_()
    soft = torch.from_numpy(np.where(dilated(lesions, RIM), probability, 0).astype(np.float32))
    inside = torch.from_numpy(lesions)
    rest = out[(slice(0, -1), *box)]
    largest = rest[0].clone()
    for channel in rest[1:]:
        torch.maximum(largest, channel, out=largest)
    # Less than this and another structure stays the likeliest: (1 - p) times its posterior against p.
    below = 0.98 * largest.float() / (1 + largest.float())
    soft = torch.where(inside, soft.clamp(min=SURE + 0.01), torch.minimum(soft, below))
    share = (1 - soft).half()
    for channel in rest:
        channel *= share
    place = out[-1][box]
    place.copy_(soft)
    return out, place
