"""Official files against the reference implementation: posteriors of every network, and the sizes of the full ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.networks.registry import build
from napari_synthseg.weights.store import load_keras_h5
from tests import keras_files as files
from tests.shared_data import assert_agrees, golden, shared


def image_of(z: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(z["image"])[None, None]


@pytest.mark.parametrize(
    ("weights", "net"), [("v1_small_weights", "v1"), ("v1_small_model", "v1"), ("v2_small_weights", "v2")]
)
def test_unets(weights, net):
    z = golden(f"{net}_small_net.npz")
    model = load_keras_h5(shared(f"reference/golden/{weights}.h5"))
    assert model.labels == tuple(z["labels"])
    with torch.inference_mode():
        ours = model(image_of(z))[0]
        assert_agrees(ours, z, "post_raw", "argmax_raw")
        np.testing.assert_allclose(ours.flatten(1).double().mean(1), z["channel_mean_raw"], atol=1e-6)


def test_inner_tensors_of_a_unet():
    z = golden("v1_small_net.npz")
    model = load_keras_h5(shared("reference/golden/v1_small_weights.h5"))
    at = torch.from_numpy(z["voxel_idx"])
    with torch.inference_mode():
        image = image_of(z)
        skip, half = model.enter(image)
        np.testing.assert_allclose(skip[0].flatten(1)[:, at].T, z["downarm_0_1"], atol=1e-4)
        likelihood = model.leave(skip, model.deep(half))[0]
        np.testing.assert_allclose(likelihood.flatten(1)[:, at].T, z["likelihood"], atol=1e-4)


def test_the_three_networks_of_a_robust_file():
    z = golden("robust_small_net.npz")
    model = load_keras_h5(shared("reference/golden/robust_small_weights.h5"))
    with torch.inference_mode():
        for name, ours in zip(("s1", "den", "s2"), model.stages(image_of(z)), strict=True):
            assert_agrees(ours[0], z, f"{name}_post", f"{name}_argmax")
            means = ours[0].flatten(1).double().mean(1)
            np.testing.assert_allclose(means, z[f"{name}_channel_mean"], atol=1e-6)


def test_labels_of_the_parcellation():
    z = golden("v2_parc_small_net.npz")
    assert anatomy.parcel_values() == tuple(z["labels_parcellation"])
    assert load_keras_h5(shared("reference/golden/v2_parc_small_weights.h5")).labels == anatomy.parcel_values()


# Full sizes


def listed_shapes(name: str) -> files.Shapes:
    """Shapes of a listing of layers: `<layer>/<what>` to its shape."""
    text = shared(f"reference/golden/{name}").read_text()
    found = re.findall(r"^ +(?:\S+/)?([^/\s]+)/([^/\s:]+):0 +\(([\d, ]+)\)", text, re.MULTILINE)
    return {f"{layer}/{what}": tuple(int(n) for n in size.split(",") if n.strip()) for layer, what, size in found}


def numbers(model: torch.nn.Module) -> int:
    return sum(t.numel() for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("listing", "kind", "count"),
    [
        ("v1_full_weights.txt", "unet", 13_242_824),
        ("v2_full_weights.txt", "unet", 13_242_849),
        ("robust_full_weights.txt", "robust", 53_574_739),
    ],
)
def test_networks_have_as_many_numbers_as_the_published_files(listing, kind, count):
    shapes = listed_shapes(listing)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == count
    card = described(shapes)
    assert card["network"] == kind
    with torch.device("meta"):
        assert numbers(build(card)) == count


def test_parcellation_and_regressor_have_as_many_numbers_as_the_published_files():
    shapes = listed_shapes("v2_parc_qc_full_layers.txt")
    for prefix, kind in (("unet_parc_", "parcellation"), ("qc_", "quality")):
        part = {name: shape for name, shape in shapes.items() if name.startswith(prefix)}
        card = described(part)
        assert card["network"] == kind and card["features"] == 24
        with torch.device("meta"):
            assert numbers(build(card)) == sum(int(np.prod(shape)) for shape in part.values())


def described(shapes: files.Shapes) -> dict:
    """The card of a file with these layers, without writing its 200 MB."""
    from napari_synthseg.weights.keras import recognize

    class Listed:
        path = shared("reference/golden")
        names = list(shapes)

        def has(self, prefix):
            return any(name.startswith(prefix) for name in shapes)

        def shape(self, name):
            return shapes[name]

        def __contains__(self, name):
            return name in shapes

    return recognize(Listed())  # type: ignore[arg-type]
