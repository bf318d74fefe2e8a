"""The priors of SynthSeg's generative model, Table S1 of the SynthSeg paper, and the variants of its section 5.2."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from napari_synthseg.errors import InputError
from napari_synthseg.generator.prior_checks import check_count, check_direction, check_prior

Range = tuple[float, float]

_SIGNED = ("rotation_deg", "shearing", "translation_mm")
_POSITIVE = ("scaling", "slice_spacing_mm", "gamma_exponent", "slice_thickness_mm", "slice_blur_mm", "lesion_size_mm3")
_CHANCES = ("skull_strip", "skull_strip_keeps_csf", "lesions", "flip", "background_zero", "background_low",
            "tissue_contrast", "t1_order", "one_millimetre", "lesion_periventricular", "lesion_symmetry")  # fmt: skip
_COUNTS = ("velocity_grid", "bias_grid")


@dataclass(frozen=True)
class Priors:
    """Hyperparameters of the generative model; every pair is a uniform range (low, high).

    Intensities assume [0, 255]. Where the paper is silent the reference implementation's value is used and
    marked (code). Symbols are those of Table S1.
    """

    rotation_deg: Range = (-15.0, 15.0)
    """Rotation about each axis, degrees (a_rot, b_rot; eq. 1)."""
    scaling: Range = (0.85, 1.15)
    """Scaling along each axis (a_sc, b_sc; eq. 2)."""
    shearing: Range = (-0.012, 0.012)
    """Shearing (a_sh, b_sh; eq. 3)."""
    translation_mm: Range = (-20.0, 20.0)
    """Translation along each axis, mm (a_tr, b_tr; eq. 4)."""
    velocity_std: Range = (0.0, 3.0)
    """Standard deviation of the velocity field, mm (0, b_nonlin; eq. 6)."""
    velocity_grid: int = 10
    """Control points of the velocity field along each axis (eq. 7)."""
    mean: Range = (10.0, 240.0)
    """Means of the Gaussian mixture (a_mu, b_mu; eq. 11)."""
    std: Range = (1.0, 25.0)
    """Standard deviations of the Gaussian mixture (a_sigma, b_sigma; eq. 12)."""
    class_means: tuple[tuple[float, float] | None, ...] | None = None
    """Normal priors (mean, standard deviation) of each class's mean, in place of `mean` (SynthSeg-RC); None for a class
    that keeps its uniform prior."""
    class_stds: tuple[tuple[float, float] | None, ...] | None = None
    """Normal priors (mean, standard deviation) of each class's standard deviation, in place of `std` (SynthSeg-RC)."""
    background_zero: float = 0.05
    """Probability that the background is exactly 0 (code; the paper is silent)."""
    background_low: float = 0.25
    """Probability that the background is dark, U(0, 15) with deviation U(0, 5) (code; the paper is silent)."""
    tissue_contrast: float = 0.0
    """Probability that structures take the contrast of their tissue instead of independent ones (ours; paper: 0)."""
    t1_order: float = 0.0
    """Probability, given tissue contrast, that fluid is darkest and white matter brightest, as on T1 (ours)."""
    bias_std: Range = (0.0, 0.5)
    """Standard deviation of the logarithm of the bias field's control points (0, b_B; eq. 14)."""
    bias_grid: int = 4
    """Control points of the bias field along each axis (eq. 15)."""
    ceiling: float = 300.0
    """Intensities are clipped to [0, ceiling] after the bias field (code; the paper is silent)."""
    gamma_variance: float = 0.4
    """Variance of the logarithm of the gamma exponent (sigma_gamma squared; eq. 18). Table S1 says 0.4, taken at its
    word: a standard deviation of 0.63; the reference implementation's is 0.5."""
    gamma_exponent: Range | None = None
    """Uniform range of the exponent itself, in place of `gamma_variance` (SynthSeg+)."""
    noise_std: Range = (0.0, 0.0)
    """Standard deviation of white noise added to the final image, [0, 255] (sigma_E of SynthSeg+; SynthSeg: none)."""
    slice_spacing_mm: Range = (1.0, 9.0)
    """Slice spacing along a random direction, mm (r_HR, b_res; eq. 20)."""
    slice_thickness_mm: Range | None = None
    """Slice thickness, mm; None: between 1 mm and the slice spacing (eq. 21)."""
    slice_direction: int | None = None
    """Slice direction: 0 sagittal, 1 coronal, 2 axial; None: random."""
    one_millimetre: float = 0.0
    """Probability of an isotropic 1 mm acquisition (ours and the reference's; paper: 0)."""
    thickness_factor: Range = (0.95, 1.15)
    """Deviation of the blur from the nominal slice thickness (a_alpha, b_alpha; eq. 22)."""
    slice_blur_mm: Range | None = None
    """Standard deviation of the slice profile itself, mm, in place of the thickness (sigma_th of SynthSeg+)."""
    in_plane_blur: float = 0.5
    """Standard deviation of the blur across the other two axes, voxels of 1 mm (code; the paper is silent)."""
    skull_strip: float = 0.5
    """Probability that the extra-cerebral labels are removed (Table S2)."""
    skull_strip_keeps_csf: float = 0.5
    """Probability, given skull stripping, that the cerebro-spinal fluid stays: 25% of all (Table S2)."""
    lesions: float = 0.5
    """Probability that the lesion labels of a map that has them are kept (section 4.2)."""
    flip: float = 0.5
    """Probability of a left/right flip with its labels swapped (section 4.2)."""
    lesion_load_ml: Range = (0.0, 0.0)
    """Volume of white matter lesions painted into each map, ml; small loads come more often (ours; paper: none)."""
    lesion_periventricular: Range = (0.3, 0.9)
    """Share of that volume in caps and bands around the lateral ventricles (ours)."""
    lesion_size_mm3: Range = (5.0, 8000.0)
    """Volume of single lesions farther away, mm^3; log-uniform (ours)."""
    lesion_symmetry: Range = (0.2, 0.8)
    """How alike the lesions of both sides are: 0 not at all, 1 as far as the brain is (ours)."""

    def __post_init__(self) -> None:
        """Refuse priors that cannot be meant."""
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name in _COUNTS:
                check_count(name, value)
            elif name == "slice_direction":
                check_direction(name, value)
            elif value is not None and not name.startswith("class_"):
                known = {"signed": name in _SIGNED, "positive": name in _POSITIVE, "probability": name in _CHANCES}
                check_prior(name, value, **known)
        if len(self.class_means or ()) != len(self.class_stds or ()):
            raise InputError("The priors class_means and class_stds belong together: give both, for the same classes.")


