"""Crops of synthetic heads with and without lesions, seen as the lesion network sees a segmented scan.

Where tissues are comes from a trained network that segments the drawn head, with its real mistakes, or from the label
map with random errors (`generator.tissue_errors`), among them lesions taken for grey matter or fluid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from napari_synthseg.anatomy import LESION, WHITE_MATTER
from napari_synthseg.devices import to_memory
from napari_synthseg.generator.brains import Grid, Sample, apply, deform, render, target_table
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.lesion_confounders import with_perivascular_spaces, with_texture
from napari_synthseg.generator.lesion_sequences import as_random_sequence
from napari_synthseg.generator.priors import Priors
from napari_synthseg.generator.record import Record, draw
from napari_synthseg.generator.tissue_errors import TissueErrorPriors, draw_errors, with_errors
from napari_synthseg.inference.prediction import half_precision
from napari_synthseg.networks.lesion_inputs import GROUPS, group_of, lesion_inputs, tissue_channels
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.fast import percentile_limits, rescaled

ERRORS = TissueErrorPriors(displacement_std=(0.0, 1.5), change=0.25, reach=3.0, blur=(0.3, 1.5))
"""Of tissue maps made from the label map; a crop has control points twice as near to each other as a head."""
MISTAKEN = 0.5
"""Probability that some of a crop's lesions are taken for another tissue."""
TAKEN_FOR = (1, 2, 3, 4)
"""Tissue groups that they are taken for, alike often: cortex, deep nuclei, ventricles, CSF."""
PATCH = 12
"""Voxels between the control points of the noise that says which lesions those are."""
VISIBLE = 2.5
"""Standard deviations of white matter that lesions lie from it, at least."""
ANY_INTENSITY = 0.5
"""Share of the heads whose lesions are of any intensity. By tissue they are at most twice as far from white matter as
cortex or fluid is: on FLAIR, where cortex and white matter are alike, real ones are far brighter."""
SPACES = 0.5
"""Probability of perivascular spaces."""
TEXTURED = 0.7
"""Probability of texture in white matter."""
AROUND = 5
"""Voxels of the 2 mm grid around white matter that are drawn at 1 mm."""
SHIFT_MM = 16.0
"""How far a crop's middle lies from the voxel it was chosen for, at most, along each axis."""


@dataclass(frozen=True)
class Crops:
    """Crops of one head at 1 mm.

    Attributes:
        inputs: (B, CHANNELS, X, Y, Z) of `lesion_inputs`.
        lesions: (B, X, Y, Z) bool.
        images: (B, X, Y, Z), to be looked at.
    """

    inputs: torch.Tensor
    lesions: torch.Tensor
    images: torch.Tensor


