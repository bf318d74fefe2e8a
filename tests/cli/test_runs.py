"""`runs`: the terminal's view of trainings."""

from __future__ import annotations

import json

import pytest

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.generator.labelmap import prepare, save
from napari_synthseg.training import runs
from napari_synthseg.training.recipes.robust import TrainRobustOptions
from napari_synthseg.training.recipes.synthseg import TrainSynthSegOptions
from napari_synthseg.training.runs.process import train_recorded
from tests.generator.builders import boxes
from tests.training.builders import small_heads


@pytest.fixture
def words(home, tmp_path, monkeypatch) -> list[str]:
    """A training of seconds, as it is typed."""
    small_heads(monkeypatch)
    save(tmp_path / "maps.npz", [prepare(boxes(side=24), name=f"map{i}") for i in range(2)])
    given = f"--label-maps {tmp_path / 'maps.npz'} --preset paper --crop 32 --features 2 --steps 3 --hold-out map1"
    return ["train", "synthseg", *given.split(), "--device", "cpu", "--name", "mine", "--out"]


def said(capsys, *command: str) -> str:
    assert cli.main(list(command)) == cli.DONE
    return capsys.readouterr().out


def test_the_life_of_a_run(words, tmp_path, capsys) -> None:
    out = tmp_path / "elsewhere" / "first"
    assert cli.main([*words, str(out)]) == cli.DONE
    assert "first" in said(capsys, "runs", "list") and "finished" in said(capsys, "runs", "list")
    shown = said(capsys, "runs", "show", "first")
    assert "3 of 3 steps" in shown and "crop 32" in shown and "mine.safetensors" in shown and "loss" in shown
    facts = json.loads(said(capsys, "runs", "show", str(out), "--json"))
    assert facts["state"] == "finished" and facts["done"] == 3 and facts["figures"]["loss"] > 0
    said(capsys, "runs", "resume", "first", "--steps", "4")
    assert runs.status(out).done == 4
    said(capsys, "runs", "export", "first", "-o", str(tmp_path / "other.safetensors"))
    assert (tmp_path / "other.safetensors").exists()
    assert "mine: " in said(capsys, "runs", "use", "first")
    assert "mine" in said(capsys, "models")
    assert "mine" in [card["name"] for card in json.loads(said(capsys, "models", "--json"))]
    twin = said(capsys, "runs", "duplicate", "first", "--seed", "7").strip()
    assert runs.read_config(runs.find_run("first-2")).options.seed == 7 and twin.endswith("first-2")
    said(capsys, "runs", "delete", "first", "--yes")
    assert not out.exists() and [run.name for run in runs.all_runs()] == ["first-2"]
    assert json.loads(said(capsys, "runs", "list", "--json"))[0]["state"] == "new"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["runs", "show", "nothing"], "no run 'nothing'"),
        (["runs", "stop"], "at least one run"),
        (["runs", "delete", "first"], "add --yes"),
        (["runs", "stop", "first"], "not running"),
        (["runs", "resume", "first", "--steps", "0"], "at least 1"),
        (["export", "nowhere", "-o", "x.safetensors"], "no run 'nowhere'"),
        (["export", "first", "-o", "mine"], ".safetensors"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words, tmp_path, capsys, command, sentence) -> None:
    runs.create("synthseg", TrainSynthSegOptions(label_maps=tmp_path / "maps.npz", out=tmp_path / "first"))
    assert cli.main(command) == cli.BAD_INPUT
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told


# Going on


