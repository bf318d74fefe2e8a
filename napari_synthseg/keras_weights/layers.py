"""The arrays of a Keras weights file by layer and name, read with h5py alone: no Keras is run, and no torch here."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError

FOREIGN = (
    (b"<", "is a web page and no weights file: download it again, and look at what the page says"),
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS and not the weights: fetch them with git lfs pull",
    ),
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

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _keep(self, key: str, item: Any) -> None:
        if hasattr(item, "shape"):
            self._check(item)
            parts = key.split("/")
            name = f"{parts[-2] if len(parts) > 1 else ''}/{parts[-1].split(':')[0]}"
            self.shapes[name] = tuple(item.shape)
            self._places[name] = item.name

    def _check(self, array: Any) -> None:
        """Nothing is read from other files, and no more than the file can hold."""
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

    @property
    def names(self) -> list[str]:
        """Of the layers that hold arrays, in the file's order."""
        return list(dict.fromkeys(name.split("/")[0] for name in self.shapes))

    def has(self, prefix: str) -> bool:
        """Whether the name of a layer begins like this."""
        return any(name.startswith(prefix) for name in self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the array `layer/what`.

        Raises:
            InputError: there is none.
        """
        if name not in self.shapes:
            raise InputError(f"{self.path.name} lacks the layer {name.split('/')[0]}: it is incomplete, get it again.")
        return self.shapes[name]

    def get(self, name: str) -> np.ndarray:
        """The array `layer/what`; kernels (X, Y, Z, in, out) come as (out, in, X, Y, Z).

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
    """One sentence on a file that h5py cannot open."""
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
