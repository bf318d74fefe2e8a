"""What all recipes have from their base: a registry, options of earlier versions, cards that say how far a run came."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.jobs import run
from napari_synthseg.training.recipe import progress_facts, recipe
from napari_synthseg.weights.catalogue import read_card
from tests.training.builders import LineOptions, LineRecipe


def options(tmp_path, **changes) -> LineOptions:
    return LineOptions(out=tmp_path / "run", device="cpu", validate_every=2, **changes)


def stopped(job, at: int) -> None:
    while next(job).done < at:
        pass
    job.close()


def test_all_recipes_are_found_without_torch() -> None:
    code = "import sys; from napari_synthseg.training import runs; print('torch' in sys.modules, *runs.RECIPES)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == "False" and found[1] == "synthseg" and {"robust", "learn2synth", "synthfm"} <= set(found)
    with pytest.raises(InputError, match="no recipe 'cats'"):
        recipe("cats")


def test_a_finished_run_becomes_weights_with_a_card(tmp_path) -> None:
    path = run(LineRecipe().train(options(tmp_path, name="mine")))
    card = read_card(path)
    assert path.name == "mine.safetensors" and card["name"] == "mine"
    assert card["steps"] == 4 and card["score"] == 0.25 and "stopped early" not in card
    assert card["recipe"] == "train line, seed 1" and card["licence"] == "Apache-2.0"


def test_weights_of_a_stopped_run_say_so(tmp_path) -> None:
    stopped(LineRecipe().train(options(tmp_path, steps=60)), 34)
    card = read_card(LineRecipe().export(tmp_path / "run", tmp_path / "x.safetensors"))
    assert card["steps"] == 34 and card["stopped early"] == "after 34 of 60 steps" and card["score"] == 0.25
    assert card["summary"] == "a line, stopped after 34 of 60 steps, Dice 0.25"


def test_a_run_is_neither_overwritten_nor_taken_for_another(tmp_path) -> None:
    run(LineRecipe().train(options(tmp_path)))
    with pytest.raises(InputError, match="contains a run already. Add --resume"):
        run(LineRecipe().train(options(tmp_path)))
    with pytest.raises(InputError, match="not a `train synthseg` run"):
        recipe("synthseg").export(tmp_path / "run", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="must end in"):
        LineRecipe().export(tmp_path / "run", tmp_path / "x.pt")
    with pytest.raises(InputError, match="recipe line have no confident score"):
        LineRecipe().export(tmp_path / "run", tmp_path / "x.safetensors", confident_score=0.3)


def test_a_card_names_what_differs_from_the_defaults_and_no_folder(tmp_path) -> None:
    changed = options(tmp_path, steps=9, start_from="/somewhere/old.safetensors", scans=tmp_path, threads=2)
    assert LineRecipe().words(changed) == "train line, seed 1, start_from old, steps 9"


def test_options_of_earlier_versions_are_read_by_their_old_names(tmp_path) -> None:
    now = {name: value for name, value in to_json(options(tmp_path)).items() if name not in ("steps", "decay_fraction")}
    old = LineRecipe().read_options({**now, "rounds": 7, "cooldown": 0.5})
    assert old == replace(options(tmp_path), steps=7, decay_fraction=0.5)


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("synthseg", {"locate_share": 0.3, "cooldown": 0.2, "prior_blur": 0.1, "label_maps": "maps.npz"}),
        ("robust", {"refine_share": 0.2, "cooldown": 0.2, "start_from": "none", "label_maps": "maps.npz"}),
        ("learn2synth", {"teach_from": 7, "priors": "synthseg", "label_maps": "maps.npz", "labelled": "scans"}),
        ("synthfm", {"cooldown": 0.1, "encoder": "default"}),
    ],
)
def test_runs_of_before_are_still_read(name, old, tmp_path) -> None:
    found = recipe(name).read_options({**old, "out": str(tmp_path), "seed": 3, "device": "cpu"})
    assert found.seed == 3 and recipe(name).stages(found)
    assert to_json(found).keys().isdisjoint({"cooldown", "locate_share", "refine_share", "teach_from", "prior_blur"})


def test_steps_of_several_stages_are_told_apart() -> None:
    states = {"a": {"step": 5, "steps": 5}, "b": {"step": 2, "steps": 10, "score": 0.5, "best": 0.75}}
    facts = progress_facts(states, best=False)
    assert facts == {"steps": {"a": 5, "b": 2}, "stopped early": "after 7 of 15 steps", "score": 0.5}
    assert progress_facts(states, best=True) == {"steps": {"a": 5, "b": 2}, "score": 0.75}
    assert "score" not in progress_facts({"b": {"step": 2, "steps": 2, "best": float("-inf")}}, best=True)
