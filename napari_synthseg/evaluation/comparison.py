"""Several methods on the same scans: their scores side by side, and whether they differ (SynthSeg, Table 2).

A method is a folder of label files (or one file). Each is scored against the same truth by `scans.evaluate_steps`; then
every two of them are compared on the scans that both have.

The test is that of SynthSeg's Table 2: the two-sided Wilcoxon signed-rank test of the differences between two methods,
scan by scan, with Bonferroni's correction for the number of comparisons. Scans in which the two are equal say nothing
of which is better and are left out (Wilcoxon's own treatment of zeros); equal sizes of differences share their ranks.
Up to 300 differences the p-value is exact, ties included (scipy's is not): all signs are equally likely, and every sum
of ranks is counted.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import EvaluateOptions, evaluate_steps
from napari_synthseg.io import stem
from napari_synthseg.jobs import Progress, titled

SCORES = {
    "dice": "Dice", "sd95_mm": "SD95 (mm)", "msd_mm": "mean distance (mm)",
    "absolute_difference_percent": "volume off (%)",
}  # fmt: skip
"""Scores of a scan, means over its scored structures; what they are called."""
HIGHER_IS_BETTER = ("dice",)
OF_STRUCTURES = ("dice", "sd95_mm")
"""Scores that are tested structure by structure, too."""
LEVEL = 0.05
EXACT_UP_TO = 300
_SAME = 9
"""Decimals: differences beyond are rounding errors."""

Scores = Mapping[str, float]
"""By scan."""


def named_methods(words: Sequence[str], first: Path | None = None) -> dict[str, Path]:
    """Methods by name, from a first folder and words `NAME=FOLDER` or `FOLDER`, which is called as the folder is.

    Raises:
        InputError: a name is empty or given twice, or there is no method.
    """
    pairs = [] if first is None else [(stem(first), first)]
    for word in words:
        name, mark, rest = word.partition("=")
        pairs.append((name.strip(), Path(rest)) if mark and not Path(word).exists() else (stem(word), Path(word)))
    if not pairs:
        raise InputError("There is nothing to evaluate: give a folder of label files, or --pred NAME=FOLDER.")
    methods: dict[str, Path] = {}
    for name, path in pairs:
        if not name:
            raise InputError(f"{path} has no name: write --pred NAME={path}.")
        if name in methods:
            raise InputError(f"Two methods are called {name}: write --pred NAME=FOLDER with another name for one.")
        methods[name] = path
    return methods


def compare_steps(
    methods: Mapping[str, Path], truth: Path | str, options: EvaluateOptions | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Scores several methods against one truth.

    Args:
        methods: folders of label files (or files) by name.
        truth: the true label files.
        options: what to score.

    Returns:
        A dictionary ready for JSON: `truth`; `methods` (by name, what `evaluate_steps` says); `summary` (by score and
        method: `mean`, `std`, `median`, `scans`); `best` (by score: the method with the best mean over the scans that
        all have, and whether it is `significantly` better than every other one); `tests` (see `compare_pairs`; of each
        score and two methods, with `structure` None) and `structure_tests` (likewise, by structure); `common_scans`.

    Raises:
        InputError: as `evaluate_steps`.
    """
    results: dict[str, dict[str, Any]] = {}
    for name, path in methods.items():
        ending = f" {name}" if len(methods) > 1 else ""
        results[name] = yield from titled(evaluate_steps(path, truth, options), after=ending)
    means = {score: {name: means_by_scan(one, score) for name, one in results.items()} for score in SCORES}
    pairs = len(results) * (len(results) - 1) // 2
    tests = {score: _tests(of_scans, pairs, score) for score, of_scans in means.items()}
    values = _scored_values(results)
    by_structure = []
    for score in OF_STRUCTURES:
        for value in values:
            of_scans = {name: _structure_by_scan(one, value, score) for name, one in results.items()}
            by_structure += _tests(of_scans, pairs * len(values), score, value)
    return {
        "truth": str(truth),
        "methods": results,
        "summary": {
            score: {name: _summary(list(one.values())) for name, one in of_scans.items()}
            for score, of_scans in means.items()
        },
        "best": {score: _best(means[score], tests[score], score) for score in SCORES},
        "tests": [test for some in tests.values() for test in some],
        "structure_tests": by_structure,
        "common_scans": len(set.intersection(*({s["truth"] for s in one["scans"]} for one in results.values()))),
    }


