"""The state of one segmentation: its networks, what its stages read and write, and the result that comes at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference.grid import Reorientation
from napari_synthseg.inference.options import InferenceConfig, SegmentOptions
from napari_synthseg.inference.quality.rating import QcRating
from napari_synthseg.networks.registry import segments, spec_of
from napari_synthseg.volume import Volume

if TYPE_CHECKING:
    from napari_synthseg.inference.parcellation import Parcels
    from napari_synthseg.inference.posteriors import Posteriors
    from napari_synthseg.inference.preprocess import Prepared
    from napari_synthseg.inference.quality.features import QcFeatures
    from napari_synthseg.io.labels import LabelName


@dataclass(frozen=True)
class WholeHead:
    """A whole head as a network saw it, with the labels it gave before any clean-up."""

    image: torch.Tensor
    """(X, Y, Z) float32 in [0, 1], the rescaled and padded scan, on the CPU."""
    winners: torch.Tensor
    """(X, Y, Z) the channel with the largest posterior."""
    start: tuple[int, int, int]
    """Voxel of the prepared image where both begin; may lie outside of it, as all starts here."""


@dataclass(frozen=True)
class TissueMaps:
    """Tissue maps from the inner networks of a hierarchy (not those of the mirror image)."""

    classes: Mapping[str, torch.Tensor]
    """(X, Y, Z) uint8 tissue classes (`anatomy.TISSUES`) of S1 and of D, by `TISSUE_MAPS`."""
    start: tuple[int, int, int]


@dataclass(frozen=True)
class Prediction:
    """Posteriors of the part of a prepared scan that holds the brain."""

    posteriors: torch.Tensor
    """(K, X, Y, Z) float16 or float32 on the CPU."""
    values: tuple[int, ...]
    """FreeSurfer value of each channel, background first."""
    start: tuple[int, int, int]
    coarse: torch.Tensor | None
    """(K, ...) the locator's posteriors at 2 mm, if the network has a locator."""
    device: str
    """Where the network ran."""
    notes: tuple[str, ...] = ()
    """Sentences on what had to be done differently."""
    whole_head: WholeHead | None = None
    """The input and raw labels of a network that sees the whole head."""
    tissues: TissueMaps | None = None
    """Maps of its inner networks, if it is a hierarchy that saw the whole volume at once."""
    coarse_start: tuple[int, int, int] | None = None

    def inside(self, shape: Sequence[int]) -> tuple[slice, slice, slice]:
        """Return the part inside a prepared image of this shape (posteriors may reach into its padding)."""
        size = self.posteriors.shape[1:]
        every = zip(self.start, size, shape, strict=True)
        x, y, z = (slice(max(0, -a), max(0, min(n, whole - a))) for a, n, whole in every)
        return x, y, z

    def within(self, shape: Sequence[int]) -> Prediction:
        """Return the prediction without the parts outside a prepared image of this shape."""
        box = self.inside(shape)
        if all(side == slice(0, n) for side, n in zip(box, self.posteriors.shape[1:], strict=True)):
            return self
        start = tuple(a + side.start for a, side in zip(self.start, box, strict=True))
        return replace(self, posteriors=self.posteriors[(slice(None), *box)].contiguous(), start=start)  # type: ignore[arg-type]


def values_of(model: nn.Module) -> tuple[int, ...]:
    """Return the values of a network's channels, background first."""
    return tuple(int(value) for value in model.labels)  # type: ignore[union-attr, arg-type]


@dataclass(frozen=True)
class Segmentation:
    """The result of segmenting one scan."""

    labels: Volume
    """FreeSurfer values, int16, on the scan's own grid or at 1 mm."""
    volumes: dict[int, float]
    """mm^3 by FreeSurfer value: sums of posteriors, background left out."""
    intracranial_mm3: float
    """Sum over all structures, CSF included if the network predicts it; NaN for another organ than the brain."""
    warnings: tuple[str, ...]
    """Sentences on what looks implausible."""
    posteriors: Posteriors | None
    """If asked for."""
    record: dict[str, Any]
    """What ran, on what, how long: fit for JSON."""
    quality: dict[int, float] = field(default_factory=dict)
    """Expected Dice by FreeSurfer value, 0-1: calibrated if the weights have a calibration (`qc_rating` says whether),
    else the soft Dice of `quality.features`."""
    tissues: dict[str, Volume] = field(default_factory=dict)
    """Tissue classes (`anatomy.TISSUES`) from the inner networks of a robust network, by `anatomy.TISSUE_MAPS`."""
    qc_rating: QcRating = QcRating(math.nan, False)
    """Quality to expect of the whole scan."""
    qc_features: QcFeatures | None = None
    """What the expected Dice was computed from."""
    names: Mapping[int, LabelName] = field(default_factory=dict)
    """Names of the labels if they are those of another organ, not FreeSurfer's."""


