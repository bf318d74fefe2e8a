"""SynthSeg's published Keras weights (`.h5`) into our U-Net, read with h5py alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.networks.unet import Level, UNet3d


class Layers:
    """Arrays of a Keras weights file by layer and name, whether saved as weights or as a whole model.

    Args:
        path: the `.h5` file.

    Raises:
        InputError: if it is not one.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        self.arrays: dict[str, np.ndarray] = {}
        try:
            with h5py.File(path, "r") as f:
                root = f.get("model_weights", f)
                root.visititems(lambda key, item: self._keep(key, item))
        except OSError as error:
            raise InputError(f"{path} is not a readable HDF5 file: download it again.") from error

    def _keep(self, key: str, item: Any) -> None:
        if hasattr(item, "shape"):
            layer, *_, name = key.split("/")
            self.arrays[f"{layer}/{name.split(':')[0]}"] = np.asarray(item)

    def get(self, names: tuple[str, ...], what: str) -> torch.Tensor:
        """The array `what` of the first layer of that name; kernels come as (out, in, X, Y, Z)."""
        for name in names:
            if f"{name}/{what}" in self.arrays:
                array = self.arrays[f"{name}/{what}"]
                array = array.transpose(4, 3, 0, 1, 2) if array.ndim == 5 else array
                return torch.from_numpy(np.ascontiguousarray(array))
        raise InputError(f"{self.path.name} has no layer {names[0]}: it does not hold weights of SynthSeg's U-Net.")


def load_unet(path: Path, prefix: str = "unet") -> tuple[UNet3d, dict[str, Any]]:
    """Build the U-Net whose weights a file holds.

    Args:
        path: `.h5` of SynthSeg 1.0 or 2.0, or a training checkpoint of either.
        prefix: of the layers' names.

    Returns:
        The network and a card.

    Raises:
        InputError: if layers are missing or have unexpected shapes.
    """
    layers = Layers(path)
    if any(key.startswith("unet2_") for key in layers.arrays):
        raise InputError(
            f"{path.name} holds SynthSeg-robust, three networks in a row, which cannot be used yet: "
            "give synthseg_1.0.h5 or synthseg_2.0.h5."
        )
    kernel = layers.get((f"{prefix}_conv_downarm_0_0",), "kernel")
    k = len(layers.get((f"{prefix}_likelihood",), "bias"))
    version = {32: 1, 33: 2}.get(k)
    labels = anatomy.predicted_values(version) if version else tuple(range(k))
    levels = sum(f"{prefix}_conv_downarm_{i}_0/kernel" in layers.arrays for i in range(10))
    model = UNet3d(labels, features=kernel.shape[0], levels=levels, in_channels=kernel.shape[1])

    def fill(level: Level, conv: str, norms: tuple[str, ...]) -> None:
        for i, module in enumerate((level.conv0, level.conv1)):
            module.weight.copy_(layers.get((f"{conv}_{i}",), "kernel"))
            module.bias.copy_(layers.get((f"{conv}_{i}",), "bias"))  # type: ignore[union-attr]
        for what, to in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        ):
            getattr(level.norm, to).copy_(layers.get(norms, what))

    try:
        with torch.no_grad():
            for i, level in enumerate(model.down):
                fill(level, f"{prefix}_conv_downarm_{i}", (f"{prefix}_bn_down_{i}",))  # type: ignore[arg-type]
            for i, level in enumerate(model.up):
                # A converter in the wild counts the decoder's batch norms on from the encoder's.
                norms = (f"{prefix}_bn_up_{i}", f"{prefix}_bn_up_{levels + i}")
                fill(level, f"{prefix}_conv_uparm_{levels + i}", norms)  # type: ignore[arg-type]
            model.likelihood.weight.copy_(layers.get((f"{prefix}_likelihood",), "kernel"))
            model.likelihood.bias.copy_(layers.get((f"{prefix}_likelihood",), "bias"))  # type: ignore[union-attr]
    except RuntimeError as error:
        raise InputError(
            f"{path.name} has layers of unexpected size: it does not hold weights of SynthSeg's U-Net."
        ) from error
    card = {"name": path.stem, "network": "unet", "labels": list(labels), "features": model.features, "levels": levels,
            "licence": "see the file's source"}  # fmt: skip
    return model, card
