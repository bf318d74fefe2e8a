"""From posteriors to labels: largest components, holes, hard labels, volumes (SynthSeg, section 3.3).

Posteriors are torch tensors (K, X, Y, Z) on the CPU, float16 or float32, background first, about one head of 1 mm
voxels cropped to the brain; they are changed in place, because a second copy is what memory has no room for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import cc3d
import fill_voids
import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.inference.options import OWN, InferenceConfig
from napari_synthseg.jobs import Progress, checkpoint, run
from napari_synthseg.volume import bounding_box

COMPONENT_THRESHOLD = 0.25
"""Posterior above which a voxel belongs to a component (as in the reference implementation)."""
WITHOUT_HOLES = frozenset({4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 26, 28, 43, 49, 50, 51, 52, 53, 54, 58, 60})
"""Structures without holes (Euler characteristic 2); white matter, cortex and cerebellum enclose others."""
AT_A_TIME = 8192
"""Voxels whose channels each thread works on at a time. Sums over some of these are exact enough in float32."""


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest component (6-connectivity) of a mask (X, Y, Z); an empty mask stays empty."""
    box = bounding_box(mask)
    out = np.zeros(mask.shape, bool)
    if box is None:
        return out
    labels, count = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=6, return_N=True)
    out[box] = mask[box] if count < 2 else labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return out


def keep_brain(posteriors: torch.Tensor, dilation: int) -> None:
    """Keep foreground posteriors only in the largest component of "sum over the foreground > COMPONENT_THRESHOLD".

    They stay in `dilation` voxels around it too, unless they are another component. The reference's rule is 0: it cuts
    off the soft edge of every structure, and with it some of its volume.
    """
    keep = _kept((foreground(posteriors) > COMPONENT_THRESHOLD).numpy(), dilation, posteriors.dtype)
    _bits(posteriors[1:]).bitwise_and_(keep)


def topological_groups(classes: Sequence[int]) -> list[list[int]]:
    """Return the channels of each topological class but 0."""
    return [[k for k, one in enumerate(classes) if one == number] for number in sorted(set(classes) - {0})]


def keep_group(posteriors: torch.Tensor, channels: Sequence[int], threshold: float, dilation: int) -> None:
    """Keep the largest component of some channels taken together; `dilation` as for `keep_brain`."""
    least = int(_bits(torch.tensor(threshold, dtype=posteriors.dtype)))
    mask = _bits(posteriors[channels[0]]) > least
    for k in channels[1:]:
        mask |= _bits(posteriors[k]) > least
    keep = _kept(mask.numpy(), dilation, posteriors.dtype)
    for k in channels:
        _bits(posteriors[k]).bitwise_and_(keep)


def _bits(posteriors: torch.Tensor) -> torch.Tensor:
    """View posteriors as integers of the same order (they are never negative), which CPUs compare much faster."""
    return posteriors.view(torch.int16 if posteriors.dtype == torch.float16 else torch.int32)


def _kept(mask: np.ndarray, dilation: int, kind: torch.dtype) -> torch.Tensor:
    """Return a mask of bits, given the voxels above the threshold: all set where posteriors survive, else none."""
    largest = largest_component(mask)
    keep = dilated(largest, dilation) & (~mask | largest) if dilation else largest
    return -torch.from_numpy(keep).to(torch.int16 if kind == torch.float16 else torch.int32)


def dilated(mask: np.ndarray, voxels: int) -> np.ndarray:
    """Dilate a mask by a cube of `voxels` to each side."""
    box = bounding_box(mask, voxels)
    out = mask.copy()
    if box is None:
        return out
    inner = out[box]
    for axis in range(3):
        part = np.moveaxis(inner, axis, 0)
        before = part.copy()
        for step in range(1, min(voxels, len(part) - 1) + 1):
            part[step:] |= before[:-step]
            part[:-step] |= before[step:]
    return out


