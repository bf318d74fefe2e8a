"""The fast network: shapes, sub-voxel order, and what the refiner knows of a scan's contrast."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks.appearance import LEAST, fit_appearance, with_evidence
from napari_synthseg.networks.locate_refine import LocateRefine, log_prior, smoothed
from napari_synthseg.networks.subvoxel import SubvoxelUNet, subvoxel

LABELS = (0, 2, 41)


def scene(contrast: tuple[float, float, float], seed: int = 0):
    """A (1, 1, 24, 24, 24) image of two boxes on background, its labels, and blurred posteriors of them."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.zeros(24, 24, 24, dtype=torch.long)
    labels[4:12, 4:20, 4:20] = 1
    labels[12:20, 4:20, 4:20] = 2
    image = torch.tensor(contrast)[labels] + 0.02 * torch.randn(24, 24, 24, generator=g)
    onehot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 0)[None].float()
    blurred = torch.nn.functional.avg_pool3d(onehot, 7, stride=1, padding=3, count_include_pad=False)
    return image[None, None].clamp(0, 1), labels, blurred / blurred.sum(1, keepdim=True)


@pytest.mark.parametrize("contrast", [(0.1, 0.5, 0.9), (0.9, 0.3, 0.6), (0.5, 0.9, 0.1)])
def test_em_finds_any_contrast_and_sharpens_the_posteriors(contrast) -> None:
    image, labels, prior = scene(contrast)
    appearance = fit_appearance(image, log_prior(prior))
    assert appearance[0, :, 0].tolist() == pytest.approx(contrast, abs=0.05)
    updated = with_evidence(log_prior(prior), image, appearance)
    assert (updated.argmax(1)[0] == labels).float().mean() > 0.99 > (prior.argmax(1)[0] == labels).float().mean()


def test_the_evidence_is_the_logarithm_of_a_gaussian() -> None:
    g = torch.Generator().manual_seed(0)
    image, start = torch.rand(2, 1, 3, 4, 5, generator=g), torch.randn(2, 6, 3, 4, 5, generator=g)
    looks = torch.rand(2, 6, 2, generator=g) + 0.05
    gaussian = torch.distributions.Normal(looks[..., 0, None, None, None], looks[..., 1, None, None, None].sqrt())
    difference = with_evidence(start, image, looks, 0.7) - start - 0.7 * gaussian.log_prob(image)
    assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-4)


def test_no_intensity_rules_a_label_out() -> None:
    looks = torch.tensor([[[0.2, 1e-3], [0.8, 1e-3]]])
    x = torch.linspace(0, 1, 11).view(1, 1, 11, 1, 1)
    evidence = with_evidence(torch.zeros(1, 2, 11, 1, 1), x, looks)
    assert evidence.min() == LEAST
    assert evidence[0, 0].argmax() == 2 and evidence[0, 1].argmax() == 8


def test_absent_labels_stay_vague() -> None:
    image, _, prior = scene((0.1, 0.5, 0.9))
    prior = torch.cat([prior, torch.full_like(prior[:, :1], 1e-6)], 1)
    appearance = fit_appearance(image, log_prior(prior))
    assert appearance[0, 3, 1] > 4 * appearance[0, 1, 1]


def doubled(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, -3).repeat_interleave(2, -2).repeat_interleave(2, -1)


def untrained() -> LocateRefine:
    torch.manual_seed(0)
    model = LocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4)).eval()
    torch.nn.init.zeros_(model.refiner.head.weight)
    return model


@torch.no_grad()
def test_an_untrained_refiner_hands_on_the_prior() -> None:
    image, _, prior = scene((0.1, 0.5, 0.9))
    found = untrained().refine_averaged(doubled(image), prior, fit_appearance(image, log_prior(prior)), None)
    torch.testing.assert_close(found.float(), doubled(log_prior(prior))[0], atol=0.01, rtol=1e-3)


@torch.no_grad()
def test_the_gaussians_of_the_posteriors_are_those_of_the_refined_brain() -> None:
    image, labels, prior = scene((0.1, 0.5, 0.9))
    fine, logits = doubled(image), doubled(log_prior(prior))[0].half()
    wrong = torch.tensor([[[0.2, 0.09], [0.5, 0.09], [0.6, 0.09]]])  # contaminated by neighbors, as they are at 2 mm
    found = untrained().posteriors(logits, fine, wrong)
    assert found is logits  # in place
    assert (found.argmax(0) == doubled(labels)).float().mean() > 0.99
    torch.testing.assert_close(found.float().sum(0), torch.ones(48, 48, 48), atol=2e-3, rtol=0)


def test_smoothing_takes_the_pattern_of_the_positions_away_and_keeps_ramps() -> None:
    pattern = torch.zeros(8, 8, 8)
    pattern[::2, 1::2, ::2] = 8.0
    assert torch.allclose(smoothed(pattern)[2:-2, 2:-2, 2:-2], torch.ones(4, 4, 4))
    ramp = torch.arange(8.0)[:, None, None].expand(8, 8, 8)
    assert torch.allclose(smoothed(ramp)[2:-2], ramp[2:-2])


def test_each_position_of_the_head_lands_in_its_voxel() -> None:
    torch.manual_seed(0)
    net = SubvoxelUNet(2, (4, 4, 4)).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        out = net(image)
        features = net.trunk(image)
        for position in range(8):
            assert torch.allclose(subvoxel(out, position), net.logits_at(features, position), atol=1e-6)
    assert out.shape == (1, 2, 16, 16, 16)


def test_the_positional_term_needs_its_field_of_view_and_others_do_not() -> None:
    model = LocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4)).eval()
    with torch.no_grad():
        posteriors = model.locate(torch.rand(1, 1, *model.head_shape))
    assert posteriors.shape == (1, 3, *model.head_shape)
    assert torch.allclose(posteriors.sum(1), torch.ones(1, *model.head_shape), atol=1e-5)
