"""Objects go into Labels layers and come back; structures of a segmentation are refined."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_synthseg.widgets.layers.labels_layer import labels_kwargs
from napari_synthseg.widgets.prompt import PromptWidget
from napari_synthseg.widgets.prompt import objects as writing
from tests.widgets.builders import scan_layer
from tests.widgets.prompt.conftest import blobs, settle
from tests.widgets.prompt.test_prompting import INSIDE_1, INSIDE_2, click, mask_of, says

FLAT = blobs((20, 24))


def labels_in(viewer: ViewerModel) -> list[Labels]:
    return [layer for layer in viewer.layers if isinstance(layer, Labels) and "Current object" not in layer.name]


def opened(viewer: ViewerModel, make, qtbot) -> PromptWidget:
    """A widget that is opened after the layers."""
    widget = PromptWidget(viewer, make)
    qtbot.addWidget(widget, before_close_func=lambda one: (one.close_down(), settle(one)))
    widget.show()
    return widget


@pytest.fixture
def pointing(viewer, widget):
    viewer.add_image(FLAT, name="scan")
    widget.point.click()
    return widget


def test_objects_go_into_one_new_layer_with_their_names(viewer, pointing):
    click(pointing, INSIDE_1)
    pointing.name.setText("left thing")
    pointing.accept.click()
    (layer,) = labels_in(viewer)
    np.testing.assert_array_equal(layer.data, FLAT == 1)
    assert len(viewer.layers) == 2  # nothing pending is left
    assert pointing.into.layer() is layer and pointing.id.value() == 2 and pointing.name.text() == ""
    click(pointing, INSIDE_2)
    pointing.accept.click()
    np.testing.assert_array_equal(layer.data, FLAT)
    assert writing.structures(layer) == {1: "left thing", 2: "Object 2"}
    assert pointing.list.rows == [[1, "left thing"], [2, "Object 2"]]
    assert viewer.layers.selection.active.name == "scan"
    pointing.list.model().setData(pointing.list.model().index(1, 1), "right thing")
    assert writing.structures(layer)[2] == "right thing"


def test_a_new_layer_lies_exactly_on_its_image(viewer, widget):
    image = viewer.add_layer(scan_layer("oblique"))
    image.rotate = 20
    widget.point.click()
    world = image.data_to_world((2, 3, 3))
    viewer.dims.point = world
    click(widget, world)
    widget.prompting.work.draft.answer(widget.prompting.work.draft.steps[0], np.ones((6, 7), bool))
    widget.accept.click()
    (layer,) = labels_in(viewer)
    for name in ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels"):
        np.testing.assert_array_equal(np.asarray(getattr(layer, name)), np.asarray(getattr(image, name)), err_msg=name)
    assert "affine" in layer.metadata["napari_synthseg"]
    image.translate = (5, 5, 5)
    np.testing.assert_array_equal(layer.translate, (5, 5, 5))


def test_an_object_goes_into_an_existing_layer_with_the_next_id(viewer, pointing):
    before = np.where(FLAT == 2, 17, 0).astype(np.uint16)
    layer = viewer.add_labels(before.copy(), **labels_kwargs([17]))
    pointing.into.set_layer(layer)
    assert pointing.into.layer() is layer
    assert pointing.id.value() == 19  # 18 is a structure of the table
    assert pointing.list.rows[0][1] == "Left-Hippocampus"
    click(pointing, INSIDE_1)
    pointing.accept.click()
    np.testing.assert_array_equal(layer.data, before + 19 * (FLAT == 1))
    assert layer.colormap.map(19)[3] == 1


def test_a_segmentation_that_is_open_is_not_written_into_unless_it_is_chosen(viewer, make, qtbot):
    before = np.where(FLAT == 1, 17, 0).astype(np.uint16)
    viewer.add_image(FLAT, name="scan")
    labels = viewer.add_labels(before.copy(), name="scan_dseg", **labels_kwargs([17]))  # and it is selected
    widget = opened(viewer, make, qtbot)
    for layer in (viewer.layers["scan"], labels):
        viewer.layers.selection.active = layer
        assert widget.into.layer() is None and widget.into.currentText() == "New layer"
    widget.point.click()
    click(widget, INSIDE_1)
    widget.accept.click()
    np.testing.assert_array_equal(labels.data, before)
    made = widget.into.layer()
    assert made is not None and made is not labels
    np.testing.assert_array_equal(made.data, FLAT == 1)
    widget.into.set_layer(labels)  # the user's own choice, which selecting another layer does not change
    viewer.layers.selection.active = viewer.layers["scan"]
    assert widget.into.layer() is labels
    viewer.layers.selection.active = made  # what was made by prompting is followed
    assert widget.into.layer() is made


def test_other_labels_are_kept_if_wished(viewer, pointing):
    layer = viewer.add_labels(np.where(np.arange(24) < 6, 5, 0) * np.ones((20, 1), int))
    pointing.into.set_layer(layer)
    pointing.options.asking.controls["keep_others"].setChecked(True)
    click(pointing, INSIDE_1)
    pointing.accept.click()
    assert (layer.data[:, :6] == 5).all() and (layer.data == 6).any()


def test_what_cannot_take_an_object_is_said(viewer, pointing):
    other = viewer.add_labels(np.zeros((20, 24), int), scale=(2, 2), name="other")
    pointing.into.set_layer(other)
    click(pointing, INSIDE_1)
    pointing.accept.click()
    says(pointing, "does not have the voxels", "new layer")
    assert pointing.prompting.begun and not other.data.any()
    small = viewer.add_labels(np.zeros((20, 24), np.uint8), name="small")
    pointing.into.set_layer(small)
    pointing.id.setValue(300)
    pointing.accept.click()
    says(pointing, "too few bits")
    pointing.undo.click()
    pointing.id.setValue(3)
    pointing.objects.accept(3, "nothing")
    says(pointing, "no object yet")


def test_undo_goes_on_in_the_layer_of_what_was_accepted(viewer, pointing):
    for number, world in enumerate((INSIDE_1, INSIDE_2), 1):
        click(pointing, world)
        pointing.name.setText(f"thing {number}")
        pointing.accept.click()
    (layer,) = labels_in(viewer)
    pointing.undo.click()
    np.testing.assert_array_equal(layer.data, FLAT == 1)
    assert pointing.list.rows == [[1, "thing 1"]] and pointing.id.value() == 2
    click(pointing, INSIDE_2)
    pointing.undo.click()  # the click
    np.testing.assert_array_equal(layer.data, FLAT == 1)
    pointing.undo.click()
    assert not layer.data.any() and pointing.list.isHidden()


def test_an_acceptance_waits_for_the_last_click(viewer, pointing):
    pointing.prompting.click(INSIDE_1, outside=False)
    pointing.prompting.click(INSIDE_2, outside=False)
    pointing.accept.click()
    click(pointing, (0.0, 0.0))  # waits too
    (layer,) = labels_in(viewer)
    np.testing.assert_array_equal(layer.data, FLAT > 0)


def test_a_structure_is_refined_and_goes_back_where_it_was(viewer, widget, make):
    volume = blobs()
    viewer.add_image(volume, name="scan")
    wrong = np.where(volume > 0, 17, 0).astype(np.uint16)  # both things are one structure
    wrong[0, 0, 0] = 53
    layer = viewer.add_labels(wrong.copy(), **labels_kwargs([17, 53]))
    widget.into.set_layer(layer)
    widget.point.click()
    viewer.dims.set_point(0, 7)
    widget.list.choose(17)
    widget.refine.click()
    assert viewer.dims.current_step[0] in range(2, 6)  # where the structure is
    assert (widget.id.value(), widget.name.text()) == (17, "Left-Hippocampus")
    np.testing.assert_array_equal(mask_of(widget), volume > 0)
    viewer.dims.set_point(0, 3)
    click(widget, (3, *INSIDE_2), outside=True)
    points, _, mask = make.log.answers[-1]
    np.testing.assert_array_equal(mask, volume[3] > 0)
    assert [positive for _, positive in points] == [False]
    widget.accept.click()
    expected = wrong.copy()
    expected[3][volume[3] == 2] = 0
    np.testing.assert_array_equal(layer.data, expected)
    widget.undo.click()
    np.testing.assert_array_equal(layer.data, wrong)


def refining(viewer, widget, labels: np.ndarray):
    """A layer of these labels whose structure 17 is being refined on slice 3."""
    viewer.add_image(blobs(), name="scan")
    layer = viewer.add_labels(labels.copy(), **labels_kwargs([17, 53]))
    widget.into.set_layer(layer)
    widget.point.click()
    viewer.dims.set_point(0, 3)
    widget.list.choose(17)
    widget.refine.click()
    return layer


def test_voxels_that_a_structure_gives_up_go_to_the_nearest_label(viewer, widget):
    volume = blobs()
    labels = np.where(volume > 0, 17, 53).astype(np.uint16)  # the neighbor is all around
    layer = refining(viewer, widget, labels)
    click(widget, (3, *INSIDE_2), outside=True)
    widget.accept.click()
    given_up = (labels == 17) & (layer.data != 17)
    assert given_up.any() and set(np.unique(layer.data[given_up])) == {53}
    widget.undo.click()
    np.testing.assert_array_equal(layer.data, labels)


@pytest.mark.parametrize("protected", [True, False])
def test_refining_takes_nothing_from_neighbors_unless_asked(viewer, widget, protected):
    volume = blobs()
    labels = np.where(volume == 1, 17, np.where(volume == 2, 53, 0)).astype(np.uint16)
    widget.options.asking.controls["protect"].setChecked(protected)
    layer = refining(viewer, widget, labels)
    click(widget, (3, *INSIDE_2))  # inside the neighbor
    widget.accept.click()
    assert bool((layer.data[labels == 53] == 17).any()) is not protected


def test_refining_is_refused_in_a_sentence(viewer, pointing):
    layer = viewer.add_labels(np.ones((20, 24), int), scale=(3, 3))
    pointing.into.set_layer(layer)
    pointing.objects.refine(1)
    says(pointing, "does not have the voxels")
    viewer.layers.remove(layer)
    pointing.into.set_layer(viewer.add_labels((FLAT == 1).astype(int)))
    pointing.objects.refine(9)
    says(pointing, "No voxel has this label")
    click(pointing, INSIDE_2)
    pointing.objects.refine(1)
    says(pointing, "Accept or discard")


def test_a_deleted_target_is_forgotten(viewer, pointing):
    click(pointing, INSIDE_1)
    pointing.accept.click()
    viewer.layers.remove(labels_in(viewer)[0])
    assert pointing.into.layer() is None and pointing.list.isHidden() and not pointing.undo.isEnabled()
    click(pointing, INSIDE_2)
    pointing.accept.click()
    np.testing.assert_array_equal(labels_in(viewer)[0].data, FLAT == 2)
