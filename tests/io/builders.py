"""Small files to read: a gradient with a bright box, so that nothing about it is constant or symmetric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg.errors import InputError, printable
from napari_synthseg.io import read_volume

AFFINE = np.array([[-1.0, 0, 0, 30], [0, 0, 1.5, -20], [0, -2.0, 0, 40], [0, 0, 0, 1]])
SHAPE = (6, 7, 8)


def image_data(dtype=np.float32, shape=SHAPE) -> np.ndarray:
    data = np.arange(np.prod(shape)).reshape(shape) % 97
    data[tuple(slice(n // 4, n // 2 + 1) for n in shape)] = 120
    return data.astype(dtype)


def nifti(path: Path, data=None, affine=AFFINE, *, sform=1, qform=1, **fields) -> Path:
    """A NIfTI file; `fields` are set raw in the header after everything else."""
    image = nib.Nifti1Image(image_data() if data is None else data, affine)
    image.set_qform(affine, code=qform)
    image.set_sform(affine, code=sform)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    if fields:
        patch_header(path, **fields)
    return path


def patch_header(path: Path, **fields) -> None:
    """Overwrites fields of an uncompressed NIfTI-1 header as they stand in the file."""
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(bytes(raw[:348]), nib.nifti1.header_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.tobytes()
    path.write_bytes(bytes(raw))


def refusal(path: Path, read: Callable[[Path], object] = read_volume) -> str:
    """The sentence with which reading a file is refused, beginning with its name."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(printable(str(path))) and message.endswith(".") and "\n" not in message
    assert ". " not in message.removeprefix(printable(str(path))), "one sentence"
    return message
