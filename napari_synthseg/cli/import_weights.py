"""`import-weights`: official weights into this program's own format."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from napari_synthseg.cli.terminal import DONE


def make_import_weights() -> Callable[..., int]:
    """Turn SynthSeg's official weights (Keras .h5) into safetensors with a card."""
    from napari_synthseg.weights.keras import read_labels
    from napari_synthseg.weights.store import import_weights as write

    def import_weights(
        file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")],
        out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
        labels: Path | None = None,
        overwrite: bool = False,
    ) -> int:
        """Turn SynthSeg's official weights (Keras .h5: 1.0, 2.0, robust, parcellation, quality) into safetensors.

        Args:
            file: the .h5 file; what it holds is told by its layers.
            out: the .safetensors file or the folder to write; by default the cache, where segment finds it by name.
            labels: list of the values that the network predicts (.npy or text), for networks of your own training.
            overwrite: replace files that are there already.
        """
        print(write(file, out, labels=read_labels(labels) if labels is not None else None, overwrite=overwrite))
        return DONE

    return import_weights