class Sampler:
    """Draws heads and crops of them.

    Args:
        maps: label maps, on the device to work on.
        priors: of the generative model, with a load of lesions.
        free: share of heads that have none.
        segmenter: a trained fast network.
        segmented: share of heads whose tissues it finds.
        crop: voxels along each side, a multiple of 4.
        scanner: share of heads that look as on T1, T2, PD, FLAIR or CT; the others have random intensities.
        around: share of the crops of heads with lesions that lie around one; the others lie around white matter.
    """

    shape, spacing = LocateRefine.head_shape, LocateRefine.head_spacing

    def __init__(
        self,
        maps: Sequence[LabelMap],
        priors: Priors,
        *,
        free: float = 0.25,
        segmenter: LocateRefine | None = None,
        segmented: float = 0.6,
        crop: int = 80,
        around: float = 0.6,
        scanner: float = 0.0,
    ) -> None:
        self.maps, self.priors, self.free = maps, priors, free
        self.segmenter, self.segmented = segmenter, segmented if segmenter is not None else 0.0
        self.crop, self.around, self.scanner = crop, around, scanner
        self.device = maps[0].index.device

    def drawn(self, g: torch.Generator) -> tuple[Record, LabelMap]:
        """What makes a random head."""
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=g))]
        record = draw(self.priors, label_map, g)
        anew, where, scanner = torch.rand(3, generator=g).tolist()
        if scanner < self.scanner:
            record = as_random_sequence(record, label_map, g)
        elif record.drawn_lesions is not None and anew < ANY_INTENSITY:
            low, high = self.priors.mean
            mean = low + (high - low) * where
            record = replace(record, drawn_lesions=replace(record.drawn_lesions, mean=mean))
        record = visible(record, label_map)
        if float(torch.rand(1, generator=g)) < self.free:
            record = replace(record, drawn_lesions=None, lesions=False)
        return record, label_map

    @torch.no_grad()
    def crops(self, g: torch.Generator, count: int) -> Crops:
        """Some crops of one random head, whose intensities are relative to those of the whole head, as in a scan."""
        record, label_map = self.drawn(g)
        by_network = float(torch.rand(1, generator=g)) < self.segmented
        spaces = float(torch.rand(1, generator=g)) < SPACES
        head = Grid.centred(self.shape, self.spacing)
        eyes: _Eyes | None = None
        if by_network and self.segmenter is not None:
            coarse = apply(record, label_map, head)
            eyes, labels = _Eyes(self.segmenter, coarse), coarse.labels
        else:
            labels = deform(record, label_map, head)
        table = torch.tensor(target_table(record, label_map, None), device=self.device)
        coarse_values = table[labels.long()]
        low, size = _box_around(_white(coarse_values), self.crop // 2)
        image, values = self._image(record, label_map, low, size, eyes, table, spaces, g)
        places = self._places(coarse_values, low, size, count, g)
        tissues = wrong_tissues(values, g) if eyes is None else eyes.tissues(image, low, places, self.crop)
        inputs, lesions = lesion_inputs(image, tissues), values == LESION
        cuts = [tuple(slice(2 * a, 2 * a + self.crop) for a in place) for place in places]
        return Crops(
            torch.stack([inputs[(slice(None), *cut)] for cut in cuts]),
            torch.stack([lesions[cut] for cut in cuts]),
            torch.stack([image[cut] for cut in cuts]),
        )

    def _image(
        self,
        record: Record,
        label_map: LabelMap,
        low: Sequence[int],
        size: Sequence[int],
        eyes: _Eyes | None,
        table: torch.Tensor,
        spaces: bool,
        g: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A part of a head at 1 mm, given on the 2 mm grid, with what looks like lesions and is none; its labels."""
        # Voxel i of the 2 mm grid covers voxels 2i and 2i + 1 of the 1 mm grid.
        origin = tuple((a - 0.5 * (n - 1)) * self.spacing - 0.5 for a, n in zip(low, self.shape, strict=True))
        grid = Grid(tuple(2 * n for n in size), 1.0, origin)  # type: ignore[arg-type]
        labels = deform(record, label_map, grid)
        values = table[labels.long()]
        white = _white(values)
        if spaces:
            labels = with_perivascular_spaces(labels, label_map, white, 1.0, g)
        image, _ = render(record, label_map, labels, grid, None if eyes is None else eyes.limits)
        if float(torch.rand(1, generator=g)) < TEXTURED:
            image = with_texture(image, white | (values == LESION), g)
        return image, values

    def _places(
        self, values: torch.Tensor, first: Sequence[int], size: Sequence[int], count: int, g: torch.Generator
    ) -> list[list[int]]:
        """First voxels, on the 2 mm grid of a box, of crops around lesions and white matter."""
        lesions, white = (values == LESION).nonzero(), _white(values).nonzero()
        half, found = self.crop // 4, []
        for around, at, *shift in torch.rand(count, 5, generator=g).tolist():
            some = lesions if len(lesions) and around < self.around else white
            voxel = some[int(at * len(some))].tolist() if len(some) else [n // 2 for n in self.shape]
            moved = [v + round((2 * s - 1) * SHIFT_MM / self.spacing) for v, s in zip(voxel, shift, strict=True)]
            inside = zip(moved, first, size, strict=True)
            found.append([min(max(v - half - a, 0), n - 2 * half) for v, a, n in inside])
        return found


def _white(values: torch.Tensor) -> torch.Tensor:
    """Where white matter without lesions is."""
    return (values == WHITE_MATTER[0]) | (values == WHITE_MATTER[1])


def _box_around(mask: torch.Tensor, least: int) -> tuple[list[int], list[int]]:
    """First voxel and size of what lies around the voxels of a mask, at least so large; of the whole around none."""
    where, low, size = mask.nonzero(), [], []
    for axis, n in enumerate(mask.shape):
        along = where[:, axis] if len(where) else torch.tensor([0, n - 1])
        first, last = max(int(along.min()) - AROUND, 0), min(int(along.max()) + AROUND + 1, n)
        size.append(min(max(last - first, least), n))
        low.append(min(first, n - size[-1]))
    return low, size


def visible(record: Record, label_map: LabelMap) -> Record:
    """A record whose lesions differ from white matter by more than its noise: what nobody can see nobody can learn."""
    lesions = record.drawn_lesions
    if lesions is None:
        return record
    slots = [label_map.values.index(value) for value in WHITE_MATTER if value in label_map.values]
    white = sum(record.means[i] for i in slots) / len(slots)
    least = VISIBLE * max(record.stds[i] for i in slots)
    if abs(lesions.mean - white) >= least:
        return record
    away = least if lesions.mean > white else -least
    mean = white + away if 0 <= white + away <= 255 else white - away
    return replace(record, drawn_lesions=replace(lesions, mean=min(max(mean, 0.0), 255.0)))


class _Eyes:
    """A trained network's view of a head, asked for crop by crop."""

    def __init__(self, model: LocateRefine, head: Sample) -> None:
        self.model, self.limits = model, head.limits
        self.seen = percentile_limits(head.image)
        image = to_memory(rescaled(head.image, self.seen)[None, None])
        with half_precision(head.image.device, "locate-refine"):
            self.posteriors = model.locate(image)
        self.appearance = model.appearance(image, self.posteriors)

    def tissues(
        self, image: torch.Tensor, low: Sequence[int], places: Sequence[Sequence[int]], crop: int
    ) -> torch.Tensor:
        """(len(GROUPS), X, Y, Z) of a part at 1 mm that begins at a voxel of the 2 mm grid; fine only in the crops.

        Elsewhere the coarse ones do: they count in the statistics of the whole head alone, and refining takes time.
        """
        box = (slice(None), slice(None), *(slice(a, a + n // 2) for a, n in zip(low, image.shape, strict=True)))
        coarse = tissue_channels(self.posteriors[box][0], self.model.labels)
        found = F.interpolate(coarse[None], scale_factor=2, mode="trilinear", align_corners=False)[0]
        for place in places:
            near = (
                slice(None),
                slice(None),
                *(slice(a + b, a + b + crop // 2) for a, b in zip(low, place, strict=True)),
            )
            cut = tuple(slice(2 * b, 2 * b + crop) for b in place)
            fine = to_memory(rescaled(image[cut], self.seen)[None, None])
            with half_precision(image.device, "locate-refine"):
                posteriors = self.model.refine(fine, to_memory(self.posteriors[near]), self.appearance)
            found[(slice(None), *cut)] = tissue_channels(posteriors[0], self.model.labels)
        return found


def wrong_tissues(values: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """(len(GROUPS), X, Y, Z) tissues of true FreeSurfer values, with errors; lesions are white matter, or mistaken."""
    classes = torch.zeros_like(values)
    for value in values.unique().tolist():
        group = group_of(value)
        if group is not None:
            classes[values == value] = group + 1
    mistaken, what, share = torch.rand(3, generator=g).tolist()
    points = [max(2, n // PATCH) for n in values.shape]
    knots = torch.rand(1, 1, *points, generator=g).to(values.device)
    if mistaken < MISTAKEN:
        patches = F.interpolate(knots, size=values.shape, mode="trilinear", align_corners=True)[0, 0]
        taken = TAKEN_FOR[int(what * len(TAKEN_FOR))]
        classes[(values == LESION) & (patches < share)] = taken + 1
    errors = draw_errors(ERRORS, len(GROUPS) + 1, g)
    return with_errors(classes, errors, len(GROUPS) + 1)[1:]
