"""Small Keras files with random weights, laid out as the reference implementation writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

Shapes = dict[str, tuple[int, ...]]


def norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}/{what}": (width,) for what in ("gamma", "beta", "moving_mean", "moving_variance")}


def convolution_shapes(name: str, kernel: int, inputs: int, outputs: int) -> Shapes:
    return {f"{name}/kernel": (kernel, kernel, kernel, inputs, outputs), f"{name}/bias": (outputs,)}


def unet_shapes(
    prefix: str,
    inputs: int,
    outputs: int,
    widths: Sequence[int] = (2, 4, 8),
    *,
    kernel: int = 3,
    convolutions: int = 2,
    unconnected: int = 0,
    first_norm_up: int = 0,
) -> Shapes:
    """Layers of a U-Net or denoiser."""
    shapes: Shapes = {}

    def level(name: str, norm: str, before: int, width: int) -> None:
        for i in range(convolutions):
            shapes.update(convolution_shapes(f"{name}_{i}", kernel, width if i else before, width))
        shapes.update(norm_shapes(norm, width))

    for i, width in enumerate(widths):
        level(f"{prefix}_conv_downarm_{i}", f"{prefix}_bn_down_{i}", widths[i - 1] if i else inputs, width)
    for k, i in enumerate(reversed(range(len(widths) - 1))):
        before = widths[i + 1] + (widths[i] if i >= unconnected else 0)
        level(f"{prefix}_conv_uparm_{len(widths) + k}", f"{prefix}_bn_up_{first_norm_up + k}", before, widths[i])
    return shapes | convolution_shapes(f"{prefix}_likelihood", 1, widths[0], outputs)


def robust_shapes(tissues: int = 5, labels: int = 33, widths: Sequence[int] = (2, 4, 8)) -> Shapes:
    """Layers of a robust file: three networks in a row."""
    denoiser = unet_shapes("l2l", tissues, tissues, [w // 2 for w in widths], kernel=5, unconnected=len(widths) - 2)
    return unet_shapes("unet", 1, tissues, widths) | denoiser | unet_shapes("unet2", 1 + tissues, labels, widths)


def regressor_shapes(groups: int = 9, features: int = 2, levels: int = 4) -> Shapes:
    """Layers of a quality regressor."""
    shapes: Shapes = {}
    before = groups
    for i in range(levels):
        width = features * 2**i
        shapes |= convolution_shapes(f"qc_conv_downarm_{i}_0", 5, before, width)
        shapes |= convolution_shapes(f"qc_expand_down_merge_{i}", 5, before, width)
        shapes |= convolution_shapes(f"qc_conv_downarm_{i}_1", 5, width, width)
        shapes |= norm_shapes(f"qc_bn_down_{i}", width)
        before = width
    return (
        shapes
        | convolution_shapes("qc_final_conv_0", 5, before, groups)
        | convolution_shapes("qc_final_conv_1", 5, groups, groups)
    )


def random_arrays(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays that keep the signal alive through the network."""
    rng = np.random.default_rng(seed)
    return dict(_drawn(shapes, rng))


def _drawn(shapes: Shapes, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    for name, shape in shapes.items():
        what = name.rsplit("/", 1)[1]
        if what == "kernel":
            array = rng.normal(0, 1.5 / np.sqrt(np.prod(shape[:4])), shape)
        elif what in ("gamma", "moving_variance"):
            array = rng.uniform(0.5, 1.5, shape)
        else:
            array = rng.normal(0, 0.2, shape)
        yield name, array.astype(np.float32)


def write_keras(path: Path, arrays: dict[str, np.ndarray], root: str = "") -> Path:
    """Write arrays as `<root>/<layer>/<layer>/<what>:0`."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, what = name.rsplit("/", 1)
            file.create_dataset(f"{root}/{layer}/{layer}/{what}:0", data=array)
        if root:  # a checkpoint holds the state of the optimiser as well
            file.create_dataset("optimizer_weights/unet_conv_downarm_0_0/kernel:0", data=np.zeros(3, np.float32))
    return path