@dataclass
class State:
    """Everything known about a scan while it is segmented; each stage reads what earlier ones wrote."""

    volume: Volume
    name: str
    """How messages call the scan."""
    options: SegmentOptions
    model: nn.Module | Networks | None
    """A network (or all of them) that was loaded before."""
    device: torch.device
    networks: Networks = None  # type: ignore[assignment]
    config: InferenceConfig = InferenceConfig()
    prepared: Prepared = None  # type: ignore[assignment]
    partial: list[str] = field(default_factory=list)
    """Sentences on a scan that shows only a part of the head."""
    label_map: bool = False
    """Whether the scan looks like a label map."""
    reorientation: Reorientation = Reorientation()
    prediction: Prediction = None  # type: ignore[assignment]
    """Cleaned in place."""
    raw_sums: dict[int, float] = field(default_factory=dict)
    """Voxels of each structure before that."""
    hard: np.ndarray = None  # type: ignore[assignment]
    """(X, Y, Z) int16 FreeSurfer values on the voxels of the prediction."""
    group_scores: dict[str, float] = field(default_factory=dict)
    """0 to 1 by name of a quality group."""
    parcels: Parcels | None = None
    result: Segmentation = None  # type: ignore[assignment]
    """Made by "measure", completed by "rate" and "record"."""
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage that ran."""

    @property
    def card(self) -> Mapping[str, Any]:
        """The card of the segmenter's weights; empty if it has none."""
        return getattr(self.networks.segmenter, "card", None) or {}

    @property
    def used_device(self) -> torch.device:
        """Where the prediction was made: the CPU, if memory ran out elsewhere."""
        return torch.device(self.prediction.device)


@dataclass(frozen=True)
class Networks:
    """All that is loaded once and used for any number of scans."""

    segmenter: nn.Module
    parcellation: nn.Module | None = None
    """Divides the cortex, if wanted."""
    regressor: nn.Module | None = None
    """SynthSeg's estimate of quality, if wanted."""
    locator: nn.Module | None = None
    """Looks for the orientation, if wanted: the segmenter itself if it can, else the default one."""


def load_all(options: SegmentOptions, segmenter: nn.Module | None = None) -> Networks:
    """Load every network that the options ask for; `segmenter` is one already loaded, in place of the named one.

    Raises:
        InputError: there are no such weights, or they are of another network.
    """
    from napari_synthseg.weights.store import load_kind, load_model

    helpers = (
        (options.parcellation, "parcellation", "SynthSeg's cortical parcellation", "synthseg_parc_2.0.h5"),
        (options.regressor, "quality", "SynthSeg's quality regressor", "synthseg_qc_2.0.h5"),
    )
    segmenter = load(options) if segmenter is None else segmenter
    locator = None
    if options.fix_orientation:
        locator = segmenter if hasattr(segmenter, "locate") else load_model(SegmentOptions.model)
    parcellation, regressor = (None if path is None else load_kind(str(path), *kind) for path, *kind in helpers)
    return Networks(segmenter, parcellation, regressor, locator)


def load(options: SegmentOptions) -> nn.Module:
    """Load the network that the options name.

    Raises:
        InputError: there are no such weights, or they segment no scan by themselves.
    """
    from napari_synthseg.weights.catalogue import find_robust
    from napari_synthseg.weights.store import load_model

    unnamed = options.weights is None and options.model == SegmentOptions.model
    model = load_model(str(find_robust() if options.robust and unnamed else options.weights or options.model))
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    spec = spec_of(card)
    if not segments(card):
        hint = f": give it as the {spec.option}" if spec.option else ""
        what = card.get("title", card["network"])
        raise InputError(f"The weights {card.get('name')!r} ({what}) segment no scan by themselves{hint}.")
    if card.get("preset") == "reference" and "version" not in card and card["labels"] == [*range(len(card["labels"]))]:
        raise InputError(
            f"The weights {card.get('name')!r} predict {len(card['labels'])} labels that nobody has named: give their "
            "list (napari-synthseg import-weights FILE --labels LIST), and use what that writes."
        )
    if options.robust and not spec.tissues:
        raise InputError(f"The weights {card.get('name')!r} are not those of a robust network: give others.")
    if options.tissues and not spec.tissues:
        raise InputError(f"The weights {card.get('name')!r} find no tissues to keep: a robust network does (--robust).")
    return model
