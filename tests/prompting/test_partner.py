"""A second decoder on the same embeddings: used for the kinds of prompts that the card says, and obedient as one is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.prompting.decode import clicked_pixels
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.prompting.session import Session
from napari_synthseg.weights import catalogue, sam, store
from tests.prompting.small import SIZE, slow_decoding, small_model
from tests.prompting.test_decode import CLICKS, prompts_on

CARD = {"partner": "other", "partner_weights": {"outside": 0.3, "box": 0.5, "inside": 0.0}, "encoder sha256": "e"}
SHAPE = (40, 60)
INSIDE, OUTSIDE = ((10.0, 20.0),), ((10.0, 20.0), (30.0, 50.0))
MASK = np.ones(SHAPE, bool)


@pytest.fixture(autouse=True)
def _replaceable(monkeypatch) -> None:
    slow_decoding(monkeypatch)


class Constant(Promptable):
    """Answers everything with one logit, and counts."""

    def __init__(self, logit: float) -> None:
        super().__init__(None, SIZE)
        self.logit, self.asked = logit, 0

    def decode(self, *_) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += 1
        return torch.full((1, 4, 16, 16), self.logit), torch.full((1, 4), 0.1)


def session_with(partner: Promptable | None, monkeypatch) -> Session:
    """A small model whose card names a partner, with an image."""
    monkeypatch.setattr("napari_synthseg.prompting.session.load_partner", lambda card, device: partner)
    model = small_model()
    model.card = dict(CARD)
    session = Session(model)
    session.set_image(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    return session


@pytest.mark.parametrize(
    ("prompts", "asked"),
    [
        (Prompts(INSIDE, (True,)), 0),
        (Prompts(OUTSIDE, (True, True)), 0),
        (Prompts(OUTSIDE, (True, False)), 1),
        (Prompts(box=(5, 5, 30, 40)), 1),
        (Prompts(INSIDE, (True,), box=(5, 5, 30, 40)), 1),
        (Prompts(OUTSIDE, (True, False), mask=MASK), 0),  # the card says nothing of masks
    ],
)
def test_the_partner_is_asked_only_where_it_counts(prompts, asked, monkeypatch) -> None:
    partner = Constant(5.0)
    session = session_with(partner, monkeypatch)
    session.point_at(prompts)
    session.predict()
    assert partner.asked == asked


def test_logits_are_averaged_by_the_weight_and_the_score_is_the_models_own(monkeypatch) -> None:
    session = session_with(Constant(1.0), monkeypatch)
    own = Constant(0.0)
    for logit, expected in ((-0.9, True), (-1.1, False)):  # a box counts half
        own.logit = logit
        monkeypatch.setattr(session.model, "decode", own.decode)
        session.add_box((0, 0, 39, 59))
        answer = session.answer()
        assert answer.mask.all() == answer.mask.any() == expected
        assert answer.score == pytest.approx(0.1)


@pytest.mark.parametrize("prompts", [Prompts(OUTSIDE, (True, False)), Prompts(box=(5, 5, 30, 40))])
def test_without_its_partner_a_model_answers_as_one_that_names_none(prompts, monkeypatch) -> None:
    alone = session_with(None, monkeypatch)
    plain = Session(small_model())
    plain.set_image(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    for session in (alone, plain):
        session.point_at(prompts)
    np.testing.assert_array_equal(alone.predict(), plain.predict())


def test_a_session_can_leave_the_partner_out(monkeypatch) -> None:
    monkeypatch.setattr("napari_synthseg.prompting.session.load_partner", lambda card, device: Constant(1.0))
    assert Session(small_model()).partner is not None
    assert Session(small_model(), partner=False).partner is None


@settings(max_examples=25, deadline=None)
@given(CLICKS)
def test_every_click_is_obeyed_whatever_the_two_say(clicks) -> None:
    with pytest.MonkeyPatch.context() as patches:
        session = session_with(Constant(float(len(clicks) - 4)), patches)
        prompts = prompts_on(SHAPE, [*clicks, (0.5, 0.5, True), (0.1, 0.9, False)])
        session.point_at(prompts)
        mask = session.predict()
    for pixel, inside in clicked_pixels(prompts, SHAPE).items():
        assert mask[pixel] == inside


# Its file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only folder of weights, with a partner in it."""
    monkeypatch.setattr(catalogue, "folders", lambda: [tmp_path])
    card = {"name": "other", "network": "promptable", "encoder": "mobile", "encoder sha256": "e", "image_size": SIZE}
    store.save(tmp_path / "other.safetensors", small_model().parts().state_dict(), card)
    return tmp_path


def test_a_partner_is_found_by_its_name(folder) -> None:
    partner = sam.load_partner({**CARD, "image_size": SIZE})
    assert partner is not None and partner.card["name"] == "other" and not partner.draws_prompts
    for name, tensor in small_model().parts().state_dict().items():
        torch.testing.assert_close(partner.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [{"partner": None}, {"partner": "gone"}, {"partner_weights": {}}, {"partner_weights": {"box": 0.0}},
     {"encoder sha256": "another"}],
)  # fmt: skip
def test_a_model_answers_alone_if_its_partner_does_not_fit(folder, changes) -> None:
    assert sam.load_partner({**CARD, "image_size": SIZE, **changes}) is None


def test_a_damaged_partner_is_refused(folder) -> None:
    path = folder / "other.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        sam.load_partner({**CARD, "image_size": SIZE})


@pytest.mark.parametrize("weights", [{"box": 2}, {"box": "much"}, {"box": True}, [0.3]])
def test_weights_that_are_no_fractions_are_refused(folder, weights) -> None:
    path = folder / "other.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "partner_weights": weights}))
    with pytest.raises(InputError, match="partner_weights must be numbers from 0 to 1"):
        catalogue.read_card(path)


def test_the_shipped_partner_goes_with_the_shipped_model(tmp_path, monkeypatch) -> None:
    shipped = anatomy.resources() / "weights"
    for path in shipped.glob("mobilesam-*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(catalogue, "folders", lambda: [tmp_path])
    card = catalogue.read_card(shipped / "synthfm-mobile.safetensors")
    assert set(card["partner_weights"]) <= {"inside", "outside", "box", "mask"}
    partner = sam.load_partner({**card, "partner_weights": {"box": 0.5}})
    assert partner is not None and partner.image_size == 1024
    assert sam.load_model("mobilesam-decoder").card["licence"] == "Apache-2.0"  # whole, with the shipped encoder
