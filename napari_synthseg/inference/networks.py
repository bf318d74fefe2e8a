"""The networks that segment a scan: the segmenter, and those that the options add to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.networks.registry import segments, spec_of


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

    def helper(path: Path | None, kind: str, what: str, example: str) -> nn.Module | None:
        return None if path is None else load_kind(str(path), kind, what, example)

    segmenter = load(options) if segmenter is None else segmenter
    locator = None
    if options.fix_orientation:
        locator = segmenter if hasattr(segmenter, "locate") else load_model(SegmentOptions.model)
    parcellation = ("parcellation", "SynthSeg's cortical parcellation", "synthseg_parc_2.0.h5")
    return Networks(
        segmenter,
        helper(options.parcellation, *parcellation),
        helper(options.regressor, "quality", "SynthSeg's quality regressor", "synthseg_qc_2.0.h5"),
        locator,
    )


def load(options: SegmentOptions) -> nn.Module:
    """Load the network that the options name.

    Raises:
        InputError: there are no such weights, or they segment no scan by themselves.
    """
    from napari_synthseg.weights.catalogue import find_robust
    from napari_synthseg.weights.store import load_model

    if options.weights is not None:
        name = str(options.weights)
    else:
        unnamed = options.model == SegmentOptions.model
        name = str(find_robust()) if options.robust and unnamed else options.model
    model = load_model(name)
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
