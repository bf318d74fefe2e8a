"""`train pretrain` with tiny networks: from scans and label maps to an encoder that a network starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.presets import preset
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.jobs import run
from napari_synthseg.networks.pretraining import MaskedAutoencoder, SwinPretexts, contrastive_loss
from napari_synthseg.networks.transformers import SMALL, SwinUnetr, Unetr
from napari_synthseg.training.data.crops import (
    generated_crops,
    mixed_crops,
    scan_crops,
    standardized_steps,
    unlabelled,
)
from napari_synthseg.training.data.finetune_data import starting_network
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.engine.distributed import joined
from napari_synthseg.training.engine.events import Watch, watched
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.training.objectives.pretext import (
    MaskedPatches,
    SwinViews,
    cut_out,
    explained,
    random_holes,
    turned,
)
from napari_synthseg.training.recipe import recipes
from napari_synthseg.training.recipes.pretrain import TrainPretrainOptions
from napari_synthseg.volume import Volume
from napari_synthseg.weights.catalogue import read_card
from tests.generator.builders import boxes
from tests.inference.fakes import ball_scan
from tests.training.builders import assert_same_ends, interrupted
from tests.training.engine.test_distributed import Half

pytest.importorskip("monai")

PRETRAIN, STAGE = recipes()["pretrain"], "pretrain"

TINY = {"edge": 32, "field": 48, "spacing": 2, "hidden": 24, "mlp": 32, "heads": 2, "layers": 4, "features": 4}
TINY_SWIN = {"edge": 64, "field": 64, "spacing": 2, "features": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2],
             "window": 4}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch) -> None:
    monkeypatch.setitem(SMALL, "unetr", TINY)
    monkeypatch.setitem(SMALL, "swin-unetr", TINY_SWIN)
    monkeypatch.setattr("napari_synthseg.training.objectives.pretext.VALIDATED", 2)


@pytest.fixture
def scans(tmp_path):
    """A folder of three scans, the labels of one, and a file that is none."""
    folder = tmp_path / "scans" / "inside"
    folder.mkdir(parents=True)
    volume, labels = ball_scan()
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 10, volume.shape)
        write_volume(folder / f"s{number}_t1.nii.gz", Volume((volume.data + noise).astype(np.float32), volume.affine))
    write_labels(folder / "s0_labels.nii.gz", Volume(labels, volume.affine))
    (folder / "s9_t1.nii.gz").write_bytes(b"nothing")
    return tmp_path / "scans"


@pytest.fixture
def options(tmp_path, maps) -> TrainPretrainOptions:
    return TrainPretrainOptions(out=tmp_path / "run", label_maps=maps, size="small", steps=4, batch=2, device="cpu",
                                validate_every=2, warmup=0)  # fmt: skip


def same(g: torch.Generator) -> torch.Tensor:
    """The same crop again and again: bright below, dark above."""
    return (torch.arange(32) < 16).float()[None, None].expand(32, 32, 32).clone()


def recipe(**changes) -> MaskedPatches:
    torch.manual_seed(0)
    model = MaskedAutoencoder(Unetr(1, **TINY), 16)
    given = {"crops": same, "held_out": same, "seed": 1, "batch": 2, "device": "cpu", **changes}
    return MaskedPatches(model, **given)


def test_a_trivial_image_is_reconstructed_better_and_better() -> None:
    one = recipe()
    optimizer = torch.optim.Adam(one.model.parameters(), 1e-2)
    scores = []
    for step in range(61):
        if step % 30 == 0:
            with torch.no_grad():
                scores.append(one.validate(one.model)["score"])
        loss, figures = one.loss(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert scores[0] < scores[1] < scores[2] and scores[2] > 0.9 and figures["explained"] > 0.9


def test_a_step_depends_on_its_number_alone() -> None:
    one = recipe(ratio=0.5)
    losses = [float(one.loss(step)[0].detach()) for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


def blocks(g: torch.Generator) -> torch.Tensor:
    """Random crops."""
    return torch.nn.functional.interpolate(torch.rand(1, 1, 2, 2, 2, generator=g), scale_factor=16)[0, 0]


def test_two_processes_share_the_crops_of_a_step() -> None:
    own = {"crops": blocks, "held_out": blocks}
    losses = []
    for rank in range(2):
        with joined(Half(rank)):
            losses.append(float(recipe(**own).loss(0)[0].detach()))
    assert losses[0] != losses[1]
    assert sum(losses) == pytest.approx(float(recipe(batch=4, **own).loss(0)[0].detach()), rel=1e-5)


def test_the_picture_shows_what_is_seen() -> None:
    for normalise in (False, True):
        row = recipe(normalise=normalise).picture(0)["image"]
        given, seen = row[:32], row[32:64]
        assert row.shape == (96, 32, 32)
        assert (seen == 0.5).mean() == 0.75 and (given == same(torch.Generator()).numpy()).all()


def test_explained_is_of_the_variance() -> None:
    truth = torch.rand(1000)
    guess = explained(torch.full_like(truth, float(truth.mean())), truth)
    assert guess == {
        "score": pytest.approx(0, abs=1e-6),
        "held_out_error": pytest.approx(float(truth.var(correction=0))),
    }
    assert explained(truth, truth)["score"] == 1


def test_scans_are_standardised_once(scans, tmp_path, caplog) -> None:
    found = unlabelled(scans)
    assert [path.name for path in found] == [*(f"s{n}_t1.nii.gz" for n in range(3)), "s9_t1.nii.gz"]
    files = run(standardized_steps(found, tmp_path / "made", 32, 2))
    assert [one.name for one in files] == ["s0_t1", "s1_t1", "s2_t1"] and "s9_t1" in caplog.text
    stamp = files[0].path.stat().st_mtime_ns
    assert (
        run(standardized_steps(found, tmp_path / "made", 32, 2)) == files and files[0].path.stat().st_mtime_ns == stamp
    )
    crops = scan_crops(files, 24)
    first, again, other = (crops(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (24, 24, 24) and 0 <= float(first.min()) < float(first.max()) <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    with pytest.raises(InputError, match="None of the scans"):
        run(standardized_steps(found[3:], tmp_path / "made", 32, 2))


def test_synthetic_crops_and_mixtures(scans) -> None:
    maps = [prepare(boxes((2, 41), side=24), name="map")]
    made = generated_crops(maps, preset("synthseg"), 40, 32, 2)
    first, other = (made(torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert first.shape == (32, 32, 32) and float(first.max()) == 1 and not torch.equal(first, other)
    mixed = mixed_crops(same, made, 0.5)
    drawn = [mixed(torch.Generator().manual_seed(seed)) for seed in range(12)]
    found = sum(torch.equal(one, same(torch.Generator())) for one in drawn)
    assert 2 <= found <= 10


def test_from_scans_and_label_maps_to_an_encoder(options, scans) -> None:
    reports = []
    path = run(PRETRAIN.train(replace(options, scans=scans)), reports.append)
    card = read_card(path)
    assert card["network"] == "unetr-encoder" and card["labels"] == [] and card["steps"] in (2, 4)
    assert card["data"] == "2 scans without labels (held out: 1); synthetic scans of 2 label maps (held out: 1)"
    assert card["licence"] == "that of the scans in scans"
    assert card["recipe"] == "train pretrain, network unetr, size small, seed 1, batch 2, steps 4, warmup 0"
    figures = [r.figures for r in reports if r.stage == STAGE]
    assert len(figures) == 4 and "score" in figures[1] and "explained" in figures[0]
    assert PRETRAIN.stages(options) == {STAGE: 4}

    trained = load_checkpoint(checkpoint(options.out, STAGE, "best"))["model"]
    for source in (path, options.out):  # the run will do as well
        model, card = starting_network(str(source), "brain")
        assert isinstance(model, Unetr) and len(card["labels"]) == 2 and card["hidden"] == TINY["hidden"]
        for key, value in model.encoder.state_dict().items():
            torch.testing.assert_close(value, trained[f"encoder.{key}"], atol=1e-3, rtol=1e-3)


def test_an_estimate_standardises_a_few_scans(options, scans, monkeypatch) -> None:
    monkeypatch.setattr("napari_synthseg.training.recipes.pretrain.TRIED", 2)
    with watched(Watch(trial=1)):
        run(PRETRAIN.train(replace(options, scans=scans, label_maps=None, hold_out=("s2_t1",))))
    assert len(list((options.out / "standardised").iterdir())) == 2
    assert load_checkpoint(checkpoint(options.out, STAGE))["step"] == 1


def test_a_resumed_run_ends_at_the_same_numbers(options, tmp_path) -> None:
    whole = run(PRETRAIN.train(options))
    assert_same_ends(whole, interrupted(PRETRAIN, replace(options, out=tmp_path / "parts"), STAGE, 2), STAGE)


def test_a_swin_unetrs_encoder(options, monkeypatch) -> None:
    monkeypatch.setattr("napari_synthseg.training.objectives.pretext.VALIDATED", 1)
    path = run(PRETRAIN.train(replace(options, network="swin-unetr", steps=1, validate_every=1)))
    assert read_card(path)["network"] == "swin-unetr-encoder"
    model, _ = starting_network(str(path), "brain")
    best = load_checkpoint(checkpoint(options.out, STAGE, "best"))["model"]
    assert isinstance(model, SwinUnetr)
    for key, value in model.encoder.state_dict().items():
        torch.testing.assert_close(value, best[f"encoder.{key}"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_maps": None}, "nothing to learn from"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"network": "swin-unetr", "devices": 2}, "one device"),
        ({"network": "swin-unetr", "batch": 1}, "larger batch"),
        ({"hold_out": ("nobody",)}, "named 'nobody'"),
    ],
)
def test_refusals(options, changes, message) -> None:
    with pytest.raises(InputError, match=message):
        run(PRETRAIN.train(replace(options, **changes)))


# Swin UNETR's tasks


def ramps(g: torch.Generator) -> torch.Tensor:
    """Crops that grow brighter from left to right, at a random slope."""
    return (torch.linspace(0, 1, 64) * torch.rand((), generator=g))[:, None, None].expand(64, 64, 64)


def test_holes_have_the_share_asked_for() -> None:
    for share in (0.1, 0.3, 0.6):
        holes = random_holes((32, 32, 32), share, torch.Generator().manual_seed(3))
        assert share <= float(holes.float().mean()) < share + 0.25**3


def test_what_is_outside_the_holes_stays() -> None:
    images = torch.full((2, 1, 16, 16, 16), 2.0)
    seen, holes = cut_out(images, 0.3, torch.Generator().manual_seed(0))
    assert (seen[~holes] == 2).all() and (seen[holes] <= 1).all() and holes[0].sum() != holes[1].sum()


def test_turns_are_about_the_axis_from_feet_to_head() -> None:
    images = torch.rand(4, 1, 4, 4, 4)
    out = turned(images, torch.arange(4))
    torch.testing.assert_close(out[0], images[0])
    torch.testing.assert_close(out[1, 0, :, :, 2], torch.rot90(images[1, 0, :, :, 2]))
    torch.testing.assert_close(out[2], images[2].flip(1, 2))


def test_the_contrast_is_simclrs() -> None:
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    z = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        likeness = torch.tensor([float(z[i] @ z[j]) / 0.2 for j in others])
        total -= float(likeness.log_softmax(0)[others.index((i + 3) % 6)])
    torch.testing.assert_close(contrastive_loss(first, second, 0.2), torch.tensor(total / 6))
    assert contrastive_loss(first, first) < contrastive_loss(first, first.roll(1, 0))


def test_three_losses_move_the_encoder() -> None:
    torch.manual_seed(0)
    model = SwinPretexts(SwinUnetr(1, **TINY_SWIN))
    recipe = SwinViews(model, ramps, ramps, seed=1, batch=2, device="cpu")
    loss, figures = recipe.loss(0)
    assert float(loss.detach()) == pytest.approx(sum(figures.values()), rel=1e-5)
    assert set(figures) == {"inpainting", "rotation", "contrast"}
    loss.backward()
    assert all(one.grad is not None for one in model.parameters())
    recipe.fixed = recipe.fixed[:1]
    with torch.no_grad():
        scores = recipe.validate(model.eval())
        row = recipe.picture(3)["image"]
    assert scores["score"] < 1 and scores["rotations_told"] in (0.0, 1.0) and row.shape == (192, 64, 64)
