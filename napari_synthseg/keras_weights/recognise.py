"""What a Keras file holds, told by its layers and their shapes and never by its name: the card of its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.keras_weights.layers import Layers

REFERENCE = "reference"
"""The preset on the cards of weights that were trained, and are run, with the reference implementation."""


def recognise(layers: Layers, labels: Sequence[int] | None = None) -> dict[str, Any]:
    """The card of the network in a file.

    Args:
        layers: of the file.
        labels: the values that the network predicts, sorted, where its number of channels does not tell.

    Returns:
        A card as `networks.build` takes it, with `name`, `title`, `preset` and `licence`.

    Raises:
        InputError: the file holds something else; the sentence says what.
    """
    if layers.has("unet2_"):
        card = _robust(layers, labels)
    elif layers.has("qc_conv_downarm_"):
        card = _quality(layers)
    elif layers.has("unet_parc_"):
        card = _parcellation(layers, labels)
    elif layers.has("l2l_"):
        card = {**denoiser_card(layers), "title": "the denoiser of SynthSeg-robust alone"}
    elif layers.has("unet_conv_downarm_"):
        card = _unet(layers, labels)
    else:
        raise InputError(_foreign(layers))
    about = f"Official weights: {card['title']}. Scans are treated exactly as SynthSeg does."
    return {
        "name": layers.path.stem,
        "preset": REFERENCE,
        "licence": "see the file's source",
        "description": about,
        **card,
    }


def unet_card(layers: Layers, prefix: str, labels: Sequence[int]) -> dict[str, Any]:
    """The card of a U-Net whose layers' names begin with `prefix`."""
    kernel = layers.shape(f"{prefix}_conv_downarm_0_0/kernel")
    if len(kernel) != 5 or kernel[:3] != (3, 3, 3):
        raise InputError(f"{layers.path.name} has kernels of shape {kernel} where SynthSeg's U-Net has 3 x 3 x 3.")
    return {
        "network": "unet",
        "labels": list(labels),
        "features": kernel[4],
        "levels": count_levels(layers, prefix),
        "in_channels": kernel[3],
    }


def denoiser_card(layers: Layers, prefix: str = "l2l") -> dict[str, Any]:
    """The card of a denoiser: which levels have skip connections shows in the shapes of their kernels."""
    kernel = layers.shape(f"{prefix}_conv_downarm_0_0/kernel")
    levels = count_levels(layers, prefix)
    widths = [layers.shape(f"{prefix}_conv_downarm_{i}_0/kernel")[4] for i in range(levels)]
    joined = [layers.shape(f"{prefix}_conv_uparm_{levels + k}_0/kernel")[3] for k in range(levels - 1)]
    unconnected = sum(inputs == widths[levels - 1 - k] for k, inputs in enumerate(joined))
    return {
        "network": "denoiser",
        "labels": list(range(kernel[3])),
        "features": kernel[4],
        "levels": levels,
        "growth": widths[1] // widths[0] if levels > 1 else 1,
        "convolutions": 2 if f"{prefix}_conv_downarm_0_1/kernel" in layers else 1,
        "kernel": kernel[0],
        "unconnected": unconnected,
    }


def count_levels(layers: Layers, prefix: str) -> int:
    """How many levels the encoder has."""
    return sum(f"{prefix}_conv_downarm_{i}_0/kernel" in layers for i in range(12))


def outputs_of(layers: Layers, prefix: str) -> int:
    """How many channels come out of a U-Net."""
    return layers.shape(f"{prefix}_likelihood/bias")[0]


def _unet(layers: Layers, labels: Sequence[int] | None) -> dict[str, Any]:
    outputs = outputs_of(layers, "unet")
    if outputs == 1:
        raise InputError(
            f"{layers.path.name} makes an image and not labels (SynthSR?): give weights of SynthSeg, such as "
            "synthseg_2.0.h5."
        )
    version = {32: 1, 33: 2}.get(outputs)
    known = labels or (anatomy.predicted_values(version) if version else None)
    card = unet_card(layers, "unet", _checked(layers, known or range(outputs), outputs))
    titles = {1: "SynthSeg 1.0", 2: "SynthSeg 2.0"}
    title = titles.get(version or 0, f"a U-Net of SynthSeg with {outputs} labels")
    return {**card, "title": title, **({"version": f"{version}.0"} if version else {})}


def _robust(layers: Layers, labels: Sequence[int] | None) -> dict[str, Any]:
    values = _checked(layers, labels or anatomy.predicted_values(2), outputs_of(layers, "unet2"))
    parts = {
        "s1": unet_card(layers, "unet", range(outputs_of(layers, "unet"))),
        "denoiser": denoiser_card(layers),
        "s2": unet_card(layers, "unet2", values),
    }
    tissues = len(parts["s1"]["labels"])
    if parts["denoiser"]["labels"] != parts["s1"]["labels"] or parts["s2"]["in_channels"] != tissues + 1:
        raise InputError(f"The three networks in {layers.path.name} do not fit each other: get the file again.")
    return {
        "network": "robust",
        "title": "SynthSeg-robust 2.0",
        "version": "2.0",
        "labels": list(values),
        "parts": parts,
    }


def _parcellation(layers: Layers, labels: Sequence[int] | None) -> dict[str, Any]:
    values = _checked(layers, labels or anatomy.parcel_values(), outputs_of(layers, "unet_parc"))
    card = unet_card(layers, "unet_parc", values)
    if card["in_channels"] != 3:
        raise InputError(
            f"The parcellation in {layers.path.name} takes {card['in_channels']} channels where 3 are needed "
            "(the scan, what is no cortex, and cortex)."
        )
    return {**card, "network": "parcellation", "title": "SynthSeg's cortical parcellation (Desikan-Killiany)"}


def _quality(layers: Layers) -> dict[str, Any]:
    kernel = layers.shape("qc_conv_downarm_0_0/kernel")
    groups = layers.shape("qc_final_conv_1/bias")[0]
    if groups != len(anatomy.QUALITY_GROUPS):
        raise InputError(
            f"The quality regressor in {layers.path.name} scores {groups} groups of structures where "
            f"{len(anatomy.QUALITY_GROUPS)} are known."
        )
    return {
        "network": "quality",
        "labels": list(range(groups)),
        "features": kernel[4],
        "levels": count_levels(layers, "qc"),
        "kernel": kernel[0],
        "title": "SynthSeg's quality regressor",
    }


def _checked(layers: Layers, labels: Sequence[int], outputs: int) -> tuple[int, ...]:
    """The labels, if there are as many as channels."""
    if len(labels) != outputs:
        raise InputError(f"{layers.path.name} predicts {outputs} labels, not {len(labels)}: give the list that fits.")
    return tuple(int(value) for value in labels)


def _foreign(layers: Layers) -> str:
    names = layers.names
    if not names:
        return f"{layers.path.name} is an HDF5 file without any arrays: it holds no weights."
    return (
        f"{layers.path.name} holds {len(names)} layers that are none of SynthSeg's (the first is {names[0]!r}): "
        "give synthseg_1.0.h5, synthseg_2.0.h5 or another file of SynthSeg."
    )
