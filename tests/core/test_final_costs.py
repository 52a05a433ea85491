"""By how much finalists end lower than the baseline, and what of that is in doubt."""

from math import exp, log

import numpy as np
import pytest
from evidences import OWN, untrained

from autobatch.core import final_costs, ranking
from autobatch.core.evidence import Setting
from autobatch.core.warmup_stable_decay import ANNEALED

OTHER, UNLIKE = Setting(64, 0), Setting(32, 1)
TIMES = {OWN: [10.0, 11.0, 9.5], OTHER: [5.0, 5.8, 4.6], UNLIKE: [9.0, 11.5, 9.9]}


def evidence_of(costs, **more):
    """Each cost falls by 1 whenever the time is e times as long, to what it is at 1 s."""
    found = untrained(reading=ANNEALED, **more)
    times = np.geomspace(0.01, 1, 400)
    found.finals = {
        setting: {seed: [(t, cost - log(t)) for t in times] for seed, cost in enumerate(each)}
        for setting, each in costs.items()
    }
    return found


def test_differences_of_costs_are_told_as_those_of_log_times_are():
    """Whose intervals are tested by their coverage."""
    logs = {setting: [log(time) for time in each] for setting, each in TIMES.items()}
    unit = np.mean(logs[OWN])
    speedups = ranking.speedups(TIMES, baseline=OWN)
    for setting, found in ranking.end_differences(logs, baseline=OWN).items():
        assert exp(-found.value * unit) == pytest.approx(speedups[setting].value)
        assert exp(-found.low * unit) == pytest.approx(speedups[setting].high)
        assert exp(-found.high * unit) == pytest.approx(speedups[setting].low)
    for one, other, apart in ((OWN, OTHER, True), (OWN, UNLIKE, False)):
        assert ranking.told_apart(logs, one, other) == apart


def test_a_loss_near_0_is_compared_by_what_was_learned():
    costs = {OWN: [1e-6, 2e-6, 3e-6], OTHER: [2e-6, 4e-6, 3e-6]}
    (found,) = ranking.end_differences(costs, baseline=OWN, learned=2.0).values()
    assert found.value == pytest.approx(1e-6 / 0.02)


def test_step_times_that_are_in_doubt_leave_in_doubt_what_their_steps_would_have_learned():
    evidence = evidence_of(TIMES, step_doubts={32: 0.03, 64: 0.04})
    assert final_costs.doubt(evidence, OWN, UNLIKE) == 0
    assert final_costs.doubt(evidence, OWN, OTHER) == pytest.approx(0.05, rel=1e-3)
    sure, unsure = (final_costs.ends(e) for e in (evidence_of(TIMES), evidence))
    assert unsure[UNLIKE] == sure[UNLIKE]
    assert unsure[OTHER].low < sure[OTHER].low < sure[OTHER].high < unsure[OTHER].high


def test_what_noise_hides_while_the_rate_stays_is_seen_where_a_shorter_trial_ends():
    """The cost is flat until the rate falls, and falls by 0.4 more in twice the time."""
    evidence = evidence_of(TIMES, step_doubts={32: 0.03, 64: 0.04})
    flat = [(0.0, 3.0), (0.1, 2.0), (0.8, 2.0), (1.0, 1.0)]
    for curves in evidence.finals.values():
        curves |= dict.fromkeys(curves, flat)
    assert final_costs.doubt(evidence, OWN, OTHER) == 0
    evidence.first[OWN], evidence.first_seconds, evidence.final_seconds = 1.4, 0.5, 1.0
    assert final_costs.doubt(evidence, OWN, OTHER) == pytest.approx(0.05 * 0.4 / log(2))
    evidence.first_seconds = 0.99  # what differs is luck
    assert final_costs.doubt(evidence, OWN, OTHER) == 0


def test_what_failed_with_one_seed_is_not_compared():
    evidence = evidence_of(TIMES)
    evidence.finals[OTHER][1] = None
    assert final_costs.ends(evidence).keys() == {UNLIKE}
