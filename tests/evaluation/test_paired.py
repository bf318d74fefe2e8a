"""The signed-rank test: against every choice of signs, against SciPy, and what few scans can and cannot say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from napari_synthseg.evaluation.paired import EXACT_UP_TO, compare_pairs, shown_p, signed_rank_p


def by_all_signs(differences):
    """The p-value from all 2^N choices of signs."""
    ranks = stats.rankdata(np.abs(differences))
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in product([0, 1], repeat=len(ranks))
    ]
    found = ranks[np.asarray(differences) > 0].sum()
    below, above = (np.mean([s <= found + 1e-9 for s in sums]), np.mean([s >= found - 1e-9 for s in sums]))
    return min(1.0, 2 * min(below, above))


@pytest.mark.parametrize("differences", [[1], [-2, 1], [1, 1, -1, 2], [3, 3, 3, 3, -1, 0.5], [1, -2, 3, -4, 5, 6, 7]])
def test_p_is_that_of_all_choices_of_signs(differences):
    assert signed_rank_p(np.array(differences, float)) == pytest.approx(by_all_signs(differences))


def test_without_ties_it_is_scipys_exact_test(rng):
    differences = rng.normal(0.4, 1, 23)
    assert signed_rank_p(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_beyond_the_exact_range_it_is_nearly_the_same(rng):
    differences = rng.normal(0.05, 1, EXACT_UP_TO + 1)
    assert signed_rank_p(differences) == pytest.approx(signed_rank_p(differences[:-1]), abs=0.05)


def test_a_clear_difference_is_found_and_its_sign_kept(rng):
    a = rng.normal(0.8, 0.02, 15)
    test = compare_pairs("a", "b", a, a - rng.uniform(0.001, 0.02, 15), comparisons=3)
    assert (test.scans, test.equal) == (15, 0)
    assert test.p == pytest.approx(2.0**-14)
    assert test.corrected_p == pytest.approx(3 * 2.0**-14)
    assert test.significant and test.possible and test.median_difference > 0


def test_equal_scans_are_left_out_and_counted():
    test = compare_pairs("a", "b", [1, 1, 1, 3, 4.5], [1, 1, 1 + 1e-13, 2, 4])
    assert (test.scans, test.equal, test.p) == (5, 3, 0.5)


def test_five_scans_cannot_show_a_difference():
    test = compare_pairs("a", "b", [1, 2, 3, 4, 5], [0, 0, 0, 0, 0])
    assert test.p == test.smallest_p == 0.0625
    assert not test.possible and not test.significant
    assert compare_pairs("a", "b", range(1, 7), [0] * 6).significant


def test_no_scans_and_no_differences_have_no_p():
    nothing = compare_pairs("a", "b", [], [])
    assert (nothing.p, nothing.median_difference, nothing.significant) == (None, None, False)
    assert compare_pairs("a", "b", [1, 2], [1, 2]).corrected_p is None


def test_the_correction_ends_at_one():
    assert compare_pairs("a", "b", [1, 2], [2, 1], comparisons=100).corrected_p == 1


def test_scores_of_other_scans_are_no_pairs():
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_pairs("a", "b", [1, 2], [1])


def test_p_in_words():
    assert [shown_p(p) for p in (None, 0.0001, 0.03125, 0.0625, 0.5)] == ["-", "< 0.001", "0.031", "0.062", "0.50"]
