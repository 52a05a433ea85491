"""The choice among settings that are better, on curves of known shape."""

from math import exp

import numpy as np

from autobatch.core.evidence import Evidence, Setting
from autobatch.core.recommend import choose
from autobatch.core.wording import why_this_one

OWN, FAST, SAFER, LARGE = Setting(32, 0), Setting(32, 3), Setting(32, 2), Setting(64, 3)
SEEDS = 5


def evidence_of(levels_off=None, speeds=None, noise=0.05):
    """FAST is the soonest by a little, and at twice its rate training breaks down."""
    learning = {OWN: 1.0, FAST: 8.0, SAFER: 7.95, LARGE: 7.8} | (speeds or {})
    luck, least = np.random.default_rng(0), levels_off or {}

    def curve(speed, floor):
        speed *= luck.lognormal(0, noise)
        return [(t, max(floor, 2.3 * exp(-speed * t))) for t in np.linspace(0, 1, 201)]

    found = Evidence(
        baseline=OWN,
        rule="linear",
        rule_reason="",
        baseline_learning_rate=0.01,
        step_seconds={32: 0.001, 64: 0.0015},
        maximise=False,
    )
    found.first = {OWN: 1.5, FAST: 0.04, SAFER: 0.05, LARGE: 0.05, Setting(32, 4): None}
    found.initial_cost = 2.3
    found.finals = {
        setting: {seed: curve(speed, least.get((setting, seed), 0.0)) for seed in range(SEEDS)}
        for setting, speed in learning.items()
    }
    return found


def test_near_where_training_breaks_down_the_half_rate_is_chosen_if_it_is_as_good():
    choice = choose(evidence_of(), ceiling=64)
    assert (choice.verdict, choice.setting, choice.tied_with) == ("better", SAFER, (64,))


def test_one_seed_that_does_not_get_on_tells_nothing_apart():
    evidence = evidence_of(levels_off={(SAFER, 1): 0.1})
    choice = choose(evidence, ceiling=64)
    assert SAFER not in choice.onward.times
    told = why_this_one(choice, evidence, "val_loss")
    assert "batch 32 with learning rate 0.08 is the first at val_loss 0.0" in told
    assert (choice.verdict, choice.setting, choice.tied_with) == ("better", SAFER, (64,))


def test_what_mostly_does_not_get_on_is_not_as_good():
    levels_off = {(SAFER, seed): 0.1 for seed in range(3)}
    choice = choose(evidence_of(levels_off=levels_off), ceiling=64)
    assert (choice.verdict, choice.setting, choice.tied_with) == ("better", FAST, (64,))


def test_the_users_own_size_may_be_chosen_where_it_is_above_the_ceiling():
    """It is what stays otherwise: nothing is kept free by leaving it out."""
    choice = choose(evidence_of(), ceiling=16)
    assert (choice.verdict, choice.setting) == ("better", SAFER)


def test_a_smaller_batch_that_gave_way_to_its_half_rate_is_not_told_as_equally_soon():
    evidence = evidence_of(speeds={SAFER: 7.1, LARGE: 8.2}, noise=0.15)
    choice = choose(evidence, ceiling=64)
    assert choice.setting == SAFER
    told = why_this_one(choice, evidence, "val_loss")
    assert "twice its rate is as good as equal" in told


def test_the_highest_rung_is_on_the_brink_only_where_training_was_seen_to_break_down():
    evidence, highest = evidence_of(), Setting(32, 12)
    evidence.first = {OWN: 1.5, highest: 0.1}
    assert not evidence.on_the_brink(highest)
    evidence.divergence_rate = 0.01 * 2**12.3
    assert evidence.on_the_brink(highest)


def test_a_large_batch_is_preferred_where_that_is_asked():
    assert choose(evidence_of(), ceiling=64, prefer="large").setting == LARGE
    assert choose(evidence_of(), ceiling=32, prefer="large").setting == SAFER
