"""Official Keras weights into this program's own format: safetensors with a card, in full precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_synthseg import weights
from napari_synthseg.errors import InputError


def import_weights(
    source: Path, out: Path | None = None, *, labels: Sequence[int] | None = None, overwrite: bool = False
) -> Path:
    """Write the weights of a Keras file as safetensors with a card.

    Args:
        source: the `.h5` file of SynthSeg.
        out: the file to write, or a folder for it; by default the folder of the user's cache, where it is then found by
            its name.
        labels: the values that the network predicts, sorted, where its number of channels does not tell.
        overwrite: whether files that are there already may be replaced.

    Returns:
        The file that was written.

    Raises:
        InputError: the file holds no network of SynthSeg, or there is such a file already.
    """
    model = weights.load_keras_h5(source, labels)
    path = _target(source, out)
    if not overwrite and (path.exists() or path.with_suffix(".json").exists()):
        raise InputError(f"{path} is there already: choose another name, or --overwrite.")
    card = {key: value for key, value in model.card.items() if key not in ("path", "sha256")}  # type: ignore[union-attr, operator]
    made = {"name": path.stem, "source": source.name, "source_sha256": model.card["sha256"]}  # type: ignore[index]
    weights.save(path, model.state_dict(), {**card, **made}, exact=True)
    return path


def read_labels(path: Path) -> tuple[int, ...]:
    """Sorted values of a list of labels, as SynthSeg keeps them: a `.npy` file, or a text file of numbers.

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


def _target(source: Path, out: Path | None) -> Path:
    if out is None:
        out = weights.cache_folder() / "weights"
    elif out.suffix == ".safetensors":
        return out
    elif out.suffix in (".h5", ".json", ".pt"):
        raise InputError(f"{out} must end in .safetensors, or be a folder.")
    return out / f"{source.stem}.safetensors"
