"""Records of version 1, one flat table of numbers, as records of version 2. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPATIAL = ("rotation_deg", "scaling", "shearing", "translation_mm", "velocity_std", "velocity_grid", "velocity_seed")
FACTS = ("preset", "prior", "seed")
"""Entries of a scene's file that are no part of its record."""
BIAS = ("bias_std", "bias_grid", "bias_seed")


def upgraded(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the params of each step, from a record of a head, a degradation or a scene.

    Raises:
        KeyError: something is missing.
    """
    if "look" in data:
        return {"scene": {name: value for name, value in data.items() if name not in FACTS}}
    brain = "means" in data
    slices = {
        "direction": data["direction"],
        "spacing_mm": data["slice_spacing_mm"],
        "thickness_mm": data["slice_thickness_mm"] if brain else data["slice_spacing_mm"],
        "blur_mm": data["slice_blur_mm"],
        "in_plane_blur": data["in_plane_blur"] if brain else 0.0,
        "noise_std": data["noise_std"],
        "noise_seed": data["noise_seed"] + brain,  # the mixture took the seed itself
    }
    spatial = {"flip": data["flip"] if brain else False, **{name: data[name] for name in SPATIAL}}
    bias, gamma = {name: data[name] for name in BIAS}, {"gamma": data["gamma"]}
    if not brain:
        return {"spatial": spatial, "bias": bias, "gamma": gamma, "acquisition": slices}
    painted = data.get("drawn_lesions")
    return {
        "crop": {"at": data["crop"]},
        **({"lesions": painted} if painted else {}),
        "spatial": spatial,
        "labels": {"skull_strip": data["skull_strip"], "lesions": data["lesions"]},
        "contrast": {name: data[name] for name in ("contrast", "means", "stds", "noise_seed")},
        "bias": bias,
        "clip": {"clip_max": data["ceiling"]},
        "gamma": gamma,
        "acquisition": slices,
    }
