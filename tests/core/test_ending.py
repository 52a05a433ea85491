"""What annealed trials are taken to say, on curves of known shape."""

import re

import numpy as np
from evidences import OWN, untrained

from autobatch.core.choose import choose
from autobatch.core.evidence import Setting
from autobatch.core.warmup_stable_decay import ANNEALED
from autobatch.core.wording import what_was_given_up, why_this_one

SMALL, LARGE, HUGE = Setting(16, 1), Setting(64, 1), Setting(128, 1)
SEEDS = 5


def curve(end, least, start=2.3):
    """It stays at 1 until it anneals; on the way it was at `least`."""
    return [(0.0, start), (0.4, 1.0), (0.6, least), (0.8, 1.0), (0.9, (1 + end) / 2), (1.0, end)]


def evidence_of(ends, *, least=None, luck=0.001, trained=SEEDS, **more):
    """Trials that come to `ends`, but for luck of each seed."""
    drawn = np.random.default_rng(0)
    step_seconds = {16: 0.0006, 32: 0.001, 64: 0.0015, 128: 0.002}
    found = untrained(step_seconds=step_seconds, reading=ANNEALED, **more)
    found.first = dict.fromkeys(ends, 1.0)
    found.first_curves[OWN] = [(0.0, 2.3), (0.5, 1.0)]
    found.finals = {
        setting: {
            seed: curve(end + drawn.normal(0, luck), (least or {}).get(setting, 1.0))
            for seed in range(trained)
        }
        for setting, end in ends.items()
    }
    return found


def told(evidence, ceiling=128, **how):
    choice = choose(evidence, ceiling=ceiling, **how)
    return choice, why_this_one(choice, evidence)


def test_it_is_the_end_that_is_compared_and_not_what_was_on_the_way():
    evidence = evidence_of({OWN: 0.40, LARGE: 0.35}, least={OWN: 0.31}, final_seconds=1.0)
    choice, why = told(evidence)
    assert (choice.verdict, choice.setting) == ("better", LARGE)
    assert f"ends at val_loss {evidence.final_cost(LARGE):.4g}, your" in why
    assert 0.39 < evidence.final_cost(OWN) < 0.41
    assert choice.speedup.value == 1  # it never is at 0.31


def test_what_overfits_is_told_by_its_end_as_in_the_warning_of_it():
    evidence = evidence_of({OWN: 0.45, LARGE: 0.40}, least={LARGE: 0.1})
    choice, why = told(evidence)
    assert (choice.verdict, choice.setting) == ("better", LARGE)
    best, last = evidence.rise(LARGE)  # what is warned of
    assert best == 0.1 < 0.39 < last
    assert f"ends at val_loss {last:.4g}," in why


def test_a_smaller_batch_is_not_preferred_that_has_hardly_any_of_the_gain():
    """It ends within 2 % of the lowest, as the baseline nearly does, too."""
    choice, why = told(evidence_of({OWN: 1.0, LARGE: 0.979, SMALL: 0.998}, luck=0.0003))
    assert choice.standing.is_better(SMALL)
    assert (choice.verdict, choice.setting) == ("better", LARGE)
    assert "as good as equal" not in why
    choice, why = told(evidence_of({OWN: 1.0, LARGE: 0.979, SMALL: 0.985}, luck=0.0003))
    assert choice.setting == SMALL
    assert why.endswith("as good as equal, so that the smaller batch is preferred.")


def test_what_was_given_up_is_told_by_its_end():
    evidence = evidence_of({OWN: 0.40, SMALL: 0.40, LARGE: 0.35, HUGE: 0.30})
    choice, why = told(evidence, unverified={64: "out of memory"}, ceiling=32)
    assert choice.unusable.keys() == {LARGE, HUGE}
    assert why.startswith("Nothing tried that can be used beats your batch 32")
    (given_up,) = what_was_given_up(choice, evidence)
    end = f"{evidence.final_cost(HUGE):.4g}"
    assert given_up.startswith(f"Batch 128 with learning rate 0.08 ends at val_loss {end}, 25.")
    assert given_up.endswith("but batch 128 is larger than one at which memory ran out.")
    assert "soon" not in given_up


def test_where_all_others_were_given_up_no_seeds_are_advised():
    evidence = evidence_of({OWN: 0.40, LARGE: 0.35})
    choice, why = told(evidence, unverified={64: "your code failed"})
    assert (choice.verdict, choice.setting) == ("inconclusive", OWN)
    assert why.startswith("No other finalist can be used: your batch 32")
    (given_up,) = what_was_given_up(choice, evidence)
    assert given_up.endswith("batch 64 did not pass a verification of its own (your code failed).")


