"""Is one method better than another on the same scans? The test of SynthSeg's Table 2.

Two-sided Wilcoxon signed-rank test of the differences between two methods, scan by scan, with Bonferroni's correction
for the number of comparisons. Scans in which the two are equal say nothing of which is better and are left out
(Wilcoxon's own treatment of zeros); equal sizes of differences share their ranks. Up to 300 differences the p-value is
exact, ties included: all signs are equally likely, and every sum of ranks is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
EXACT_UP_TO = 300
_SAME = 9  # decimals: differences beyond are rounding errors


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
    """Test whether two methods differ.

    Args:
        first: name of a method.
        second: name of the other.
        a: scores of the first, a scan each.
        b: scores of the second, of the same scans in the same order.
        comparisons: how many tests are made together.

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
