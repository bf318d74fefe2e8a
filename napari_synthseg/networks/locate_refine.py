"""The fast network: locate the structures in the whole head at 2 mm, then refine at 1 mm knowing where they are.

SynthSeg+'s idea of feeding one network's posteriors to the next, used for speed: contrast being random, place and shape
are the only cues, and a whole head at low resolution shows them cheaply. Both stages are half-resolution U-Nets. The
second also knows what each structure looks like in this scan: see `appearance`.

Averaging happens inside the network. With flips, further passes see the scan mirrored, one voxel further along some
axes, or both: the trunk, whose grid is twice as coarse, then samples the scan at other places, which gains more than
mirroring does (docs/results.md). Mirroring its features and reordering the head's weights gives its logits at the
places, and in the channel order, where they are needed: they are made for a few slices and one sub-voxel position at a
time and written once, in float16. That takes a fraction of the time and memory of averaging whole volumes.

The intensities speak last: `LocateRefine.posteriors` smooths the refiner's logits, because its head answers each
sub-voxel position by weights of its own, which disagree, fits the Gaussians again to what was found at 1 mm, and adds
their likelihoods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.devices import to_memory
from napari_synthseg.jobs import checkpoint
from napari_synthseg.networks.appearance import fit_appearance, moments, sampled, with_evidence
from napari_synthseg.networks.registry import Card, register
from napari_synthseg.networks.subvoxel import SubvoxelUNet

FITS = 2
"""How often Gaussians are fitted at 1 mm, to squared posteriors: sure voxels, which hold a single structure, count."""
PRIOR_FLOOR = 1e-4
"""Posteriors of the locator are mixed with this much of the uniform, so that the refiner can overrule them."""


class Refiner(SubvoxelUNet):
    """Corrects the locator: logits = network + log prior + evidence x log likelihood of the intensities."""

    def __init__(self, n_labels: int, features: Sequence[int]) -> None:
        super().__init__(n_labels, features, prior_channels=2 * n_labels)
        self.evidence = nn.Parameter(torch.ones(()))

    def hints(self, image: torch.Tensor, prior: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        """(B, 2K, X/2, Y/2, Z/2): the prior, and what it becomes when the intensities are taken into account."""
        coarse = F.avg_pool3d(image.float(), 2)
        with torch.no_grad():
            updated = with_evidence(log_prior(prior), coarse, appearance, self.evidence).softmax(1)
        return torch.cat([prior, updated], 1)


@register("locate-refine", predictor="locate_refine", autocast=True, channels_last=True)
class LocateRefine(nn.Module):
    """Two half-resolution U-Nets, the second a correction of the first.

    Args:
        labels: the sorted FreeSurfer values predicted, background first.
        locator_features, refiner_features: channels of each trunk level.
    """

    head_shape = (96, 112, 96)
    """Voxels of the locator's fixed field of view."""
    head_spacing = 2.0
    """Its voxel size, mm."""

    def __init__(
        self,
        labels: Sequence[int],
        locator_features: Sequence[int] = (32, 64, 128, 160),
        refiner_features: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        k = len(self.labels)
        field = tuple(n // 2 for n in self.head_shape)
        self.locator = SubvoxelUNet(k, locator_features, field=field)  # type: ignore[arg-type]
        self.refiner = Refiner(k, refiner_features)

    @classmethod
    def from_card(cls, card: Card) -> LocateRefine:
        return cls(card["labels"], card["locator_features"], card["refiner_features"])

    @property
    def multiple(self) -> int:
        """Sizes given to `refine` must be multiples of this."""
        return self.refiner.multiple

    def glance(self, image: torch.Tensor) -> torch.Tensor:
        """(1, 1, X, Y, Z) at 2 mm -> (K, X/2, Y/2, Z/2) float32 posteriors of every second voxel, to judge by."""
        net = self.locator
        return net.logits_at(net.trunk(image), 0)[0].float().softmax(0)

    def locate_averaged(
        self, image: torch.Tensor, order: Sequence[int] | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute posteriors of the locator, averaged over `views`.

        Args:
            image: (1, 1, X, Y, Z) at 2 mm in [0, 1].
            order: channels after a flip (`anatomy.flip_channels`); None for one pass without averaging.

        Returns:
            (K, X, Y, Z) float16; and the tissue maps of inner networks by name, (X, Y, Z) uint8, if there are some.
        """
        return located(self, image, order), {}

    def refine_averaged(
        self, image: torch.Tensor, prior: torch.Tensor, appearance: torch.Tensor, order: Sequence[int] | None
    ) -> torch.Tensor:
        """Compute the refiner's logits of an image, without the evidence of its intensities.

        Args:
            image: (1, 1, X, Y, Z) at 1 mm in [0, 1], rescaled as the image that was located.
            prior: (1, K, X/2, Y/2, Z/2) posteriors of the locator on the same field of view.
            appearance: (1, K, 2) of the whole head.
            order: channels after a flip, to average over `views`; None for one pass.

        Returns:
            (K, X, Y, Z) float16, for `posteriors`.
        """
        net, seen_by, features, starts = self.refiner, views(order), [], []
        for view in seen_by:
            known = view.prior(prior)
            seen = to_memory(view.image(image))
            hints = to_memory(_as_computed(net.hints(seen, known, view.reordered(appearance, 1))))
            features.append(view.back(net.trunk(seen, hints)[0]))
            starts.append(view.reordered(view.back(log_prior(known)[0]), 0))
        return _logits(net, features, starts, seen_by)

    def posteriors(self, logits: torch.Tensor, image: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        """Turn the logits of `refine_averaged` into posteriors, in place, knowing the intensities of the whole brain.

        Args:
            logits: (K, X, Y, Z) float16.
            image: (1, 1, X, Y, Z) at 1 mm in [0, 1].
            appearance: (1, K, 2) as the refiner saw it.
        """
        for channel in logits:
            channel.copy_(smoothed(channel))
        image, few = image.float(), (sampled(image), sampled(logits[None]))
        weight: torch.Tensor | float = self.refiner.evidence.to(logits.device)  # learned, for Gaussians at 2 mm
        for _ in range(FITS):
            found = with_evidence(few[1], few[0], appearance.to(logits.device), weight).softmax(1)
            appearance, weight = moments(few[0].flatten(2), found.square().flatten(2)), 1.0
        for low in range(0, logits.shape[1], SLICES):
            checkpoint()
            x = slice(low, low + SLICES)
            logits[:, x] = with_evidence(logits[None, :, x], image[:, :, x], appearance)[0].softmax(0)
        return logits

    def locate(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, 96, 112, 96) image at 2 mm in [0, 1] -> (B, K, 96, 112, 96) posteriors."""
        return self.locator(image).float().softmax(1)

    def appearance(self, image: torch.Tensor, posteriors: torch.Tensor) -> torch.Tensor:
        """Estimate the intensities of each label in a scan: (B, K, 2) means and variances.

        Args:
            image: (B, 1, 96, 112, 96) at 2 mm in [0, 1].
            posteriors: (B, K, 96, 112, 96) of `locate`.
        """
        return fit_appearance(sampled(image), log_prior(sampled(posteriors)))


def log_prior(prior: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the locator's posteriors, never below a floor: the refiner starts from it."""
    k = prior.shape[1]
    return torch.log(prior.float() * (1.0 - PRIOR_FLOOR) + PRIOR_FLOOR / k)


SLICES = 8
"""Slices that are turned into posteriors at a time."""
IN_CACHE = 2**18
"""Logits that each thread of a CPU works on at a time: 1 MiB of float32."""


def located(
    model: LocateRefine, image: torch.Tensor, order: Sequence[int] | None, denoised: torch.Tensor | None = None
) -> torch.Tensor:
    """(K, X, Y, Z) float16 posteriors of the locator; see `LocateRefine.locate_averaged`.

    `denoised` (1, T, X, Y, Z) is D's view of the image, if there is a D and it is known already.
    """
    net, seen_by, features, fields = model.locator, views(order, most=4), [], []
    for view in seen_by:
        known = () if denoised is None or view != View() else (denoised,)
        features.append(view.back(net.trunk(to_memory(view.image(image)), *known)[0]))
        term = torch.as_tensor(net.bias([n // 2 for n in image.shape[2:]]))[0]
        fields.append(view.reordered(view.back(term), 0))
    return _logits(net, features, fields, seen_by).float().softmax(0).half()


@dataclass(frozen=True)
class View:
    """How a pass sees a scan: as it is or mirrored, and one voxel further along some axes."""

    order: Sequence[int] | None = None
    """Channels in the mirror image; None: the scan is not mirrored."""
    shift: tuple[int, int, int] = (0, 0, 0)
    """Voxels further along each axis, 0 or 1."""

    def image(self, image: torch.Tensor) -> torch.Tensor:
        """Return the (1, C, X, Y, Z) image of this pass; beyond its end the last voxels are repeated."""
        x, y, z = self.shift
        return self.mirrored(self.padded(image, 0, 1)[..., x:, y:, z:], 2)

    def prior(self, prior: torch.Tensor) -> torch.Tensor:
        """Return the (1, K, X/2, Y/2, Z/2) prior of its image: half a voxel further along the shifted axes."""
        further = F.avg_pool3d(self.padded(prior, 0, 1), [1 + s for s in self.shift], 1)
        return self.reordered(self.mirrored(further, 2), 1)

    def mirrored(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        return x if self.order is None else x.flip(axis)

    def reordered(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Exchange the channels of the two sides."""
        return x if self.order is None else x.index_select(axis, torch.tensor(self.order, device=x.device))

    def padded(self, x: torch.Tensor, ahead: int, behind: int) -> torch.Tensor:
        """Repeat the first and the last voxels of (1, C, X, Y, Z) along the shifted axes."""
        pads = [n * s for s in reversed(self.shift) for n in (ahead, behind)]
        return F.pad(x, pads, mode="replicate") if any(self.shift) else x

    def back(self, x: torch.Tensor) -> torch.Tensor:
        """Return (C, X, Y, Z) on the trunk's grid as it lies in the scan, with a voxel ahead on the shifted axes."""
        return self.padded(self.mirrored(x, 1)[None], 1, 0)[0]

    def at(self, x: torch.Tensor, position: int, part: slice) -> torch.Tensor:
        """Return what is `back` for a sub-voxel position of some slices of the scan."""
        dx, dy, dz = (s * (position >> bit & 1) for s, bit in zip(self.shift, (2, 1, 0), strict=True))
        y, z = x.shape[2] - self.shift[1], x.shape[3] - self.shift[2]
        return x[:, part.start + dx : part.stop + dx, dy : dy + y, dz : dz + z]

    def position(self, position: int) -> int:
        """Return the sub-voxel position at which the pass sees what the scan has at another."""
        x, y, z = self.shift
        return position ^ (4 * x + 2 * y + z) ^ (0 if self.order is None else 4)


def views(order: Sequence[int] | None, most: int = 2) -> tuple[View, ...]:
    """Return the passes that are averaged, two or four, given the channels after a flip; None: one pass."""
    if order is None:
        return (View(),)
    if most == 2:
        return View(), View(order, (1, 1, 1))
    return View(), View(order, (1, 1, 0)), View(None, (1, 0, 1)), View(order, (0, 1, 1))


def _as_computed(x: torch.Tensor) -> torch.Tensor:
    """Cast to the precision that convolutions would use: if that is the lower one, it is moved in half the time."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def smoothed(volume: torch.Tensor) -> torch.Tensor:
    """Smooth (X, Y, Z) by the weights 1, 4, 6, 4, 1 along each axis: means of two neighbors, four times; float32."""
    x = F.pad(volume[None, None].float(), (2,) * 6, mode="replicate")[0, 0]
    for axis in range(3):
        for _ in range(4):
            n = x.shape[axis] - 1
            x = x.narrow(axis, 0, n) + x.narrow(axis, 1, n)
    return x / 16**3


def _logits(
    net: SubvoxelUNet, features: Sequence[torch.Tensor], terms: Sequence[torch.Tensor], seen_by: Sequence[View]
) -> torch.Tensor:
    """Return head(features) + term at all eight positions, averaged over the passes: (K, X, Y, Z) float16.

    On the CPU a few slices are worked on at a time, so that what is in between never leaves the caches.

    `features` (F, X/2, Y/2, Z/2) are those of each pass, and so are the `terms` (K, X/2, Y/2, Z/2), in the scan's own
    channel order; both as `View.back` returns them.
    """
    k, (channels, x, y, z) = net.n_labels, features[0].shape
    weight = net.head.weight.reshape(8, k, -1).to(features[0].dtype)
    offset = net.head.bias.reshape(8, k, 1) if net.head.bias is not None else weight.new_zeros(8, k, 1)
    heads = []
    for view in seen_by:  # at each position of the scan, that of the pass, its channels in the scan's own order
        own = [view.position(position) for position in range(8)]
        heads.append((view.reordered(weight[own], 1), view.reordered(offset[own], 1)))
    out = torch.empty(k, 2 * x, 2 * y, 2 * z, dtype=torch.float16, device=features[0].device)
    slices = x if out.device.type != "cpu" else max(1, IN_CACHE * torch.get_num_threads() // (k * y * z))
    for low in range(0, x, slices):
        checkpoint()
        part = slice(low, min(low + slices, x))
        n = part.stop - low
        made = out.new_empty(k, n, 2, y, 2, z, 2)
        for position in range(8):
            each = []
            for (w, o), view, one, term in zip(heads, seen_by, features, terms, strict=True):
                flat = view.at(one, position, part).reshape(channels, -1)
                known = view.at(term, position, part).float().reshape(k, -1)
                each.append(torch.mm(w[position], flat).add(o[position]).add_(known))
            mean = sum(each[1:], each[0]) / len(each)
            made[:, :, position >> 2, :, (position >> 1) & 1, :, position & 1] = mean.view(k, n, y, z)
        out[:, 2 * low : 2 * part.stop] = made.view(k, 2 * n, 2 * y, 2 * z)
    return out
