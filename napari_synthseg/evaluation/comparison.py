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
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import EvaluateOptions, evaluate_steps
from napari_synthseg.io import stem
from napari_synthseg.jobs import Progress, titled

SCORES = {
    "dice": "Dice",
    "sd95_mm": "SD95 (mm)",
    "msd_mm": "mean distance (mm)",
    "absolute_difference_percent": "volume off (%)",
}
"""Scores of a scan, means over its scored structures; what they are called."""
HIGHER_IS_BETTER = ("dice",)
OF_STRUCTURES = ("dice", "sd95_mm")
"""Scores that are tested structure by structure, too."""
LEVEL = 0.05
EXACT_UP_TO = 300
_SAME = 9
"""Decimals: differences beyond are rounding errors."""


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
        all have, and whether it is `significantly` better than every other one); `tests` (of each score and two
        methods, with `structure` None) and `structure_tests` (likewise, by structure); `common_scans`.

    Raises:
        InputError: as `evaluate_steps`.
    """
    results: dict[str, dict[str, Any]] = {}
    for name, path in methods.items():
        ending = f" {name}" if len(methods) > 1 else ""
        results[name] = yield from titled(evaluate_steps(path, truth, options), after=ending)
    return {
        "truth": str(truth),
        "methods": results,
        "summary": {score: {name: _summary(one, score) for name, one in results.items()} for score in SCORES},
        "best": {score: _best(results, score) for score in SCORES},
        "tests": [_as_json(test, score) for score in SCORES for test in tests_of_means(results, score)],
        "structure_tests": [_as_json(test, s, v) for s in OF_STRUCTURES for v, test in tests_of_structures(results, s)],
        "common_scans": len(set.intersection(*({s["truth"] for s in one["scans"]} for one in results.values()))),
    }


def tests_of_means(results: Mapping[str, dict[str, Any]], score: str) -> list[PairedTest]:
    """Every two methods by a scan's mean score, corrected for the number of pairs of methods."""
    of_scans = {name: means_by_scan(one, score) for name, one in results.items()}
    return _tests(of_scans, len(results) * (len(results) - 1) // 2)


def tests_of_structures(results: Mapping[str, dict[str, Any]], score: str) -> list[tuple[str, PairedTest]]:
    """The same of single structures, by value; corrected for the pairs of methods and the structures too."""
    values = _scored_values(results)
    pairs = len(results) * (len(results) - 1) // 2
    found = []
    for value in values:
        of_scans = {name: _structure_by_scan(one, value, score) for name, one in results.items()}
        found += [(value, test) for test in _tests(of_scans, pairs * len(values))]
    return found


def _tests(of_scans: Mapping[str, Mapping[str, float]], comparisons: int) -> list[PairedTest]:
    tests = []
    for first, second in combinations(of_scans, 2):
        both = [scan for scan in of_scans[first] if scan in of_scans[second]]
        a, b = ([of_scans[name][scan] for scan in both] for name in (first, second))
        tests.append(compare_pairs(first, second, a, b, comparisons))
    return tests


def _best(results: Mapping[str, dict[str, Any]], score: str) -> dict[str, Any] | None:
    """The method with the best mean over the scans that all have; None where there is nothing to choose from."""
    of_scans = {name: means_by_scan(one, score) for name, one in results.items()}
    shared = [scan for scan in next(iter(of_scans.values()), {}) if all(scan in one for one in of_scans.values())]
    if len(of_scans) < 2 or not shared:
        return None
    sign = 1 if score in HIGHER_IS_BETTER else -1
    name = max(of_scans, key=lambda name: sign * float(np.mean([of_scans[name][scan] for scan in shared])))
    against = [test for test in tests_of_means(results, score) if name in (test.first, test.second)]
    ahead = [sign * (test.median_difference or 0) * (1 if test.first == name else -1) > 0 for test in against]
    better = all(test.significant and wins for test, wins in zip(against, ahead, strict=True))
    return {"method": name, "significantly": better}


def _summary(result: dict[str, Any], score: str) -> dict[str, Any]:
    known = list(means_by_scan(result, score).values())
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
    found: dict[str, None] = {}
    for one in results.values():
        found |= {v: None for v, s in one["structures"].items() if s["scored"] and s["dice"] is not None}
    return sorted(found, key=int)


def _as_json(test: PairedTest, score: str, structure: str | None = None) -> dict[str, Any]:
    extra = {"corrected_p": test.corrected_p, "significant": test.significant, "possible": test.possible}
    return {"score": score, "structure": structure, **asdict(test), **extra}


# --- tests ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedTest:
    """Two methods on the same scans.

    Attributes:
        first: name of a method.
        second: name of the other.
        scans: that both have a score for.
        equal: those of them in which the two scores are equal.
        median_difference: of first - second; None without scans.
        p: of the test, not corrected; None where no scan tells the two apart.
        comparisons: how many tests are made together.
        smallest_p: the least p that so many unequal scans could give.
    """

    first: str
    second: str
    scans: int
    equal: int
    median_difference: float | None
    p: float | None
    comparisons: int
    smallest_p: float

    @property
    def corrected_p(self) -> float | None:
        """Bonferroni: p times the number of comparisons, at most 1."""
        return None if self.p is None else min(1.0, self.p * self.comparisons)

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below 5 %."""
        return self.corrected_p is not None and self.corrected_p < LEVEL

    @property
    def possible(self) -> bool:
        """Whether so many scans could show a difference at all."""
        return self.smallest_p * self.comparisons < LEVEL


def compare_pairs(first: str, second: str, a: Sequence[float], b: Sequence[float], comparisons: int = 1) -> PairedTest:
    """Test whether two methods differ, by their scores `a` and `b` of the same scans in the same order.

    Raises:
        ValueError: the two differ in length.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} scores of {first} cannot be paired with {len(b)} of {second}.")
    differences = np.round(np.asarray(a, float) - np.asarray(b, float), _SAME)
    unequal = differences[differences != 0]
    return PairedTest(
        first=first,
        second=second,
        scans=len(differences),
        equal=len(differences) - len(unequal),
        median_difference=float(np.median(differences)) if len(differences) else None,
        p=signed_rank_p(unequal) if len(unequal) else None,
        comparisons=comparisons,
        smallest_p=min(1.0, 2.0 ** (1 - len(unequal))),
    )


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test.

    Args:
        differences: (N,), at least one, none of them 0.
    """
    from scipy import stats

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


def shown_p(p: float | None) -> str:
    """A p-value in a sentence: "0.031", "< 0.001"."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
