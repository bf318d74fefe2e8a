"""Flip averaging inside the fast network: the mean of a scan's posteriors and those of its mirror image.

Mirroring the trunk's features and reordering the head's weights gives the mirrored pass its logits where, and in the
channel order in which, they are wanted: posteriors are made for one sub-voxel position at a time and written once, in
float16. That takes two thirds of the time and a fraction of the memory of mirroring the posteriors themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from napari_synthseg.networks.locate_refine import LocateRefine, log_prior
from napari_synthseg.networks.subvoxel import SubvoxelUNet
from napari_synthseg.progress import checkpoint


def located(
    model: LocateRefine, image: torch.Tensor, order: Sequence[int] | None, denoised: torch.Tensor | None = None
) -> torch.Tensor:
    """(K, X, Y, Z) float16 posteriors of the locator.

    Args:
        model: the network.
        image: (1, 1, X, Y, Z) at 2 mm in [0, 1].
        order: channels after a flip, as from `anatomy.flip_channels`; None for one pass without averaging.
        denoised: (1, T, X, Y, Z) what D makes of the image, where there is a D and that is known already.
    """
    net = model.locator
    features = [net.trunk(image, *(() if denoised is None else (denoised,)))[0]]
    terms = [_bias(net, features[0])]
    if order is not None:
        features.append(net.trunk(image.flip(2))[0].flip(1))
        terms.append(terms[0][list(order)].flip(1))
    return _posteriors(net, features, lambda _: terms, order)


def glance(model: LocateRefine, image: torch.Tensor) -> torch.Tensor:
    """(K, X/2, Y/2, Z/2) float32 posteriors of the locator at one of eight positions, one pass: enough to judge by."""
    net = model.locator
    return net.logits_at(net.trunk(image), 0)[0].float().softmax(0)


def refined(
    model: LocateRefine,
    image: torch.Tensor,
    prior: torch.Tensor,
    appearance: torch.Tensor,
    order: Sequence[int] | None,
) -> torch.Tensor:
    """(K, X, Y, Z) float16 posteriors of the refiner.

    Args:
        model: the network.
        image: (1, 1, X, Y, Z) in [0, 1].
        prior: (1, K, X/2, Y/2, Z/2) posteriors of the locator.
        appearance: (1, K, 2), see `LocateRefine.appearance`.
        order: channels after a flip; None for one pass without averaging.
    """
    net = model.refiner
    features = [net.trunk(image, net.hints(image, prior, appearance))[0]]
    if order is not None:
        swap = list(order)
        mirror, mirrored_prior = image.flip(2), prior[:, swap].flip(2)
        hints = net.hints(mirror, mirrored_prior, appearance[:, swap])
        features.append(net.trunk(mirror, hints)[0].flip(1))

    start = log_prior(prior)

    def terms(position: int) -> list[torch.Tensor]:
        return [net.term(image, start, appearance, position)[0]] * len(features)

    return _posteriors(net, features, terms, order)


def _bias(net: SubvoxelUNet, features: torch.Tensor) -> torch.Tensor:
    bias = net.bias(features.shape[1:])
    return bias[0] if isinstance(bias, torch.Tensor) else features.new_zeros(net.n_labels, *features.shape[1:])


def _posteriors(
    net: SubvoxelUNet,
    features: Sequence[torch.Tensor],
    terms: Callable[[int], Sequence[torch.Tensor]],
    order: Sequence[int] | None,
) -> torch.Tensor:
    """Softmax of head(features) + term at all eight positions, the mean over the passes.

    Args:
        net: whose head to use.
        features: one or two (F, X, Y, Z); the second is of the mirrored scan, mirrored back.
        terms: what is added to the logits of each pass at a position, (K, X, Y, Z), in the scan's own channel order.
        order: channels after a flip.
    """
    k, (_, x, y, z) = net.n_labels, features[0].shape
    weight = net.head.weight.reshape(8, k, -1)
    offset = net.head.bias.reshape(8, k, 1) if net.head.bias is not None else weight.new_zeros(8, k, 1)
    flat = [one.reshape(one.shape[0], -1) for one in features]
    out = torch.empty(k, x, 2, y, 2, z, 2, dtype=torch.float16, device=features[0].device)
    for position in range(8):
        checkpoint()
        added = [term.float().reshape(k, -1) for term in terms(position)]
        mean = torch.mm(weight[position], flat[0]).add(offset[position]).add(added[0]).softmax(0)
        if order is not None:
            mirror, rows = position ^ 4, list(order)
            mean += torch.mm(weight[mirror][rows], flat[1]).add(offset[mirror][rows]).add(added[1]).softmax(0)
            mean *= 0.5
        out[:, :, position >> 2, :, (position >> 1) & 1, :, position & 1] = mean.view(k, x, y, z)
    return out.view(k, 2 * x, 2 * y, 2 * z)