def normalize(posteriors: torch.Tensor) -> None:
    """Make the posteriors of each voxel sum to one again, in place; where nothing is left, background becomes 1."""
    for plane in range(posteriors.shape[1]):
        checkpoint()
        part = posteriors[:, plane]
        exact = part.float()
        total = exact.sum(0)
        empty = total <= 0
        if empty.any():
            exact[0].masked_fill_(empty, 1)
            total.masked_fill_(empty, 1)
        part.copy_(exact.div_(total))


def fill_holes(posteriors: torch.Tensor, values: Sequence[int], best: np.ndarray | None = None) -> int:
    """Give enclosed voxels to what encloses them, in place, and return how many changed.

    First the structures of `WITHOUT_HOLES`, each on its own; then, where the network predicts CSF (value 24),
    background enclosed by the brain takes the best posterior among the structures, or a neighbor's label. `best`
    (X, Y, Z) is what `best_channel` gives, if known already; it is changed too.
    """
    labels = best_channel(posteriors) if best is None else best
    changed = 0
    for k, value in enumerate(values):
        checkpoint()
        if value in WITHOUT_HOLES:
            changed += _assign(posteriors, labels, _holes(labels == k), k)
    if 24 in values:
        holes = _holes(labels > 0)
        if len(holes[0]):
            inside = posteriors[1:, holes[0], holes[1], holes[2]].float()
            found = torch.where(inside.amax(0) > 0, inside.argmax(0) + 1, 0).numpy()
            changed += _assign(posteriors, labels, holes, _from_neighbors(labels, holes, found))
    return changed


