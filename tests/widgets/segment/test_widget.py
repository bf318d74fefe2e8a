"""The Segment brain widget, driven by clicks, with a stand-in for the pipeline."""

from __future__ import annotations

import threading
import time

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog

from napari_synthseg.errors import InputError
from napari_synthseg.widgets.layers.reader import read_layers
from tests.widgets.builders import AFFINES, SOON, click, labels_in, scan_layer, steps, volume


def test_without_a_scan_it_says_what_to_do(open_widget):
    widget = open_widget()
    assert not widget.run.isEnabled()
    assert "Open a scan" in widget.hint.text()


def test_a_layer_without_unit_is_taken_and_remarked_on(viewer, open_widget):
    widget = open_widget()
    viewer.add_image(np.zeros((5, 6, 7)), scale=(2, 1, 1))
    assert widget.run.isEnabled()
    assert "2 × 1 × 1 mm" in widget.hint.text()


@pytest.mark.parametrize("kind", ["RAS", "LIA", "oblique"])
def test_one_click_gives_named_labels_lying_on_the_scan(viewer, open_widget, qtbot, kind):
    widget = open_widget()
    image = viewer.add_layer(scan_layer(kind))
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: bool(labels_in(viewer)))
    (layer,) = labels_in(viewer)
    assert layer.name == "scan segmentation"
    assert layer.data.shape == image.data.shape
    for name in ("scale", "translate", "rotate", "shear", "affine"):
        assert np.array_equal(np.asarray(getattr(layer, name)), np.asarray(getattr(image, name))), name
    assert layer.units == image.units
    assert layer.axis_labels == image.axis_labels
    assert set(np.unique(layer.data)) == {0, 17, 53}
    assert "Left-Hippocampus" in list(layer.features["name"])
    assert widget.status.text().startswith("Done in")
    assert widget.run.isEnabled()


def test_saved_labels_have_the_space_units_and_notes_of_the_scan_s_file(
    viewer, open_widget, qtbot, tmp_path, monkeypatch
):
    source = nib.Nifti1Image(volume("oblique").data, None)
    source.header.set_sform(AFFINES["oblique"], code=4)  # MNI space
    source.header.set_xyzt_units("mm", "msec")
    source.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"a note"))
    nib.save(source, tmp_path / "scan.nii.gz")
    viewer.add_layer(Layer.create(*read_layers(str(tmp_path / "scan.nii.gz"))[0]))
    widget = open_widget()
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: bool(labels_in(viewer)))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(tmp_path / "labels.nii.gz"), ""))
    click(qtbot, widget.volumes.export.labels)
    qtbot.waitUntil((tmp_path / "labels.nii.gz").exists)
    saved = nib.load(tmp_path / "labels.nii.gz")
    assert [int(saved.header[name]) for name in ("sform_code", "qform_code", "intent_code")] == [4, 0, 1002]
    assert saved.header.get_xyzt_units() == ("mm", "msec")
    assert saved.header.extensions[0].get_content() == b"a note"
    assert np.array_equal(saved.affine, nib.load(tmp_path / "scan.nii.gz").affine)
    assert set(np.unique(saved.dataobj)) == {0, 17, 53}


def test_the_choices_reach_the_pipeline_in_another_thread(viewer, open_widget, qtbot):
    fake = steps()
    widget = open_widget(fake)
    viewer.add_layer(scan_layer())
    widget.device.setCurrentIndex(widget.device.findData("cpu"))
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: bool(labels_in(viewer)))
    assert fake.calls[0]["device"] == "cpu"
    assert fake.calls[0]["model"] == widget.model.values()["model"]
    assert fake.threads[0] is not threading.main_thread()


def test_cancel_ends_soon_and_adds_nothing(viewer, open_widget, qtbot):
    fake = steps(100_000, seconds=0.02)
    widget = open_widget(fake)
    viewer.add_layer(scan_layer())
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: widget.progress.value() >= 2)
    assert widget.progress.isVisible() and widget.progress.maximum() == 100_000
    assert widget.status.text().startswith("Network (") and not widget.run.isEnabled()
    before = time.monotonic()
    click(qtbot, widget.cancel)
    qtbot.waitUntil(lambda: widget.run.isEnabled())
    assert time.monotonic() - before < SOON
    assert labels_in(viewer) == []
    assert fake.ended
    assert "nothing was added" in widget.status.text()
    assert not widget.progress.isVisible()


def test_removing_the_scan_stops_the_run(viewer, open_widget, qtbot):
    widget = open_widget(steps(100_000, seconds=0.02))
    image = viewer.add_layer(scan_layer())
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: widget.progress.value() >= 1)
    viewer.layers.remove(image)
    qtbot.waitUntil(lambda: not widget.queue.busy)
    assert len(viewer.layers) == 0


def test_removing_the_result_empties_the_table(viewer, open_widget, qtbot):
    widget = open_widget()
    viewer.add_layer(scan_layer())
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: bool(labels_in(viewer)))
    viewer.layers.remove(labels_in(viewer)[0])
    assert widget.volumes.isHidden()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("The scan is constant; open another one."), "The scan is constant; open another one."),
        (RuntimeError("no kernel"), "Segmenting failed (RuntimeError: no kernel)."),
    ],
)
def test_a_failure_is_one_sentence_and_a_notification(viewer, open_widget, qtbot, monkeypatch, error, sentence):
    told = []
    monkeypatch.setattr(notification_manager, "dispatch", told.append)
    widget = open_widget(steps(error=error))
    viewer.add_layer(scan_layer())
    click(qtbot, widget.run)
    qtbot.waitUntil(lambda: bool(told))
    assert told[0].message == widget.status.text() == sentence
    assert widget.run.isEnabled()
    assert labels_in(viewer) == []