def test_of_a_loss_near_nothing_the_differences_are_of_what_is_learned():
    choice, why = told(evidence_of({OWN: 1e-4, LARGE: 1.2e-4, HUGE: 1e-4}, luck=1e-6))
    assert choice.verdict == "tie"
    assert "by more than 0.02% of what yours learns, for certain. The best of those" in why
    assert "as shares of what yours learns; 5 seeds)" in why


def test_what_stands_for_the_users_size_is_called_the_baseline():
    for ends in ({OWN: 0.4, LARGE: 0.3}, {OWN: 0.4, LARGE: 0.5}, {OWN: 1e-4, LARGE: 1.1e-4}):
        evidence = evidence_of(ends, luck=1e-6)
        assert "your batch 32" in told(evidence)[1]
        evidence.instead_of = 512
        why = told(evidence)[1]
        assert "the baseline (batch 32 with learning rate 0.01)" in why
        assert "your" not in why


def test_what_is_likely_to_end_lower_is_chosen_and_told_to_be_no_more_than_that():
    choice, why = told(evidence_of({OWN: 0.40, LARGE: 0.38, SMALL: 0.41}, luck=0.015))
    assert (choice.verdict, choice.setting) == ("inconclusive", LARGE)
    assert choice.standing.ends[LARGE].high > 0
    assert "5 seeds each). That is likely, and not certain. About " in why
    assert " seeds would tell that, if it is so, from chance: " in why
    assert why.endswith(" and your batch 32 with learning rate 0.01.")


UNSURE = {OWN: 0.40, LARGE: 0.385, SMALL: 0.41}


def unsure(**more):
    plan = {"budget_seconds": 300.0, "seed_seconds": 40.0, "seeds": 3}
    plan |= {"run_seconds": 500.0, "seed_run_seconds": 60.0, "time_limit": 520.0}
    return evidence_of(UNSURE, luck=0.04, trained=3, **(plan | more))


def test_the_seeds_that_are_named_tell_with_the_budget_and_the_time_that_are_named():
    choice, why = told(evidence := unsure())
    assert choice.verdict == "inconclusive"
    named = re.search(r"seeds=(\d+) --set trials.budget=(\d+)s --set time_limit=(\d+)s\.", why)
    seeds, budget, limit = map(int, named.groups())
    assert 3 < seeds <= 20
    assert (budget, limit) == (300 + 40 * (seeds - 3), 500 + 60 * (seeds - 3) + 60)
    for curves in evidence.finals.values():  # more of the same luck
        curves |= {seed: curves[seed % 3] for seed in range(3, seeds)}
    assert told(evidence)[0].verdict == "better"
    assert "time_limit" not in told(unsure(time_limit=10_000.0))[1]
    assert "seeds would tell" in told(unsure(goes_on=False))[1]
    assert "(finalists are trained anew, for longer)." in told(unsure(goes_on=False))[1]


def test_as_many_seeds_as_were_wanted_are_named_where_time_left_fewer():
    """Their luck is that of those that were trained."""
    why = told(unsure(seeds=15))[1]
    needed = re.search(r"seeds=(\d+)", told(unsure())[1])[1]
    assert int(needed) < 15
    assert "About 15 seeds would tell" in why and "trials.budget=300s" in why


def test_what_did_not_come_to_its_end_with_every_seed_is_not_ruled_out_by_the_others():
    evidence = evidence_of({OWN: 0.40, LARGE: 0.42, HUGE: 0.30})
    evidence.finals[HUGE][1] = None
    choice, why = told(evidence)
    assert (choice.verdict, choice.setting) == ("inconclusive", OWN)
    assert why.endswith("Others are not ruled out, since not all of their seeds came to their end.")
    assert "trials.seeds" not in why


def test_what_no_seed_tells_is_what_the_benchmark_left_open():
    """The baseline ends at 1 in half the time: a tenth of the steps is worth a fifth of its 0.4."""
    how = {"first_seconds": 0.5, "final_seconds": 1.0, "step_doubts": {32: 0.1, 64: 0.0}}
    choice, why = told(evidence_of({OWN: 0.40, LARGE: 0.37}, **how))
    assert choice.verdict == "inconclusive"
    assert "The benchmark knows the ratio of their step times to ± 11%" in why
    assert "trials.seeds" not in why
