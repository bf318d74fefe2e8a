"""`train synthfm` from an encoder to weights that a session can use: runs, resuming, exporting, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.prompting import Session
from napari_synthseg.training.data.scenes import PromptValidation
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.synthfm import STAGE, TrainSynthFMOptions, untrained
from napari_synthseg.weights import catalogue, store
from napari_synthseg.weights.sam import encoder_file, load_model
from tests.prompting.small import SIZE, promptable_weights
from tests.training.builders import assert_same_ends, events, interrupted

RECIPE = recipes()["synthfm"]
train = RECIPE.train


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, few_heads) -> Path:
    """Weights of a small promptable model with an encoder of its own."""
    few_heads.setattr("napari_synthseg.networks.promptable.Promptable.__init__.__defaults__", ("mobile", SIZE, False))
    few_heads.setattr(PromptValidation.__init__, "__defaults__", (1, 1, True, False))
    return promptable_weights(tmp_path_factory.mktemp("encoder") / "small.safetensors")


def options(encoder: Path, out: Path, **given) -> TrainSynthFMOptions:
    given = {"steps": 4, "batch": 2, "pool": 2, "validate_every": 2, "device": "cpu", **given}
    return TrainSynthFMOptions(out=out, encoder=str(encoder), **given)


@pytest.fixture(scope="module")
def first(encoder, tmp_path_factory) -> Path:
    """Weights of a finished run."""
    return run(train(options(encoder, tmp_path_factory.mktemp("synthfm") / "run")))


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_run_ends_with_weights_that_answer_clicks(first, encoder, tmp_path, preset) -> None:
    path = first if preset == "fast" else run(train(options(encoder, tmp_path / "run", preset=preset)))
    session = Session(path)
    session.set_image(np.random.default_rng(0).random((40, 60)))
    session.add_point((20, 30))
    assert session.predict().shape == (40, 60)
    assert session.model.card["steps"] == 4
    assert "synthetic scenes only" in session.model.card["data"]
    assert [line["step"] for line in events(path.parent) if "score" in line] == [2, 4]


def test_the_encoder_is_the_one_given_and_the_decoder_is_new(first, encoder) -> None:
    before, after = load_model(encoder), load_model(first)
    torch.testing.assert_close(before.image_encoder.state_dict(), after.image_encoder.state_dict())
    assert not torch.equal(before.mask_decoder.mask_tokens.weight, after.mask_decoder.mask_tokens.weight)


def test_a_stopped_run_resumes_to_the_same_numbers(first, encoder, tmp_path) -> None:
    assert_same_ends(first, interrupted(RECIPE, options(encoder, tmp_path / "two"), STAGE, 2), STAGE)


def test_training_can_start_from_trained_weights(first, encoder, tmp_path) -> None:
    start = untrained(options(encoder, tmp_path, start_from=str(first)))
    torch.testing.assert_close(start.mask_decoder.state_dict(), load_model(first).mask_decoder.state_dict())


def test_a_run_from_sams_own_decoder_stays_close_to_it(encoder, tmp_path) -> None:
    of_sam = {"name": "sam-decoder", "source": {"url": "sam.pt"}}
    promptable_weights(tmp_path / "sam.safetensors", load_model(encoder), **of_sam)
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
    again = replace(given, start_from=str(tmp_path / "run 10000.0" / "synthfm.safetensors"))
    facts = RECIPE.card(again, untrained(again))  # a second generation knows where its decoder comes from
    assert facts["decoder from"] == "sam-decoder" and "starts from sam-decoder" in facts["data"]


def test_an_encoder_that_learns_is_exported_with_its_decoder(first, encoder, tmp_path) -> None:
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
    with pytest.raises(InputError, match=message):
        run(train(replace(options(encoder, tmp_path / "run"), **given)))
    assert not (tmp_path / "run").exists()


def test_scores_of_a_card_are_means_over_datasets_and_settings() -> None:
    def row(dataset: str, n_pos: int, dsc: float, modality: str = "MR") -> dict:
        return {"modality": modality, "dataset": dataset, "prompt": "points", "n_pos": n_pos, "n_neg": 0, "dsc": dsc}

    rows = [row("a", 1, 0.2), row("a", 1, 0.4), row("a", 3, 0.6), row("b", 1, 0.9), row("c", 1, 0.5, "US")]
    assert RECIPE.mean_scores(rows) == {"MR": 0.6, "US": 0.5}
