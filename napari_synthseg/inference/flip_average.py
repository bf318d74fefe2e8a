"""Flip averaging inside the fast network: the mean of a scan's posteriors and those of its mirror image.

Mirroring the trunk's features and reordering the head's weights gives the mirrored pass its logits where, and in the
channel order in which, they are wanted: posteriors are made for a few slices and one sub-voxel position at a time and
written once, in float16. That takes a fraction of the time and of the memory of mirroring the posteriors themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from napari_synthseg.devices import to_memory
from napari_synthseg.jobs import checkpoint
from napari_synthseg.networks.locate_refine import LocateRefine, log_prior
from napari_synthseg.networks.subvoxel import SubvoxelUNet

IN_CACHE = 2**18
"""Logits that each thread of a CPU works on at a time: 1 MiB of float32."""


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
    image = to_memory(image)
    features = [net.trunk(image, *(() if denoised is None else (denoised,)))[0]]
    terms = [_bias(net, features[0])]
    if order is not None:
        features.append(net.trunk(image.flip(2))[0].flip(1))
        terms.append(terms[0][list(order)].flip(1))
    return _posteriors(net, features, lambda _, part: [term[:, part] for term in terms], order)


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
    hints = to_memory(_as_computed(net.hints(image, prior, appearance)))
    weight = net.prior.weight  # type: ignore[union-attr]
    if order is None:
        features = [net.body(net.stem(image) + F.conv3d(hints, weight))[0]]
    else:
        # Hints are the prior and what it becomes, channel after channel: mirrored and in another order, they are those
        # of the mirror image. It is the weights that are put into that order.
        k = len(order)
        hinted = F.conv3d(hints, torch.cat([weight, weight[:, [*order, *(k + i for i in order)]]]))
        direct, mirrored = hinted.split(len(weight), 1)
        features = [
            net.body(net.stem(image) + direct)[0],
            net.body(net.stem(image.flip(2)) + mirrored.flip(2))[0].flip(1),
        ]
    start = log_prior(prior)

    def terms(position: int, part: slice) -> list[torch.Tensor]:
        seen = image[:, :, 2 * part.start : 2 * part.stop]
        return [net.term(seen, start[:, :, part], appearance, position)[0]] * len(features)

    return _posteriors(net, features, terms, order)


def _as_computed(x: torch.Tensor) -> torch.Tensor:
    """In the precision that convolutions would turn it into: moved about in half the time, if that is the lower one."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _bias(net: SubvoxelUNet, features: torch.Tensor) -> torch.Tensor:
    bias = net.bias(features.shape[1:])
    return bias[0] if isinstance(bias, torch.Tensor) else features.new_zeros(net.n_labels, *features.shape[1:])


def _posteriors(
    net: SubvoxelUNet,
    features: Sequence[torch.Tensor],
    terms: Callable[[int, slice], Sequence[torch.Tensor]],
    order: Sequence[int] | None,
) -> torch.Tensor:
    """Softmax of head(features) + term at all eight positions, the mean over the passes.

    On the CPU a few slices are worked on at a time, so that what is between the features and the posteriors (K float32
    numbers a voxel, a dozen times over) never leaves the caches: half of the time of doing it for all at once.

    Args:
        net: whose head to use.
        features: one or two (F, X, Y, Z); the second is of the mirrored scan, mirrored back.
        terms: what is added to the logits of each pass at a position in some slices, (K, slices, Y, Z), in the scan's
            own channel order.
        order: channels after a flip.
    """
    k, (channels, x, y, z) = net.n_labels, features[0].shape
    weight = net.head.weight.reshape(8, k, -1).to(features[0].dtype)
    offset = net.head.bias.reshape(8, k, 1) if net.head.bias is not None else weight.new_zeros(8, k, 1)
    heads = [(weight, offset)]
    if order is not None:  # at each position, that of the mirrored one, its channels in the scan's own order
        rows, mirrored = list(order), [position ^ 4 for position in range(8)]
        heads.append((weight[mirrored][:, rows], offset[mirrored][:, rows]))
    out = torch.empty(k, 2 * x, 2 * y, 2 * z, dtype=torch.float16, device=features[0].device)
    slices = x if out.device.type != "cpu" else max(1, IN_CACHE * torch.get_num_threads() // (k * y * z))
    for low in range(0, x, slices):
        checkpoint()
        part = slice(low, min(low + slices, x))
        n = part.stop - low
        flat = [one[:, part].reshape(channels, -1) for one in features]
        made = out.new_empty(k, n, 2, y, 2, z, 2)
        for position in range(8):
            each = []
            for (w, o), one, term in zip(heads, flat, terms(position, part), strict=True):
                each.append(torch.mm(w[position], one).add(o[position]).add_(term.float().reshape(k, -1)).softmax(0))
            mean = each[0] if len(each) == 1 else each[0].add_(each[1]).mul_(0.5)
            made[:, :, position >> 2, :, (position >> 1) & 1, :, position & 1] = mean.view(k, n, y, z)
        out[:, 2 * low : 2 * part.stop] = made.view(k, 2 * n, 2 * y, 2 * z)
    return out