_PAPER = Priors()

PRESETS: dict[str, Priors] = {
    "synthseg": _PAPER,
    "synthseg-larger-gmm": replace(_PAPER, mean=(0.0, 255.0), std=(0.0, 35.0)),
    "synthseg-tighter-gmm": replace(_PAPER, mean=(50.0, 200.0), std=(1.0, 15.0)),
    # One resolution: 1 mm isotropic unless slice spacing and thickness are set to those of the target scans.
    "synthseg-r": replace(_PAPER, slice_spacing_mm=(1.0, 1.0), slice_thickness_mm=(1.0, 1.0)),
    # One resolution and one contrast: give `class_means` and `class_stds` estimated on the target scans.
    "synthseg-rc": replace(_PAPER, slice_spacing_mm=(1.0, 1.0), slice_thickness_mm=(1.0, 1.0)),
    "no-bias": replace(_PAPER, bias_std=(0.0, 0.0)),
    "no-deformation": replace(
        _PAPER,
        rotation_deg=(0.0, 0.0),
        scaling=(1.0, 1.0),
        shearing=(0.0, 0.0),
        translation_mm=(0.0, 0.0),
        velocity_std=(0.0, 0.0),
    ),
    # Table S1 of the SynthSeg+ paper. It gives variances of the velocity field, the mixture and the bias field; the
    # bounds here are their square roots, within which deviations are uniform (see `DegradationPriors`).
    "synthseg-plus": replace(
        _PAPER,
        velocity_std=(0.0, 1.5**0.5),
        mean=(0.0, 255.0),
        std=(0.0, 6.0**0.5),
        bias_std=(0.0, 0.5),
        gamma_exponent=(0.9, 1.1),
        slice_blur_mm=(0.5, 5.0),
        slice_spacing_mm=(1.0, 9.0),
        noise_std=(0.0, 10.0),
    ),
    # What the shipped fast weights are trained with: the paper's ranges, with half of the contrasts drawn by tissue,
    # more 1 mm acquisitions and darker backgrounds, because training time is short.
    "fast": replace(
        _PAPER,
        tissue_contrast=0.7,
        t1_order=0.4,
        one_millimetre=0.5,
        background_zero=0.35,
        background_low=0.35,
        translation_mm=(-15.0, 15.0),
    ),
}


def milder(priors: Priors, strength: float) -> Priors:
    """Priors for the beginning of a curriculum: the same, less extreme (ours).

    Args:
        priors: the full ones.
        strength: 1 gives them back; at 0 nothing is deformed, biased or sliced and every contrast is by tissue.
    """

    def around(middle: float, bounds: Range) -> Range:
        return (middle + strength * (bounds[0] - middle), middle + strength * (bounds[1] - middle))

    return replace(
        priors,
        rotation_deg=around(0.0, priors.rotation_deg),
        scaling=around(1.0, priors.scaling),
        shearing=around(0.0, priors.shearing),
        translation_mm=around(0.0, priors.translation_mm),
        velocity_std=around(0.0, priors.velocity_std),
        bias_std=around(0.0, priors.bias_std),
        gamma_variance=strength * priors.gamma_variance,
        slice_spacing_mm=around(1.0, priors.slice_spacing_mm),
        one_millimetre=1.0 - strength * (1.0 - priors.one_millimetre),
        tissue_contrast=1.0 - strength * (1.0 - priors.tissue_contrast),
    )


def preset(name: str) -> Priors:
    """The priors of a preset.

    Raises:
        InputError: if there is no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