def _holes(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the indices of the voxels enclosed by a mask."""
    box = bounding_box(mask)
    if box is None:
        return (np.empty(0, int),) * 3
    inside = np.ascontiguousarray(mask[box])
    found = np.nonzero(fill_voids.fill(inside).astype(bool) & ~inside)
    return tuple(index + side.start for index, side in zip(found, box, strict=True))


def _from_neighbors(labels: np.ndarray, where: tuple[np.ndarray, ...], found: np.ndarray) -> np.ndarray:
    """Fill zeros of `found`, channels of enclosed voxels, from neighbors, from the border inwards."""
    work = labels.copy()
    work[where] = found
    while (work[where] == 0).any():
        empty = tuple(index[work[where] == 0] for index in where)
        taken = np.zeros(len(empty[0]), work.dtype)
        for axis in range(3):
            for step in (-1, 1):
                beside = list(empty)
                beside[axis] = np.clip(beside[axis] + step, 0, work.shape[axis] - 1)
                taken = np.where(taken == 0, work[tuple(beside)], taken)
        if not taken.any():
            break
        work[empty] = taken
    return work[where]


def _assign(posteriors: torch.Tensor, labels: np.ndarray, where: tuple[np.ndarray, ...], k: int | np.ndarray) -> int:
    if not len(where[0]):
        return 0
    index: tuple = tuple(torch.from_numpy(axis) for axis in where)
    posteriors[(slice(None), *index)] = 0
    posteriors[(torch.as_tensor(k, dtype=torch.int64).expand(len(where[0])), *index)] = 1
    labels[where] = k
    return len(where[0])


def clean(posteriors: torch.Tensor, values: Sequence[int], config: InferenceConfig = OWN) -> np.ndarray:
    """Run all of `clean_steps`."""
    return run(clean_steps(posteriors, values, config))


def clean_steps(
    posteriors: torch.Tensor, values: Sequence[int], config: InferenceConfig = OWN
) -> Generator[Progress, None, np.ndarray]:
    """Post-process posteriors (K, X, Y, Z) in place and in the reference's order; filling holes is the paper's.

    Returns:
        (X, Y, Z) int16 FreeSurfer values.
    """
    groups = _kept_groups(values, config)
    total = len(groups) + 4
    yield Progress("Cleaning up", 0, total)
    if config.keep_brain:
        keep_brain(posteriors, dilation=config.dilation)
        yield Progress("Cleaning up", 1, total)
    for number, channels in enumerate(groups):
        keep_group(posteriors, channels, COMPONENT_THRESHOLD, config.dilation)
        yield Progress("Cleaning up", number + 2, total)
    if config.min_posterior is not None:
        for channel in posteriors[1:]:
            channel.masked_fill_(channel <= config.min_posterior, 0)
    normalize(posteriors)
    yield Progress("Cleaning up", total - 2, total)
    best = best_channel(posteriors)
    yield Progress("Cleaning up", total - 1, total)
    if config.fill_holes:
        fill_holes(posteriors, values, best)
    yield Progress("Cleaning up", total, total)
    return np.asarray(values, np.int16)[best]


def _kept_groups(values: Sequence[int], config: InferenceConfig) -> list[list[int]]:
    """Return the channels of which the largest component is kept, group by group."""
    if not config.brain:
        kept = config.single_component if config.topology else ()
        return [[k] for k, value in enumerate(values) if value in kept]
    classes = [anatomy.structure(value).topology if anatomy.known(value) else 0 for value in values]
    return topological_groups(classes) if config.keep_brain and config.topology else []


def foreground(posteriors: torch.Tensor) -> torch.Tensor:
    """Return the sum of all channels but the background, (X, Y, Z) float32."""
    flat = posteriors[1:].reshape(len(posteriors) - 1, -1)
    total = torch.empty(flat.shape[1], dtype=torch.float32)
    for some in _pieces(flat.shape[1]):
        torch.sum(flat[:, some].float(), 0, out=total[some])
    return total.view(posteriors.shape[1:])


def best_channel(posteriors: torch.Tensor) -> np.ndarray:
    """Return (X, Y, Z) int16 the channel of the largest posterior, the first of equals; much faster than argmax."""
    k = len(posteriors)
    bits = _bits(posteriors).reshape(k, -1)
    best = torch.empty(bits.shape[1], dtype=torch.int16)
    # The largest integer of which the high bits are the posterior and the low ones say which channel it is.
    shift = (k - 1).bit_length()
    wide = torch.int32 if bits.dtype == torch.int16 and shift <= 16 else torch.int64
    channel = torch.arange(k - 1, -1, -1, dtype=wide)[:, None]
    for some in _pieces(bits.shape[1]):
        largest = (bits[:, some].to(wide) << shift).bitwise_or_(channel).amax(0)
        best[some] = (k - 1 - (largest & (2**shift - 1))).to(torch.int16)
    return best.view(posteriors.shape[1:]).numpy()


def _pieces(voxels: int) -> Generator[slice, None, None]:
    """Yield runs of voxels of which all channels fit into a cache; at each the job may be stopped."""
    size = AT_A_TIME * torch.get_num_threads()
    for low in range(0, voxels, size):
        checkpoint()
        yield slice(low, low + size)


def hard_labels(posteriors: torch.Tensor, values: Sequence[int]) -> np.ndarray:
    """Return (X, Y, Z) int16 the FreeSurfer value of the largest posterior of each voxel."""
    return np.asarray(values, np.int16)[best_channel(posteriors)]


def soft_volumes(posteriors: torch.Tensor, values: Sequence[int], voxel_mm3: float) -> dict[int, float]:
    """Return the volume of every structure in mm^3: sums of posteriors (in float64) times the volume of a voxel."""
    return {int(v): s * voxel_mm3 for v, s in zip(values[1:], channel_sums(posteriors)[1:], strict=True)}


def channel_sums(posteriors: torch.Tensor) -> list[float]:
    """Sum each channel of (K, X, Y, Z): over a few thousand voxels in float32, those sums in float64."""
    flat = posteriors.reshape(len(posteriors), -1)
    total = torch.zeros(len(flat), dtype=torch.float64)
    for some in _pieces(flat.shape[1]):
        total += flat[:, some].float().sum(1)
    return total.tolist()
