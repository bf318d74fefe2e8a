"""The lesion network and what it sees."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks.build import build
from napari_synthseg.networks.lesion_features import FEATURES, box_mean, inverted, lesion_features, wide_mean
from napari_synthseg.networks.lesion_finder import LesionFinder
from napari_synthseg.networks.lesion_inputs import (
    CHANNELS,
    GROUPS,
    INTENSITIES,
    group_of,
    lesion_inputs,
    tissue_channels,
    without_bias,
)


def scene(n: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """White matter of 100 with noise, a lesion of 130 in it, cortex of 60 around; and the tissues."""
    g = torch.Generator().manual_seed(0)
    tissues = torch.zeros(len(GROUPS), n, n, n)
    tissues[1, 2:-2, 2:-2, 2:-2] = 1
    tissues[0, 4:-4, 4:-4, 4:-4] = 1
    tissues[1] -= tissues[0]
    image = 100 * tissues[0] + 60 * tissues[1] + 2 * torch.randn(n, n, n, generator=g)
    image[10:13, 10:13, 10:13] += 30
    return image, tissues


def test_a_change_of_scale_or_offset_changes_nothing() -> None:
    image, tissues = scene()
    first = lesion_inputs(image, tissues)
    assert first.shape == (CHANNELS, *image.shape)
    torch.testing.assert_close(lesion_inputs(3.5 * image - 400, tissues), first, atol=1e-3, rtol=1e-3)


def test_lesions_stand_out_by_the_noise_of_white_matter_even_under_a_bias_field() -> None:
    image, tissues = scene(48)
    image = image * (1 + torch.linspace(0, 0.4, 48))[:, None, None]
    near = lesion_inputs(image, tissues)[0]
    white = tissues[0] > 0.5
    white[10:13, 10:13, 10:13] = False
    assert near[10:13, 10:13, 10:13].min() > 2 * near[white].std()
    left, right = near[8:18][white[8:18]].mean(), near[30:40][white[30:40]].mean()
    assert abs(left - right) < 1.5  # asinh of standard deviations; the field alone makes more than 2.5 of them


def test_a_strong_bias_field_is_taken_out_and_lesions_stay() -> None:
    image, tissues = scene(48)
    x, y = torch.linspace(-1, 1, 48)[:, None, None], torch.linspace(-1, 1, 48)[None, :, None]
    image *= torch.exp(0.4 * x - 0.3 * x * y + 0.2 * y**2)
    white = tissues[0] > 0.5
    white[9:14, 9:14, 9:14] = False
    before, after = image[white].std(), without_bias(image, tissues[0])
    assert after[white].std() < 0.2 * before and after[white].std() < 4
    assert after[10:13, 10:13, 10:13].mean() - after[white].mean() > 15
    few = torch.zeros_like(tissues[0])
    assert torch.equal(without_bias(image, few), image)


@pytest.mark.parametrize("image", [torch.zeros(8, 8, 8), torch.full((8, 8, 8), 7.0)])
def test_an_empty_image_or_no_white_matter_is_no_reason_to_fail(image) -> None:
    for tissues in (torch.zeros(len(GROUPS), 8, 8, 8), torch.ones(len(GROUPS), 8, 8, 8)):
        assert torch.isfinite(lesion_inputs(image, tissues)).all()


def test_posteriors_are_summed_by_tissue() -> None:
    posteriors = torch.rand(5, 2, 2, 2).softmax(0)
    out = tissue_channels(posteriors, (0, 2, 3, 41, 77))
    torch.testing.assert_close(out[0], posteriors[1] + posteriors[3] + posteriors[4])
    torch.testing.assert_close(out[1], posteriors[2])
    assert group_of(0) is None and group_of(16) == 5


def test_features_of_an_inverted_scan_are_those_of_the_scan_reordered() -> None:
    x = torch.randn(1, CHANNELS, 12, 14, 10, generator=torch.Generator().manual_seed(0))
    dark = x.clone()
    dark[:, :INTENSITIES] *= -1
    first, second = (lesion_features(one)[0].flatten(1).T for one in (x, dark))
    assert first.shape[1] == FEATURES
    torch.testing.assert_close(inverted(first), second)


def test_means_around_a_voxel() -> None:
    x = torch.zeros(1, 1, 12, 12, 12)
    x[..., 6, 6, 6] = 27.0
    near = box_mean(x, 3)
    assert near[0, 0, 5, 6, 7] == 1 and near[0, 0, 4, 6, 6] == 0 and box_mean(torch.ones(1, 1, 2, 2, 2), 5).max() == 1
    torch.testing.assert_close(wide_mean(torch.ones(1, 2, 9, 6, 7), 11), torch.ones(1, 2, 9, 6, 7))


def test_what_it_says_does_not_depend_on_the_block() -> None:
    torch.manual_seed(0)
    model = build({"network": "lesions", "hidden": [4]}).eval()
    assert isinstance(model, LesionFinder)
    n = 2 * model.reach
    x = torch.randn(1, CHANNELS, 8, 8, 2 * n)
    whole, part = model(x), model(x[..., :n])
    torch.testing.assert_close(part[..., : n - model.reach], whole[..., : n - model.reach], atol=1e-5, rtol=1e-4)
