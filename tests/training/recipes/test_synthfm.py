"""`train synthfm` from an encoder to weights that a session can use: runs, resuming, exporting, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.prompting import Session
from napari_synthseg.training.data.scenes import PromptValidation
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.synthfm import STAGE, TrainSynthFMOptions, untrained
from napari_synthseg.weights import catalogue, store
from napari_synthseg.weights.sam import encoder_file, load_model

SIZE = 64
RECIPE = recipes()["synthfm"]
train, export, mean_scores = RECIPE.train, RECIPE.export, RECIPE.mean_scores


@pytest.fixture
def encoder(tmp_path, monkeypatch) -> Path:
    """Weights of a small promptable model with an encoder of its own."""
    monkeypatch.setattr("napari_synthseg.networks.promptable.Promptable.__init__.__defaults__", ("mobile", SIZE, False))
    monkeypatch.setattr(PromptValidation.__init__, "__defaults__", (1, 1, True, False))
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    card = {"name": "small", "network": "promptable", "encoder": "mobile", "image_size": SIZE}
    store.save(path, Promptable("mobile", SIZE).state_dict(), card)
    return path


def options(encoder: Path, out: Path, **given) -> TrainSynthFMOptions:
    given = {"steps": 4, "batch": 2, "pool": 2, "validate_every": 2, "device": "cpu", **given}
    return TrainSynthFMOptions(out=out, encoder=str(encoder), **given)


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_run_ends_with_weights_that_answer_clicks(encoder, tmp_path, preset) -> None:
    path = run(train(options(encoder, tmp_path / "run", preset=preset)))
    session = Session(path)
    session.set_image(np.random.default_rng(0).random((40, 60)))
    session.add_point((20, 30))
    assert session.predict().shape == (40, 60)
    assert session.model.card["steps"] == 4
    assert "synthetic scenes only" in session.model.card["data"]
    lines = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "score" in line] == [2, 4]


def test_the_encoder_is_the_one_given_and_the_decoder_is_new(encoder, tmp_path) -> None:
    before, after = load_model(encoder), load_model(run(train(options(encoder, tmp_path / "run"))))
    torch.testing.assert_close(before.image_encoder.state_dict(), after.image_encoder.state_dict())
    assert not torch.equal(before.mask_decoder.mask_tokens.weight, after.mask_decoder.mask_tokens.weight)


def test_a_stopped_run_goes_on_to_the_same_numbers(encoder, tmp_path) -> None:
    whole = load_checkpoint_of(run(train(options(encoder, tmp_path / "whole"))).parent)
    steps: list[int] = []
    with pytest.raises(Stopped):
        run(train(options(encoder, tmp_path / "two")), lambda p: steps.append(p.done), lambda: 2 in steps)
    two = load_checkpoint_of(run(train(options(encoder, tmp_path / "two", resume=True))).parent)
    assert two["step"] == whole["step"] == 4
    for name, tensor in whole["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, msg=name)


def load_checkpoint_of(folder: Path) -> dict:
    return load_checkpoint(checkpoint(folder, STAGE))


def test_training_can_start_from_trained_weights(encoder, tmp_path) -> None:
    first = run(train(options(encoder, tmp_path / "first")))
    second = TrainSynthFMOptions(out=tmp_path / "second", encoder=str(encoder), start_from=str(first), device="cpu")
    start, trained = untrained(second), load_model(first)
    torch.testing.assert_close(start.mask_decoder.state_dict(), trained.mask_decoder.state_dict())


def test_a_run_from_sams_own_decoder_stays_close_to_it_and_names_its_partner(encoder, tmp_path, monkeypatch) -> None:
    card = {"name": "sam-decoder", "network": "promptable", "encoder": "mobile", "image_size": SIZE, "source": {}}
    store.save(tmp_path / "sam.safetensors", load_model(encoder).state_dict(), {**card, "source": {"url": "sam.pt"}})
    given = options(encoder, tmp_path / "run", start_from=str(tmp_path / "sam.safetensors"), learning_rate=1e-2)
    moved = {}
    for stay_close in (0.0, 1e4):
        chosen = replace(given, out=tmp_path / f"run {stay_close}", stay_close=stay_close, optimizer="adamw", steps=8)
        trained = load_model(run(train(chosen)))
        start = load_model(encoder).parts().parameters()
        moved[stay_close] = sum(
            float((a - b).square().sum()) for a, b in zip(trained.parts().parameters(), start, strict=True)
        )
        assert not trained.draws_prompts and "starts from" in trained.card["data"]
    assert moved[1e4] < 0.7 * moved[0.0]
    (stage,) = RECIPE.build(given, untrained(given), torch.device("cpu"))
    assert stage.objective.stay_close == 10 and stage.objective.box_share == 0.5
    model = untrained(given)
    monkeypatch.setattr("napari_synthseg.weights.sam.frozen_source", lambda model: "mobilesam")
    assert RECIPE.card(given, model)["partner"] == "mobilesam-decoder"


def test_an_encoder_that_learns_is_exported_with_its_decoder(encoder, tmp_path) -> None:
    first = run(train(options(encoder, tmp_path / "first")))
    tuned = options(encoder, tmp_path / "tuned", start_from=str(first), train_encoder=True, learning_rate=0.1)
    model = load_model(run(train(tuned)))
    before = load_model(encoder).image_encoder.state_dict()["neck.0.weight"]
    assert not torch.equal(model.image_encoder.state_dict()["neck.0.weight"], before)


def test_the_encoder_of_a_checkpoint_is_kept_apart(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    model = Promptable("mobile", SIZE)
    from safetensors.torch import save_file

    whole = {k: v.half().contiguous() for k, v in model.image_encoder.state_dict().items()}
    save_file(whole, tmp_path / encoder_file("mobilesam"))
    card = {
        "name": "mine",
        "network": "promptable",
        "encoder": "mobile",
        "image_size": SIZE,
        "encoder weights": "mobilesam",
        "encoder sha256": catalogue.sha256(tmp_path / encoder_file("mobilesam")),
    }
    store.save(tmp_path / "mine.safetensors", model.parts().state_dict(), card)
    loaded = load_model("mine")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=1e-3, msg=name)
    (tmp_path / encoder_file("mobilesam")).write_bytes(b"damaged")
    with pytest.raises(InputError, match="mobilesam-encoder.safetensors is damaged"):
        load_model("mine")


def test_a_run_is_not_written_over(encoder, tmp_path) -> None:
    run(train(options(encoder, tmp_path / "run", steps=1)))
    with pytest.raises(InputError, match="contains a run already"):
        run(train(options(encoder, tmp_path / "run", steps=1)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scenes": "cats"}, "no preset 'cats'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"workers": -1}, "workers must be at least 0"),
        ({"decay_fraction": 2.0}, "decay_fraction must lie between 0 and 1"),
        ({"encoder": "nothing.pt"}, "does not exist"),
    ],
)
def test_options_out_of_range_are_refused_in_a_sentence(encoder, tmp_path, given, message) -> None:
    chosen = {"out": tmp_path / "run", "encoder": str(encoder), "device": "cpu", **given}
    with pytest.raises(InputError, match=message):
        run(train(TrainSynthFMOptions(**chosen)))
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run_cannot_be_exported(tmp_path) -> None:
    with pytest.raises(InputError, match="not a `train synthfm` run"):
        export(tmp_path, tmp_path / "x.safetensors")


def test_scores_of_a_card_are_means_over_datasets_and_settings() -> None:
    def row(dataset: str, n_pos: int, dsc: float, modality: str = "MR") -> dict:
        return {"modality": modality, "dataset": dataset, "prompt": "points", "n_pos": n_pos, "n_neg": 0, "dsc": dsc}

    rows = [row("a", 1, 0.2), row("a", 1, 0.4), row("a", 3, 0.6), row("b", 1, 0.9), row("c", 1, 0.5, "US")]
    assert mean_scores(rows) == {"MR": 0.6, "US": 0.5}