def test_a_run_that_goes_on_keeps_its_options(words, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    told, weights = said(capsys, *words, str(out)), out / "mine.safetensors"
    assert f"Finished: 3 steps in all, in {out}; its weights are {weights}\n" in told
    assert f"segment SCAN -o LABELS.nii.gz --weights {weights}\n" in told
    short = ["train", "synthseg", "--resume", f"--out={out}"]
    assert "Finished: 4 steps" in said(capsys, *short, "--steps", "4", "--preset", "paper", "--threads=1")
    options = runs.read_config(out).options
    assert (options.steps, options.threads, options.crop, options.hold_out) == (4, 1, 32, ("map1",))
    kept = (out / "config.json").read_text(), (out / "events.jsonl").read_text()
    for command in (["runs", "resume", str(out)], short):
        assert cli.main([*command, "--steps", "2"]) == cli.BAD_INPUT
        assert "has done 4 steps already" in capsys.readouterr().err
        assert ((out / "config.json").read_text(), (out / "events.jsonl").read_text()) == kept


RESUMED = {
    "synthseg": {"label_maps": "maps", "steps": 7, "lesions": True, "curriculum": [0.2, 9]},
    "robust": {"label_maps": "maps", "steps_s1": 7, "plan": "paper", "denoiser_features": 3},
    "organ": {"pairs": "scans", "steps": 7, "subregions": False, "flip": True},
    "synthfm": {"steps": 7, "boxes": False, "optimizer": "adamw"},
    "learn2synth": {"label_maps": "maps", "labelled": "scans", "steps": 777, "inner": "sgd"},
    "pretrain": {"scans": "scans", "steps": 7, "network": "swin-unetr", "hold_out": ["a", "b"]},
    "finetune": {"scans": "scans", "steps": 7, "start_from": "unetr", "unlabelled": [24]},
}
"""Options of a run of each recipe, none of them the default."""


@pytest.fixture
def taken(home, monkeypatch) -> list:
    """The options of trainings that are not done, but only begun."""
    found: list = []

    def begin(entry, options):
        found.append(options)
        yield from ()
        return options.out / "mine.safetensors"

    monkeypatch.setattr(runs, "train_recorded", begin)
    monkeypatch.setattr(runs, "launch", lambda run: found.append(runs.read_config(run).options))
    return found


@pytest.mark.parametrize("recipe", runs.RECIPES)
@pytest.mark.parametrize("background", [False, True])
def test_every_recipe_goes_on_with_the_options_of_the_run(taken, tmp_path, recipe, background) -> None:
    entry, out = runs.RECIPES[recipe], tmp_path / "run"
    first = entry.read_options({**RESUMED[recipe], "out": str(out), "seed": 5})
    runs.create(recipe, first)
    words = ["train", recipe, "--resume", "--out", str(out), "--seed", "1", "--validate-every", "3"]
    assert cli.main([*words, *(["--background"] if background else [])]) == cli.DONE
    changed = {"seed": 1, "validate_every": 3, "resume": not background}
    assert to_json(taken[0]) == {**to_json(first), **changed}


def test_the_run_of_another_recipe_is_not_gone_on_with(taken, tmp_path, capsys) -> None:
    out = runs.create("synthseg", TrainSynthSegOptions(label_maps=tmp_path / "maps.npz", out=tmp_path / "first"))
    assert cli.main(["train", "synthfm", "--resume", "--out", str(out)]) == cli.BAD_INPUT
    assert "a run of `train synthseg`" in capsys.readouterr().err and not taken
    options = TrainRobustOptions(label_maps=tmp_path / "maps.npz", out=out, resume=True)
    with pytest.raises(InputError, match="run of `train synthseg`"):
        next(train_recorded(runs.RECIPES["robust"], options))
    assert runs.recipe_of(out) == "synthseg"


def test_options_that_cannot_be_used_do_not_become_the_runs_own(words, tmp_path, capsys) -> None:
    options = TrainSynthSegOptions(label_maps=tmp_path / "maps.npz", out=tmp_path / "first", steps=9)
    out = runs.create("synthseg", options)
    kept = json.loads((out / "config.json").read_text())
    wrong = ["--label-maps", str(tmp_path / "nowhere"), "--steps", "7", "--device", "cpu"]
    assert cli.main(["train", "synthseg", "--resume", "--out", str(out), *wrong]) == cli.BAD_INPUT
    assert "nowhere" in capsys.readouterr().err and json.loads((out / "config.json").read_text()) == kept
    assert runs.status(out).kind == "failed"


def test_where_there_is_no_run_yet_resume_begins_one(taken, tmp_path) -> None:
    out = ["--out", str(tmp_path / "new"), "--resume"]
    assert cli.main(["train", "synthfm", "--steps", "5", *out]) == cli.DONE and taken[0].steps == 5
    with pytest.raises(SystemExit):
        cli.main(["train", "synthseg", *out])  # of which label maps?
