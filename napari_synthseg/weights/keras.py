"""SynthSeg's official Keras weights (`.h5`), read with h5py alone: which network a file holds. No torch here.

Files are recognized by their layers and shapes, never by their name: SynthSeg 1.0 and 2.0, training checkpoints of
either, robust 2.0, the cortical parcellation and the quality regressor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError

FOREIGN = (
    (b"<", "is a web page and no weights file: download it again, and look at what the page says"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the weights: fetch them with git lfs pull"),
    (b"PK", "is a zip archive (a PyTorch or Keras 3 file?) and not an HDF5 file: give the .h5 file of SynthSeg"),
    (b"\x1f\x8b", "is compressed: unpack it first"),
    (b"\x80", "is a Python pickle and not an HDF5 file: give the .h5 file of SynthSeg"),
    (b"\x89HDF", "is damaged or was cut short: download it again"),
)
"""How files that h5py cannot open begin, and what to say of them."""


MOST_TIMES, SPARE = 4, 1 << 20
"""The arrays of a file together are at most this many times its size (they may be compressed), and some bytes."""


class Layers:
    """Arrays of a Keras file, whether saved as weights, as a whole model or as a training checkpoint.

    A context manager, because the file stays open; shapes are known without reading the arrays.

    Args:
        path: the `.h5` file.

    Raises:
        InputError: it cannot be read as an HDF5 file; the sentence says what it is instead.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = Path(path)
        self._claimed = 0  # bytes
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, str] = {}
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(_what_it_is(self.path)) from error
        try:
            root = self._file.get("model_weights", self._file)
            root.visititems(self._keep)
        except (OSError, RuntimeError) as error:
            self.close()
            raise InputError(f"{self.path.name} is damaged or was cut short: download it again.") from error
        except InputError:
            self.close()
            raise

    def __enter__(self) -> Layers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def _keep(self, key: str, item: Any) -> None:
        if hasattr(item, "shape"):
            self._check(item)
            parts = key.split("/")
            name = f"{parts[-2] if len(parts) > 1 else ''}/{parts[-1].split(':')[0]}"
            self.shapes[name] = tuple(item.shape)
            self._places[name] = item.name

    def _check(self, array: Any) -> None:
        """Refuse arrays in other files, and more numbers than the file can hold."""
        if getattr(array, "external", None) or getattr(array, "is_virtual", False):
            raise InputError(f"{self.path.name} takes its numbers from other files: give one that holds them itself.")
        self._claimed += math.prod(array.shape) * array.dtype.itemsize
        if self._claimed > MOST_TIMES * self.path.stat().st_size + SPARE:
            raise InputError(
                f"{self.path.name} claims {self._claimed / 2**30:.0f} GiB of numbers, which a file of its size "
                "cannot hold: download it again."
            )

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the array `layer/what`; an `InputError` if there is none."""
        if name not in self.shapes:
            raise InputError(f"{self.path.name} lacks the layer {name.split('/')[0]}: it is incomplete, get it again.")
        return self.shapes[name]

    def get(self, name: str) -> np.ndarray:
        """Return the array `layer/what`; kernels (X, Y, Z, in, out) come as (out, in, X, Y, Z).

        Raises:
            InputError: it is missing, damaged, or not made of finite numbers.
        """
        self.shape(name)
        try:
            array = np.asarray(self._file[self._places[name]], np.float32)
        except (OSError, TypeError, ValueError) as error:
            raise InputError(f"{self.path.name} is damaged or was cut short: download it again.") from error
        if not np.isfinite(array).all():
            raise InputError(f"{self.path.name} holds numbers that are not finite in {name}: download it again.")
        array = array.transpose(4, 3, 0, 1, 2) if array.ndim == 5 else array
        return np.ascontiguousarray(array)


def _what_it_is(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error}): check its name and your rights."
    if not start.strip():
        return f"{path.name} is empty: download it again."
    for beginning, sentence in FOREIGN:
        if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(beginning):
            return f"{path.name} {sentence}."
    return f"{path.name} is not an HDF5 file: give the .h5 file of SynthSeg."


REFERENCE = "reference"
"""The preset on the cards of weights that were trained, and are run, with the reference implementation."""


def recognize(layers: Layers, labels: Sequence[int] | None = None) -> dict[str, Any]:
    """Make the card of the network in a file, as `networks.registry` takes it.

    Args:
        layers: of the file.
        labels: the values that the network predicts, sorted, if its number of channels does not tell.

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
    said = {"preset": REFERENCE, "licence": "see the file's source", "description": about}
    return {"name": layers.path.stem, **said, **card}


def unet_card(layers: Layers, prefix: str, labels: Sequence[int]) -> dict[str, Any]:
    """Make the card of a U-Net whose layers' names begin with `prefix`."""
    kernel = layers.shape(f"{prefix}_conv_downarm_0_0/kernel")
    if len(kernel) != 5 or kernel[:3] != (3, 3, 3):
        raise InputError(f"{layers.path.name} has kernels of shape {kernel} where SynthSeg's U-Net has 3 x 3 x 3.")
    sizes = {"features": kernel[4], "levels": count_levels(layers, prefix), "in_channels": kernel[3]}
    return {"network": "unet", "labels": list(labels), **sizes}


def denoiser_card(layers: Layers, prefix: str = "l2l") -> dict[str, Any]:
    """Make the card of a denoiser; the shapes of its kernels show which levels have skip connections."""
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
    return sum(f"{prefix}_conv_downarm_{i}_0/kernel" in layers for i in range(12))


def outputs_of(layers: Layers, prefix: str) -> int:
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
    said = {"network": "robust", "title": "SynthSeg-robust 2.0", "version": "2.0"}
    return {**said, "labels": list(values), "parts": parts}


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
    """Return the labels if there are as many as channels."""
    if len(labels) != outputs:
        raise InputError(f"{layers.path.name} predicts {outputs} labels, not {len(labels)}: give the list that fits.")
    return tuple(int(value) for value in labels)


def _foreign(layers: Layers) -> str:
    names = list(dict.fromkeys(name.split("/")[0] for name in layers.shapes))
    if not names:
        return f"{layers.path.name} is an HDF5 file without any arrays: it holds no weights."
    return (
        f"{layers.path.name} holds {len(names)} layers that are none of SynthSeg's (the first is {names[0]!r}): "
        "give synthseg_1.0.h5, synthseg_2.0.h5 or another file of SynthSeg."
    )


def describe(path: Path | str, labels: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the card of the network in a file, from its layers' shapes alone; an `InputError` says what else it is."""
    with Layers(Path(path)) as layers:
        return recognize(layers, labels)


def read_labels(path: Path) -> tuple[int, ...]:
    """Read a sorted list of labels, as SynthSeg keeps them: a `.npy` file, or a text file of numbers.

    Raises:
        InputError: the file is not such a list.
    """
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = np.array(path.read_text(encoding="utf-8").replace(",", " ").split(), float)
        whole = np.unique(np.asarray(values, float))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no list of labels: give a .npy file, or a text file of numbers.") from error
    if not len(whole) or np.any(whole != np.round(whole)) or whole[0] != 0:
        raise InputError(f"{path} is no list of labels: whole numbers are needed, and 0 for the background among them.")
    return tuple(int(value) for value in whole)
