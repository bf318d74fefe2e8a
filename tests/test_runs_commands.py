"""`runs`: the terminal's view of trainings."""

from __future__ import annotations

import json

import pytest

from napari_synthseg import cli
from napari_synthseg.synthesis.labelmap import prepare, save
from napari_synthseg.training import runs
from tests.synthesis.builders import boxes


@pytest.fixture
def words(tmp_path, monkeypatch) -> list[str]:
    """A training of seconds, as it is typed."""
    monkeypatch.setenv("NAPARI_SYNTHSEG_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_SYNTHSEG_RUNS", raising=False)
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
    assert runs.state(out).done == 4
    said(capsys, "runs", "export", "first", "-o", str(tmp_path / "other.safetensors"))
    assert (tmp_path / "other.safetensors").exists()
    assert "mine: " in said(capsys, "runs", "use", "first")
    assert "mine" in said(capsys, "models")
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
        (["runs", "stop", "first"], "not going"),
        (["runs", "resume", "first", "--steps", "0"], "above 0"),
        (["export", "nowhere", "-o", "x.safetensors"], "no training run"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words, tmp_path, capsys, command, sentence) -> None:
    from napari_synthseg.training.options.synthseg import TrainSynthSegOptions

    runs.create("synthseg", TrainSynthSegOptions(tmp_path / "maps.npz", tmp_path / "first"))
    assert cli.main(command) == cli.BAD_INPUT
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told


def test_a_folder_that_holds_a_run_is_not_started_over(words, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert cli.main([*words, str(out)]) == cli.DONE
    before = (out / "events.jsonl").read_text()
    assert cli.main([*words, str(out)]) == cli.BAD_INPUT
    assert "--resume" in capsys.readouterr().err and (out / "events.jsonl").read_text() == before
