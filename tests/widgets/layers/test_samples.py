"""Sample data are layers that napari can add."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels, Layer

from benchmarks.phantom import head_phantom
from napari_synthseg.errors import InputError
from napari_synthseg.widgets.layers import reader as samples


@pytest.fixture
def small_head(monkeypatch):
    monkeypatch.setattr(samples, "bundled_label_map", lambda: head_phantom(spacing=6.0))


def test_mni152_lies_in_mni_space():
    pytest.importorskip("nilearn")
    (layer,) = [Layer.create(*data) for data in samples.mni152()]
    assert isinstance(layer, Image)
    low, high = layer.extent.world
    assert (low < -60).all()
    assert (high > 70).all()


def test_mni152_without_nilearn_says_what_to_install(monkeypatch):
    monkeypatch.setattr(samples.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        samples.mni152()


def test_the_label_map_has_names(small_head):
    (layer,) = [Layer.create(*data) for data in samples.label_map()]
    assert isinstance(layer, Labels)
    assert "Left-Cerebral-White-Matter" in list(layer.features["name"])


def test_the_bundled_label_map_is_a_whole_head():
    values = set(np.unique(samples.bundled_label_map().data[::2, ::2, ::2]))
    assert {2, 3, 41, 42, 17, 53, 16} <= values


def test_a_synthetic_head_is_an_image_with_its_labels_hidden(small_head):
    labels, image = [Layer.create(*data) for data in samples.synthetic_head(seed=3)]
    assert isinstance(image, Image)
    assert image.name == "Synthetic head 3"
    assert not labels.visible
    assert labels.data.shape == image.data.shape
    assert np.ptp(image.data) > 0
