"""The tissue maps of a robust network in *Segment brain*: on the scan, named."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_synthseg import anatomy
from napari_synthseg.anatomy import TISSUE_MAPS
from napari_synthseg.volume import Volume
from napari_synthseg.widgets.segment.model import LOCKED
from tests.widgets.builders import half_labels, scan_layer, steps
from tests.widgets.segment.conftest import press


def with_tissues(coarse: bool = False):
    """Like `steps`, of a robust network: S1 says class 1 where there is a structure, D class 2."""

    def run(scan: Volume, **options):
        result = yield from steps(1)(scan, **options)
        if coarse:
            half = np.ascontiguousarray(half_labels(scan).data[::2, ::2, ::2])
            result.labels = Volume(half, scan.affine @ np.diag([2.0, 2, 2, 1]))
        inside = (result.labels.data > 0).astype(np.uint8)
        result.tissues = {name: result.labels.with_data(inside * n) for n, name in enumerate(TISSUE_MAPS, 1)}
        return result

    return run


def asking(widget, value: bool = True) -> None:
    widget.choices.options = lambda ask=widget.choices.options: {**ask(), "tissues": value}  # type: ignore[method-assign]


def maps_in(viewer) -> list[Labels]:
    return [layer for layer in viewer.layers if "tissues" in layer.name]


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("kind", ["RAS", "oblique LIA"])
def test_maps_lie_hidden_below_the_result_and_move_with_the_scan(viewer, open_widget, qtbot, kind, coarse):
    widget = open_widget(with_tissues(coarse))
    asking(widget)
    image = viewer.add_layer(scan_layer(kind))
    press(qtbot, widget)
    assert [layer.name for layer in viewer.layers] == [
        "scan", "scan tissues (S1)", "scan tissues (denoised)", "scan segmentation",
    ]  # fmt: skip
    result = viewer.layers[-1]
    assert viewer.layers.selection.active is result and widget.volumes.layer is result
    for number, layer in enumerate(maps_in(viewer), 1):
        assert not layer.visible
        np.testing.assert_array_equal(np.asarray(layer.data) == number, np.asarray(result.data) > 0)
        for name in (*LOCKED, "axis_labels"):
            assert np.array_equal(np.asarray(getattr(layer, name)), np.asarray(getattr(result, name))), name
    image.affine = np.diag([1.0, 1.5, 1, 1])
    for layer in maps_in(viewer):
        np.testing.assert_array_equal(np.asarray(layer.affine), np.asarray(image.affine))


def test_classes_have_the_names_colours_and_volumes_of_tissues(viewer, open_widget, qtbot):
    widget = open_widget(with_tissues())
    asking(widget)
    viewer.add_layer(scan_layer())
    press(qtbot, widget)
    white, grey = maps_in(viewer)
    assert list(white.features["name"]) == ["Background", "White matter", "Grey matter", "CSF", "Cerebellum"]
    assert not any(white.features["side"])
    voxels = np.count_nonzero(grey.data)
    assert float(grey.features.loc[grey.features["index"] == 2, "volume (mL)"].iloc[0]) == pytest.approx(voxels / 1000)
    np.testing.assert_allclose(255 * np.asarray(grey.get_color(2))[:3], anatomy.color(3), atol=0.5)
