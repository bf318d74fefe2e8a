"""What the page *New run* asks for, and what becomes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_synthseg.anatomy import resources
from napari_synthseg.errors import InputError
from napari_synthseg.io import read_labels, read_volume
from napari_synthseg.jobs import run
from napari_synthseg.training.runs import RECIPES
from napari_synthseg.volume import to_canonical
from napari_synthseg.widgets.layers.geometry import volume_to_layer
from napari_synthseg.widgets.train import new_run_model as presets
from napari_synthseg.widgets.train.new_run import NewRunPage
from napari_synthseg.widgets.train.new_run_model import make_run
from napari_synthseg.widgets.train.recipe_form import LAYERS
from tests.widgets.builders import half_labels, scan_layer, volume


@pytest.fixture
def page(qtbot, viewer):
    page = NewRunPage(viewer, RECIPES)
    qtbot.addWidget(page)
    return page


def labels_layer(kind: str = "LIA", name: str = "truth") -> Labels:
    array, kwargs = volume_to_layer(half_labels(volume(kind)))
    return Labels(array, name=name, **kwargs)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_has_a_form(page, recipe):
    page.recipe.setCurrentIndex(page.recipe.findData(recipe))
    form = page.form
    shown = {*form.form.controls, *form.data}
    assert {"seed", "name", "device"} <= set(form.form.controls)
    assert "out" not in shown and "resume" not in shown
    assert form.form.differences() == {}
    assert page.summary.text() == RECIPES[recipe].summary
    assert page.start.isEnabled() == (page.hint.text() == "")


def test_a_run_has_another_name_than_the_weights_that_are_shipped(page):
    names = {}
    for recipe in RECIPES:
        page.recipe.setCurrentIndex(page.recipe.findData(recipe))
        names[recipe] = page.form.form.values()["name"]
        assert not (resources() / "weights" / f"{names[recipe]}.safetensors").exists()
    assert names["synthseg"] == "my-synthseg-fast" and names["robust"] == "robust"
    page.recipe.setCurrentIndex(page.recipe.findData("synthseg"))
    page.form.form.rows["name"].set_value("other")
    page.form.form.reset.click()
    assert page.form.form.values()["name"] == "my-synthseg-fast"


def test_bad_options_are_told_in_one_sentence_and_stay(page):
    page.form.form.rows["locate_fraction"].set_value(1.5)
    assert not page.start.isEnabled() and not page.estimate.button.isEnabled()
    assert "locate_fraction" in page.hint.text() and page.hint.text().count(".") <= 3
    assert page.form.form.rows["locate_fraction"].value() == 1.5
    with pytest.raises(InputError):
        page.request()
    page.form.form.rows["locate_fraction"].set_value(0.4)
    assert page.start.isEnabled() and page.hint.text() == ""


def test_selected_layers_become_files_in_the_folder_of_the_run(page, viewer):
    page.form.data["label_maps"].choose(LAYERS)
    assert "no 3D Labels layer" in page.hint.text() and not page.start.isEnabled()
    first = viewer.add_layer(labels_layer(name="first map"))
    viewer.add_layer(labels_layer("RAS", name="second map"))
    viewer.layers.selection = set()
    assert page.start.isEnabled() and len(page.form.data["label_maps"].layers()) == 2
    viewer.layers.selection = {first}
    path = run(make_run(page.request()))
    folder = path / "data" / "label_maps"
    assert [one.name for one in sorted(folder.glob("*.nii.gz"))] == ["first_map.nii.gz"]
    read, wanted = read_labels(folder / "first_map.nii.gz"), half_labels(volume("LIA"))
    assert np.array_equal(to_canonical(read).data, to_canonical(wanted).data)
    assert np.allclose(to_canonical(read).affine, to_canonical(wanted).affine)
    config = json.loads((path / "config.json").read_text())
    assert config["options"]["label_maps"] == str(folder) and config["recipe"] == "synthseg"


def test_scans_go_with_the_labels_on_their_grid(page, viewer):
    viewer.add_layer(scan_layer("LIA", name="sub_1"))
    viewer.add_layer(Image(np.zeros((4, 4, 4)), name="other"))
    viewer.add_layer(labels_layer(name="truth"))
    page.form.data["validation"].choose(LAYERS)
    path = run(make_run(page.request()))
    names = sorted(one.name for one in (path / "data" / "validation").glob("*.nii.gz"))
    assert names == ["sub-1_labels.nii.gz", "sub-1_t1.nii.gz"]
    assert read_volume(path / "data" / "validation" / "sub-1_t1.nii.gz").data.std() > 0


def test_nothing_stays_of_a_run_that_cannot_be_made(page, maps, home, monkeypatch):
    page.form.data["label_maps"].choose(maps)
    request = page.request()
    maps_gone = maps.with_suffix(".gone")
    maps.rename(maps_gone)
    try:
        with pytest.raises(InputError, match=r"maps\.npz does not exist"):
            run(make_run(request))
    finally:
        maps_gone.rename(maps)
    assert not list((home / "runs").glob("*")) if (home / "runs").exists() else True


def test_a_duplicate_takes_the_data_of_the_first_along(page, viewer):
    viewer.add_layer(labels_layer())
    page.form.data["label_maps"].choose(LAYERS)
    first = run(make_run(page.request()))
    page.fill("synthseg", {"label_maps": first / "data" / "label_maps", "steps": 7, "seed": 5})
    assert page.form.form.values()["steps"] == 7
    second = run(make_run(page.request()))
    assert second != first and (second / "data" / "label_maps" / "truth.nii.gz").is_file()


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_presets_are_options_that_the_recipe_takes(page, recipe, tmp_path):
    options = RECIPES[recipe].options
    page.recipe.setCurrentIndex(page.recipe.findData(recipe))
    assert {presets.TRY, presets.STANDARD} <= set(presets.presets(options))
    page.form.preset_buttons[presets.TRY].click()
    assert page.form.preset_buttons[presets.TRY].isChecked()
    changed = page.form.form.differences()
    assert sum(changed[name] for name in presets.step_fields(options)) <= presets.TRY_STEPS
    page.form.preset_buttons[presets.STANDARD].click()
    assert page.form.form.differences() == presets.presets(options)[presets.STANDARD]


def test_the_preset_that_the_options_are_is_marked(page):
    buttons = page.form.preset_buttons
    assert [name for name, one in buttons.items() if one.isChecked()] == [presets.STANDARD]
    page.form.form.rows["preset"].set_value("paper")
    page.form.form.rows["seed"].set_value(3)  # belongs to no preset
    assert [name for name, one in buttons.items() if one.isChecked()] == [presets.PAPER]
