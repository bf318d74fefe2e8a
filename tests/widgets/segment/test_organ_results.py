"""Results of networks of other organs: their own names and colours, no sides, no intracranial volume."""

from __future__ import annotations

import math

import numpy as np

from napari_synthseg.inference.state import Segmentation
from napari_synthseg.io import LabelName
from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.layers.labels_layer import pairs_of, recounted, rows_of, volumes_table
from napari_synthseg.widgets.segment.model import SegmentedLayer, outcome_to_layer
from napari_synthseg.widgets.segment.probabilities import structure_name
from tests.widgets.builders import scan_layer

NAMES = {2: LabelName("left kidney", (10, 20, 30)), 41: LabelName("tumour"), 900: LabelName("stone")}


def result_layer():
    image = scan_layer()
    array = np.zeros(image.data.shape, np.uint16)
    array[0, 0, :3] = (2, 41, 900)
    volumes = {2: 1000.0, 41: 500.0, 900: 10.0}
    labels = Volume(array.transpose(2, 1, 0), np.eye(4))
    found = Segmentation(labels, volumes, math.nan, (), None, {}, {2: 0.9, 41: 0.8, 900: 0.3}, names=NAMES)
    return outcome_to_layer(SegmentedLayer(found, array, True), image)


def test_names_and_colours_are_the_card_s():
    layer = result_layer()
    named = dict(zip(layer.features["index"], layer.features["name"], strict=True))
    assert named == {0: "Background", 2: "left kidney", 41: "tumour", 900: "stone"}
    assert set(layer.features["side"]) == {""}
    assert [round(255 * float(c)) for c in layer.get_color(2)[:3]] == [10, 20, 30]
    assert layer.metadata[METADATA_KEY]["intracranial_mm3"] is None
    assert structure_name(41, layer) == "tumour" and structure_name(41) == "Right-Cerebral-White-Matter"


def test_the_table_of_volumes_pairs_nothing():
    rows = rows_of(result_layer().features)
    assert pairs_of(rows) == []
    assert volumes_table(rows, "organ")[0] == ("scan", "intracranial", "left kidney", "tumour", "stone")
    assert volumes_table(rows, "organ")[1][:2] == ("organ", "")


def test_edits_leave_the_names():
    layer = result_layer()
    new = recounted(layer.features, {2: 900.0, 41: 600.0}, [2, 41])
    assert list(new["name"]) == ["Background", "left kidney", "tumour", "stone"] and set(new["side"]) == {""}