def _tests(
    of_scans: Mapping[str, Scores], comparisons: int, score: str, structure: str | None = None
) -> list[dict[str, Any]]:
    """Test every two methods on the scans that both have."""
    tests = []
    for (first, one), (second, other) in combinations(of_scans.items(), 2):
        both = [scan for scan in one if scan in other]
        found = compare_pairs([one[scan] for scan in both], [other[scan] for scan in both], comparisons)
        tests.append({"score": score, "structure": structure, "first": first, "second": second, **found})
    return tests


def _best(of_scans: Mapping[str, Scores], tests: list[dict[str, Any]], score: str) -> dict[str, Any] | None:
    """The method with the best mean over the scans that all have; None if there is nothing to choose from."""
    shared = [scan for scan in next(iter(of_scans.values()), {}) if all(scan in one for one in of_scans.values())]
    if len(of_scans) < 2 or not shared:
        return None
    sign = 1 if score in HIGHER_IS_BETTER else -1
    name = max(of_scans, key=lambda name: sign * float(np.mean([of_scans[name][scan] for scan in shared])))
    better = all(
        test["significant"] and sign * test["median_difference"] * (1 if test["first"] == name else -1) > 0
        for test in tests
        if name in (test["first"], test["second"])
    )
    return {"method": name, "significantly": better}


def _summary(known: list[float]) -> dict[str, Any]:
    if not known:
        return {"mean": None, "std": None, "median": None, "scans": 0}
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "std": std, "median": float(np.median(known)), "scans": len(known)}


def means_by_scan(result: dict[str, Any], score: str) -> dict[str, float]:
    """The mean score of each scan that has one, by the name of its truth."""
    return {scan["truth"]: scan["mean"][score] for scan in result["scans"] if scan["mean"][score] is not None}


def _structure_by_scan(result: dict[str, Any], value: str, score: str) -> dict[str, float]:
    found = {scan["truth"]: scan["structures"].get(value, {}).get(score) for scan in result["scans"]}
    return {scan: figure for scan, figure in found.items() if figure is not None}


def _scored_values(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """Structures that enter the means of some method, and that some scan holds."""
    structures = [item for one in results.values() for item in one["structures"].items()]
    return sorted({v for v, s in structures if s["scored"] and s["dice"] is not None}, key=int)


def compare_pairs(a: Sequence[float], b: Sequence[float], comparisons: int = 1) -> dict[str, Any]:
    """Test whether two methods differ, by their scores `a` and `b` of the same scans in the same order.

    Returns:
        `scans`; `equal` (those with equal scores); `median_difference` (a - b; None without scans); `p` (None if no
        scan tells the two apart), `corrected_p` (Bonferroni: times the `comparisons` that are made together) and
        `significant` (below 5 %); `smallest_p` that so many unequal scans could give, and whether a difference is
        `possible` with that.

    Raises:
        ValueError: the two differ in length.
    """
    differences = np.round([x - y for x, y in zip(a, b, strict=True)], _SAME)
    unequal = differences[differences != 0]
    p = signed_rank_p(unequal) if len(unequal) else None
    corrected = None if p is None else min(1.0, p * comparisons)
    smallest = min(1.0, 2.0 ** (1 - len(unequal)))
    return {
        "scans": len(differences),
        "equal": len(differences) - len(unequal),
        "median_difference": float(np.median(differences)) if len(differences) else None,
        "p": p,
        "comparisons": comparisons,
        "smallest_p": smallest,
        "corrected_p": corrected,
        "significant": corrected is not None and corrected < LEVEL,
        "possible": smallest * comparisons < LEVEL,
    }


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test.

    Args:
        differences: (N,), at least one, none of them 0.
    """
    if len(differences) > EXACT_UP_TO:
        return float(stats.wilcoxon(differences, correction=True).pvalue)
    doubled = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)  # whole numbers, where ties share ranks
    chances = np.zeros(doubled.sum() + 1)
    chances[0] = 1.0
    for rank in doubled:  # each rank counts or does not, with equal chance
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    found = int(doubled[differences > 0].sum())
    return float(min(1.0, 2 * min(chances[: found + 1].sum(), chances[found:].sum())))
