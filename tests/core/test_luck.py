"""Whose luck is out of line, and what two candidates differ by when it is."""

import numpy as np
import pytest
from scipy import stats

from autobatch.core import luck, quantiles


@pytest.mark.parametrize(
    ("candidates", "seeds", "ratio"), [(5, 2, 5.54), (5, 3, 5.14), (3, 3, 19.0), (5, 5, 4.12)]
)
def test_the_critical_ratio_is_that_of_tables(candidates, seeds, ratio):
    """Of F at 10 % with 1 and 3 degrees of freedom, 5 % with 2 and 6 or 2, 2.5 % with 4 and 12."""
    assert luck.critical_ratio(candidates, seeds) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize(("comparisons", "degrees"), [(1, 4), (4, 4), (10, 2)])
def test_the_bound_of_separate_comparisons_is_kept_by_all_of_them_at_once(comparisons, degrees):
    bound = quantiles.sidak(0.95, comparisons, degrees)
    within = stats.t.cdf(bound, degrees) - stats.t.cdf(-bound, degrees)
    assert within**comparisons == pytest.approx(0.95)


def ratio_of(y, one):
    """Of one row's differences from the mean of the others, to what these leave of themselves."""
    others = np.delete(y, one, axis=0)
    count, seeds = others.shape
    own = (y[one] - others.mean(axis=0)).var(ddof=1) * count / (count + 1)
    left = others - others.mean(axis=1)[:, None] - others.mean(axis=0) + others.mean()
    return own / ((left**2).sum() / ((count - 1) * (seeds - 1)))


@pytest.mark.parametrize(("candidates", "seeds"), [(3, 4), (5, 3), (5, 5)])
def test_a_candidate_is_out_of_line_by_what_is_left_without_it(candidates, seeds):
    rng = np.random.default_rng(0)
    tables = rng.normal(size=(400, candidates, seeds)) * rng.choice([1, 3], (400, candidates, 1))
    critical = luck.critical_ratio(candidates, seeds)
    expected = [max(ratio_of(y, k) for k in range(candidates)) <= critical for y in tables]
    assert [luck.are_alike(y) for y in tables] == expected
    assert 50 < sum(expected) < 350


def test_a_candidate_that_is_like_the_others_is_seldom_taken_for_out_of_line():
    rng = np.random.default_rng(0)
    critical = luck.critical_ratio(5, 5)
    out = [ratio_of(rng.normal(size=(5, 5)), 2) > critical for _ in range(4000)]
    assert np.mean(out) == pytest.approx(0.025, abs=0.007)


def test_where_one_is_out_of_line_a_difference_has_its_own_luck():
    y = np.random.default_rng(0).normal(size=(4, 6))
    alike = luck.of_difference(y, 0, 1)
    assert alike.pooled and luck.of_difference(y, 2, 3) == alike
    y[1] *= 10
    assert not luck.are_alike(y)
    for pair in ((0, 1), (2, 3)):
        own = float((y[pair[0]] - y[pair[1]]).std(ddof=1))
        assert luck.of_difference(y, *pair) == luck.Luck(own, pooled=False)


def test_of_two_candidates_the_luck_is_that_of_their_difference():
    y = np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    of_two = luck.of_difference(y, 0, 1)
    assert of_two.deviation == pytest.approx(np.std([0, 1, 3], ddof=1))


def test_candidates_that_differ_by_the_same_with_each_seed_are_alike():
    y = np.zeros((3, 3))
    assert luck.are_alike(y) and luck.of_difference(y, 0, 1) == luck.Luck(0.0, pooled=True)
