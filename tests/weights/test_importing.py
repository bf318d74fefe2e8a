"""Official weights in this program's own format, and where weights are looked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_synthseg.cli import main
from napari_synthseg.errors import InputError
from napari_synthseg.weights import catalogue
from napari_synthseg.weights.keras import read_labels
from napari_synthseg.weights.store import import_weights, load_keras_h5, load_model
from tests import keras_files as files


def keras_file(path, shapes=None):
    return files.write_keras(path, files.random_arrays(shapes or files.unet_shapes("unet", 1, 33)))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """No weights of this machine, but a cache and a FreeSurfer of our own."""
    for name in ("cache/weights", "freesurfer/models"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.delenv("NAPARI_SYNTHSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("NAPARI_SYNTHSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path / "freesurfer"))
    return tmp_path


@pytest.mark.parametrize("kind", ["unet", "robust", "parcellation", "quality"])
def test_imported_weights_are_the_same_network(tmp_path, kind):
    shapes, channels = {
        "unet": (files.unet_shapes("unet", 1, 33), 1),
        "robust": (files.robust_shapes(), 1),
        "parcellation": (files.unet_shapes("unet_parc", 3, 69), 3),
        "quality": (files.regressor_shapes(), 9),
    }[kind]
    source = keras_file(tmp_path / "official.h5", shapes)
    path = import_weights(source, tmp_path / "mine.safetensors")
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["network"], card["name"], card["preset"], card["source"]) == (kind, "mine", "reference", "official.h5")
    first, second = load_keras_h5(source), load_model(path)
    image = torch.rand(1, channels, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(second(image), first(image), rtol=0, atol=0)
    assert second.labels == first.labels


def test_the_command_writes_where_weights_are_found_by_name(tmp_path, capsys):
    source = keras_file(tmp_path / "synthseg_2.0.h5")
    assert main(["import-weights", str(source)]) == 0
    written = tmp_path / "cache" / "weights" / "synthseg_2.0.safetensors"
    assert capsys.readouterr().out.strip() == str(written)
    assert catalogue.find("synthseg_2.0") == written
    assert main(["import-weights", str(source)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["import-weights", str(source), "--overwrite"]) == 0


def test_a_list_of_labels_comes_along(tmp_path):
    source = keras_file(tmp_path / "mine.h5", files.unet_shapes("unet", 1, 3))
    np.save(tmp_path / "labels.npy", np.array([0, 53, 17, 17]))
    (tmp_path / "labels.txt").write_text("0, 17\n53")
    assert read_labels(tmp_path / "labels.txt") == read_labels(tmp_path / "labels.npy") == (0, 17, 53)
    path = import_weights(source, tmp_path, labels=read_labels(tmp_path / "labels.npy"))
    assert load_model(path).labels == (0, 17, 53)


@pytest.mark.parametrize("text", ["", "0 1.5", "2 17", "zero one"])
def test_what_is_no_list_of_labels_is_told(tmp_path, text):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InputError, match="no list of labels"):
        read_labels(tmp_path / "labels.txt")


def test_only_safetensors_are_written(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        import_weights(keras_file(tmp_path / "a.h5"), tmp_path / "b.h5")


# Where weights are looked for


def test_freesurfers_weights_are_found_and_listed(tmp_path):
    keras_file(tmp_path / "freesurfer" / "models" / "synthseg_2.0.h5")
    keras_file(tmp_path / "freesurfer" / "models" / "synthseg_parc_2.0.h5", files.unet_shapes("unet_parc", 3, 69))
    (tmp_path / "freesurfer" / "models" / "other.h5").write_text("something else")
    assert catalogue.find("synthseg_2.0").parent.name == "models"
    assert catalogue.find("synthseg_parc_2.0").name == "synthseg_parc_2.0.h5"
    cards = {card["name"]: card for card in catalogue.available()}
    assert cards["synthseg_2.0"]["title"] == "SynthSeg 2.0"
    assert not {"synthseg_parc_2.0", "other"} & set(cards)  # they segment no scan by themselves
    helpers = {card["name"]: card["network"] for card in catalogue.available(["helper"])}
    assert helpers["synthseg_parc_2.0"] == "parcellation" and not {"synthseg_2.0", "other"} & set(helpers)


def test_robust_weights_are_ours_before_freesurfers(tmp_path, monkeypatch):
    monkeypatch.setattr(
        catalogue, "folders", lambda: [tmp_path / "freesurfer" / "models", tmp_path / "cache" / "weights"]
    )
    with pytest.raises(InputError, match="no weights of a robust network"):
        catalogue.find_robust()
    theirs = keras_file(tmp_path / "freesurfer" / "models" / "synthseg_robust_2.0.h5", files.robust_shapes())
    assert catalogue.find_robust() == theirs
    ours = import_weights(theirs, tmp_path / "cache" / "weights" / "synthseg-robust.safetensors")
    assert catalogue.find_robust() == ours
