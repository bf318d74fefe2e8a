"""Training with lesions: labels and priors, the warm start of the new class, and both recipes end to end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.generator.labelmap import load, prepare, save
from napari_synthseg.generator.priors import Priors
from napari_synthseg.jobs import run
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.fast import LocateRecipe, class_weights
from napari_synthseg.training.lesions import TYPICAL_MM3, grown, labels_with, priors_with
from napari_synthseg.training.robust import run as robust
from napari_synthseg.training.synthseg import predicted_labels, train
from napari_synthseg.weights import DEFAULT, find, load_model
from napari_synthseg.weights import save as save_weights
from tests.generator.builders import boxes
from tests.training.robust.test_robust import tiny as tiny_robust
from tests.training.test_synthseg import tiny

OLD = (0, 2, 3, 24, 41, 42)
NEW = (*OLD, 77)
SIZES = ((4, 4, 4, 4), (4, 4, 4))


@pytest.fixture(autouse=True)
def few_heads(monkeypatch):
    monkeypatch.setattr("napari_synthseg.training.fast.POSITION_HEADS", 1)


@pytest.fixture
def maps(tmp_path):
    path = tmp_path / "maps.npz"
    save(path, [prepare(boxes(side=24), name=f"map{i}") for i in range(3)])
    return path


@pytest.fixture
def first(tmp_path):
    """Weights of a small network that knows no lesions."""
    torch.manual_seed(0)
    model = LocateRefine(anatomy.predicted_values(), *SIZES)
    sizes = {"locator_features": SIZES[0], "refiner_features": SIZES[1]}
    card = {"name": "first", "network": "locate-refine", "labels": list(model.labels), **sizes}
    save_weights(tmp_path / "first.safetensors", model.state_dict(), card)
    return tmp_path / "first.safetensors"


def trained(seed: int = 0) -> LocateRefine:
    """A network whose weights are all different from zero."""
    torch.manual_seed(seed)
    model = LocateRefine(OLD, *SIZES).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return model


def test_labels_and_priors(maps) -> None:
    assert predicted_labels(load(maps)) == anatomy.predicted_values()
    assert predicted_labels(load(maps), True) == (*anatomy.predicted_values(), 77)
    assert labels_with((0, 2, 77, 100), True) == (0, 2, 77, 100)
    assert priors_with(Priors(), False) == Priors()
    assert priors_with(Priors(), True).lesion_load_ml[1] > 0
    mine = replace(Priors(), lesion_load_ml=(3.0, 4.0))
    assert priors_with(mine, True) == mine


def test_a_grown_network_says_what_it_said_of_all_other_classes() -> None:
    old = trained()
    new = grown(old, NEW)
    assert isinstance(new, LocateRefine) and new.labels == NEW
    with torch.no_grad():
        head = torch.rand(1, 1, *old.head_shape)
        before, after = old.locate(head), new.locate(head)
        rest = after[:, :-1] / after[:, :-1].sum(1, keepdim=True)
        torch.testing.assert_close(rest, before, atol=1e-5, rtol=1e-4)
        lesion = after[:, -1]
        white = after[:, [OLD.index(2), OLD.index(41)]]
        assert (lesion > 0).all() and (lesion < white.sum(1)).float().mean() > 0.95
        assert (after.argmax(1) == before.argmax(1)).float().mean() > 0.95


def test_the_new_class_enters_a_refiner_at_its_own_places() -> None:
    old = trained()
    new, k = grown(old, NEW), len(OLD)
    own = new.refiner.prior.weight[:, [k, 2 * k + 1]]
    halves = old.refiner.prior.weight.unflatten(1, (2, k))[:, :, [OLD.index(2), OLD.index(41)]]
    torch.testing.assert_close(own, halves.mean(2))
    kept = [i for i in range(2 * k + 2) if i not in (k, 2 * k + 1)]
    assert torch.equal(new.refiner.prior.weight[:, kept], old.refiner.prior.weight)
    assert torch.equal(new.refiner.evidence, old.refiner.evidence)


def test_a_u_net_grows_too() -> None:
    torch.manual_seed(0)
    old = UNet3d(OLD, 2, 2).eval()
    new = grown(old, NEW)
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        before, after = old(image), new(image)
    torch.testing.assert_close(after[:, :-1] / after[:, :-1].sum(1, keepdim=True), before)
    assert (after[:, -1] > 0).all()


@pytest.mark.parametrize("labels", [OLD, (0, 2, 41), (0, 2, 3, 24, 41, 42, 60, 77)])
def test_nothing_grows_for_other_labels(labels) -> None:
    source = trained()
    assert grown(source, labels) is source


def test_lesions_that_no_map_holds_weigh_as_rare_as_they_are(maps) -> None:
    plain, aware = (class_weights(load(maps), labels, 0.25) for labels in ((0, 2, 24, 41), (0, 2, 24, 41, 77)))
    assert plain.tolist() == pytest.approx(aware[:-1].tolist(), rel=0.2)
    voxels = sum(int((m.index == m.values.index(2)).sum()) for m in load(maps)) / 3
    assert (aware[-1] > aware[1]).item() == (voxels > TYPICAL_MM3)
    assert aware[-1] < 5


def test_training_shows_lesions_to_the_network(maps) -> None:
    model = LocateRefine((0, 2, 24, 41, 77), *SIZES)
    priors = replace(Priors(), lesion_load_ml=(3.0, 3.0), scaling=(1.0, 1.0), lesions=0.0)
    recipe = LocateRecipe(model, load(maps), priors, seed=1, batch=1, device="cpu", validation=lambda m: {})
    record, label_map, sample = recipe.head(torch.Generator().manual_seed(0))
    share = (recipe.channels(record, label_map, sample) == 4).sum() * 8 / 3000
    assert 0.5 < share < 2


def test_train_synthseg_with_lesions_from_a_network_without(maps, first, tmp_path) -> None:
    more = tiny(maps, tmp_path / "more", steps=2, locate_share=0.5, start_from=str(first), lesions=True)
    model = load_model(run(train(replace(more, learning_rate=1e-12))))
    assert model.labels == (*anatomy.predicted_values(), 77) and "lesions True" in model.card["recipe"]
    before, after = load_model(first).state_dict(), model.state_dict()
    assert torch.allclose(after["locator.stem.weight"], before["locator.stem.weight"], atol=1e-3)
    rows = after["refiner.head.weight"].unflatten(0, (8, 34))[:, :33].flatten(0, 1)
    assert torch.allclose(rows, before["refiner.head.weight"], atol=1e-3)


def test_the_paper_s_recipe_with_lesions(maps, tmp_path) -> None:
    paper = tiny(maps, tmp_path / "run", preset="paper", steps=1, validate_every=100, name="mine", lesions=True)
    assert len(load_model(run(train(paper))).labels) == 34


def test_train_robust_with_lesions(maps, first, tmp_path) -> None:
    options = tiny_robust(maps, tmp_path / "run", start_from=str(first), lesions=True)
    model = load_model(run(robust.train(options)))
    assert model.labels[-1] == 77 and len(model.labels) == 34


@pytest.mark.slow
def test_the_shipped_network_labels_a_head_as_before_when_it_has_grown() -> None:
    if "77" in str(load_model(find(DEFAULT)).labels):
        pytest.skip("the shipped network knows lesions")
    old = load_model(DEFAULT)
    new = grown(old, labels_with(old.labels, True))
    torch.manual_seed(0)
    head = torch.nn.functional.avg_pool3d(torch.rand(1, 1, *(2 * n for n in old.head_shape)), 2)
    with torch.no_grad():
        assert (old.locate(head).argmax(1) == new.locate(head).argmax(1)).float().mean() > 0.99
