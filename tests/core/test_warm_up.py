"""Warm-up is seen in step times, and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.core.warm_up import PATIENCE, SETTLED_SHARE, STRETCH_SECONDS, WarmUp

SECONDS = 4.0


def warmed(step_seconds, *, seconds=SECONDS, steps_each=1):
    """(executions, seconds since `fit` began, its step time) when it was warm.

    `step_seconds`: of the nth step, from 1 on.
    """
    warm_up, now, steps = WarmUp(seconds), 100.0, 0
    while True:
        now += sum(step_seconds(steps + k) for k in range(1, steps_each + 1))
        steps += steps_each
        if warm_up.is_over(now, steps):
            return steps, now - 100.0, warm_up.step_seconds


def test_steps_that_take_as_long_as_ever_are_warm_after_two_stretches():
    _, took, step_seconds = warmed(lambda n: 0.01)
    assert took == pytest.approx(2 * STRETCH_SECONDS, abs=0.03)
    assert step_seconds == pytest.approx(0.01)


def test_the_compilation_of_the_first_execution_is_in_no_stretch():
    _, took, step_seconds = warmed(lambda n: 60.0 if n == 1 else 0.01)
    assert took == pytest.approx(60 + 2 * STRETCH_SECONDS, abs=0.03)
    assert step_seconds == pytest.approx(0.01)


@given(slow_seconds=st.floats(0.01, 2 * STRETCH_SECONDS), slower=st.floats(1.1, 20))
def test_first_steps_that_are_slow_for_less_than_two_stretches_are_over(slow_seconds, slower):
    """How fast the others are is known only where the second stretch has enough of them."""
    slow_steps = int(slow_seconds / (0.01 * slower))
    steps, _, step_seconds = warmed(lambda n: 0.01 * (slower if 1 < n <= slow_steps else 1))
    assert steps >= slow_steps
    if slow_seconds <= 1.5 * STRETCH_SECONDS:
        assert step_seconds <= 0.01 / SETTLED_SHARE**2
    assert step_seconds <= 0.01 * slower


def test_steps_that_become_faster_for_long_are_waited_for():
    _, _, step_seconds = warmed(lambda n: 0.01 * (1 + 5 * 0.97**n))
    assert step_seconds < 1.06 * 0.01


@given(rate=st.floats(0.9, 0.999), first=st.floats(0.001, 30))
def test_patience_ends_whatever_steps_do(rate, first):
    _, took, _ = warmed(lambda n: first if n == 1 else 1e-4 + 0.5 * rate**n)
    assert took <= first + PATIENCE * SECONDS + STRETCH_SECONDS + 0.5


def test_steps_longer_than_a_stretch_are_compared_one_by_one():
    steps, _, step_seconds = warmed(lambda n: 5.0 if n <= 2 else 2.0, seconds=60.0)
    assert (steps, step_seconds) == (5, 2.0)


def test_executions_of_many_steps_are_timed_by_the_step():
    _, _, step_seconds = warmed(lambda n: 0.002, steps_each=64)
    assert step_seconds == pytest.approx(0.002)
