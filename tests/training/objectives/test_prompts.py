"""SynthFM's recipes: windows are exact, a pool of scenes is the same again, decoders learn, encoders do not."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.generator.presets import shape_preset
from napari_synthseg.networks.promptable import FrozenEncoder, Promptable, quicken
from napari_synthseg.training.data.scenes import EncodedScenes, PromptValidation
from napari_synthseg.training.objectives.prompts import (
    PaperPrompts,
    PromptObjective,
    dice_loss,
    focal_loss,
    look_where_pointed,
)
from tests.prompting.small import SIZE, small_model

CPU = torch.device("cpu")


def small_scenes(model: Promptable, seed: int = 1) -> EncodedScenes:
    return EncodedScenes(FrozenEncoder(model), shape_preset("both").with_values(acquired_px=(64, 64)), seed, CPU)


def small_recipe(kind=PromptObjective, seed: int = 1, **options):
    model = small_model()
    return kind(model, small_scenes(model).pool(3), seed=seed, batch=4, device=CPU, validation=lambda _: {}, **options)


def with_norms(model: Promptable) -> Promptable:
    """Norms that do something when they are folded."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return model


def test_the_frozen_encoder_says_nearly_what_the_encoder_says() -> None:
    model = with_norms(small_model())
    image = torch.rand(1, SIZE, SIZE // 2)
    exact = model.encode(image[:, None].expand(-1, 3, -1, -1) * 255)
    fast = FrozenEncoder(model)(image).float()
    assert fast.shape == exact.shape
    assert (fast - exact).std() < 0.05 * exact.std()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_quickened_model_says_what_it_said(layout) -> None:
    model = with_norms(small_model().eval())
    image = (torch.rand(1, 3, SIZE, SIZE // 2) * 255).contiguous(memory_format=layout)
    with torch.no_grad():
        before = model.encode(image)
        quicken(model)
        after = model.encode(image)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.image_encoder.modules())
    torch.testing.assert_close(after, before, atol=1e-4 * float(before.std()), rtol=1e-4)


@pytest.mark.parametrize("lr_scale", [0.0, 0.01])
def test_a_processor_without_bfloat16_trains_in_float32(lr_scale, monkeypatch) -> None:
    monkeypatch.setattr("napari_synthseg.devices.quick_in_bfloat16", lambda device: False)
    seen = []
    recipe = small_recipe(encoder_lr_scale=lr_scale)
    for module in recipe.model.modules():
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    recipe.loss(0)[0].backward()
    kinds = {one.dtype for one in seen if isinstance(one, torch.Tensor)}
    assert kinds == {torch.float32}
    assert recipe.pool.at(0)[0].embedding.dtype == torch.float32


def test_a_pool_holds_the_newest_scenes_and_is_the_same_after_a_jump() -> None:
    scenes = small_scenes(small_model())
    walked, jumped = scenes.pool(2, 2), scenes.pool(2, 2)
    counts = [len(walked.at(step)) for step in range(6)]
    assert counts == [1, 1, 2, 2, 2, 2]
    for a, b in zip(walked.at(5), jumped.at(5), strict=True):
        assert torch.equal(a.embedding, b.embedding)
        assert torch.equal(a.objects, b.objects)
    assert walked.at(5)[-1] is walked.at(4)[-1]


def test_each_scene_knows_where_its_objects_lie() -> None:
    encoded = small_scenes(small_model())[2]
    assert len(encoded.boxes) == encoded.scene.count
    for number, (top, left, bottom, right) in enumerate(encoded.boxes, start=1):
        rows, columns = torch.nonzero(encoded.objects == number).unbind(1)
        assert (top, left, bottom, right) == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def test_workers_make_the_same_scenes() -> None:
    scenes = small_scenes(small_model())
    one, other = scenes.pool(2).at(1), scenes.pool(2, workers=1).at(1)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.objects, b.objects)
        torch.testing.assert_close(a.embedding, b.embedding, atol=0.05, rtol=0.05)


def test_the_loss_depends_on_seed_and_step_alone() -> None:
    first = [float(small_recipe().loss(step)[0].detach()) for step in (3, 4)]
    again = [float(small_recipe().loss(step)[0].detach()) for step in (3, 4)]
    other = float(small_recipe(seed=2).loss(3)[0].detach())
    assert first == again
    assert other != first[0]


@pytest.mark.parametrize("kind", [PromptObjective, PaperPrompts])
def test_decoder_and_prompt_encoder_learn_and_the_encoder_does_not(kind) -> None:
    recipe = small_recipe(kind)
    for step in range(4):
        recipe.loss(step)[0].backward()
    assert all(p.grad is None for p in recipe.model.image_encoder.parameters())
    assert recipe.model.mask_decoder.mask_tokens.weight.grad.abs().sum() > 0
    assert recipe.model.prompt_encoder.point_embeddings[1].weight.grad.abs().sum() > 0


def test_an_encoder_that_learns_gets_a_small_rate_and_keeps_its_norms() -> None:
    recipe = small_recipe(encoder_lr_scale=0.01)
    recipe.model.train()
    before = recipe.model.image_encoder.patch_embed.conv1.bn.running_mean.clone()
    recipe.loss(2)[0].backward()
    assert all(p.grad is not None for p in recipe.model.image_encoder.neck.parameters())
    assert recipe.model.image_encoder.patch_embed.conv1.conv.weight.grad.abs().sum() > 0
    assert torch.equal(before, recipe.model.image_encoder.patch_embed.conv1.bn.running_mean)
    decoder, encoder = recipe.groups()
    assert encoder["lr_scale"] == 0.01
    assert len(decoder["params"]) + len(encoder["params"]) == len(list(recipe.model.parameters()))


def test_it_learns_to_answer_a_few_scenes() -> None:
    recipe = small_recipe()
    look_where_pointed(recipe.model.mask_decoder)
    recipe.pool.at(2)
    held = recipe.pool.at(2)
    recipe.pool.at = lambda step: held  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW(recipe.trained.parameters(), lr=1e-3)

    def mean_loss() -> float:
        with torch.no_grad():
            return sum(float(recipe.loss(step)[0]) for step in range(10)) / 10

    before = mean_loss()
    for step in range(50):
        optimizer.zero_grad()
        recipe.loss(step % 10)[0].backward()
        optimizer.step()
    assert mean_loss() < 0.85 * before


def test_a_decoder_that_looks_where_it_is_pointed_attends_there() -> None:
    model = small_model()
    look_where_pointed(model.mask_decoder)
    attention = model.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    positions = model.prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    same = attention.q_proj(positions)[0] @ attention.k_proj(positions)[0].T
    assert torch.equal(same.argmax(1), torch.arange(len(same)))


def test_losses_are_zero_where_all_is_right_and_focus_weighs_hard_pixels() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1.0
    right = (target * 2 - 1) * 30
    assert float(dice_loss(right, target)) == pytest.approx(0.0, abs=1e-4)
    assert float(focal_loss(right, target, 2.0)) == pytest.approx(0.0, abs=1e-6)
    unsure = (target * 2 - 1) * 1.0
    assert float(focal_loss(unsure, target, 2.0)) < 0.2 * float(focal_loss(unsure, target, 0.0))


def test_the_slope_of_the_loss_is_finite_where_all_is_right() -> None:
    target = torch.zeros(1, 1, 4, 4)
    logits = torch.full((1, 1, 4, 4), -200.0, requires_grad=True)
    focal_loss(logits, target, 0.5).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_validation_scores_every_setting_of_the_paper() -> None:
    model = small_model()
    validation = PromptValidation(small_scenes(model, 9), count=2, targets=2)
    scores = validation(model)
    assert set(scores) == {"dice 1+0", "dice 1+2", "dice 3+0", "dice 3+2", "dice box", "score"}
    assert scores == validation(model)
    assert 0 <= scores["score"] <= 1
