"""The choice among settings that are better, on curves of known shape."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from evidences import OWN, untrained
from pretend import inspected

from autobatch.core.candidates import candidates
from autobatch.core.choose import choose
from autobatch.core.compiled import Compiled
from autobatch.core.evidence import Setting
from autobatch.core.snippet import moving_momentum
from autobatch.core.wording import (
    after_equal_time,
    share_of_the_rate,
    what_was_given_up,
    why_this_one,
)

FAST, SAFER, LARGE = Setting(32, 3), Setting(32, 2), Setting(64, 3)
SEEDS = 5


def evidence_of(levels_off=None, speeds=None, noise=0.05):
    """FAST is the soonest by a little, and at twice its rate training breaks down."""
    learning = {OWN: 1.0, FAST: 8.0, SAFER: 7.95, LARGE: 7.8} | (speeds or {})
    luck, least = np.random.default_rng(0), levels_off or {}

    def curve(speed, floor):
        speed *= luck.lognormal(0, noise)
        return [(t, max(floor, 2.3 * exp(-speed * t))) for t in np.linspace(0, 1, 201)]

    found = untrained()
    found.first = {OWN: 1.5, FAST: 0.04, SAFER: 0.05, LARGE: 0.05, Setting(32, 4): None}
    found.first_curves[OWN] = [(0.0, 2.3)]
    found.finals = {
        setting: {seed: curve(speed, least.get((setting, seed), 0.0)) for seed in range(SEEDS)}
        for setting, speed in learning.items()
    }
    return found


def test_near_where_training_breaks_down_the_half_rate_is_chosen_if_it_is_as_good():
    choice = choose(evidence_of(), ceiling=64)
    assert (choice.verdict, choice.setting, choice.tied_with) == ("better", SAFER, (LARGE,))


@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_the_half_rate_is_not_chosen_where_it_is_later_though_luck_may_be_why(noise):
    choice = choose(evidence_of(speeds={SAFER: 5.5}, noise=noise), ceiling=64)
    assert (choice.verdict, choice.setting) == ("better", FAST)


def test_one_seed_that_does_not_get_on_tells_nothing_apart():
    evidence = evidence_of(levels_off={(SAFER, 1): 0.1})
    choice = choose(evidence, ceiling=64)
    assert SAFER not in choice.onward.times
    told = why_this_one(choice, evidence)
    assert "batch 32 with learning rate 0.08 is the first on the way to val_loss 0.0" in told
    assert (choice.verdict, choice.setting, choice.tied_with) == ("better", SAFER, (LARGE,))


def test_what_is_a_little_sooner_at_one_loss_alone_is_not_chosen_for_it():
    """At the last of four losses LARGE is ahead, by luck perhaps; at the others by far behind."""

    def curve(early):
        at = [(0.0, 2.3), (early, 0.5), (1.0, 0.1), (2.0, 0.05)]
        return [(t, float(np.interp(t, *zip(*at, strict=True)))) for t in np.linspace(0, 2, 401)]

    evidence = evidence_of()
    ahead, lucky = [curve(0.1) for _ in range(SEEDS)], [curve(0.3) for _ in range(SEEDS)]
    late = [[(t * 1.15, cost) for t, cost in each] for each in ahead]
    del evidence.finals[SAFER]
    for setting, curves in ((FAST, late), (LARGE, lucky)):
        evidence.finals[setting] = dict(enumerate(curves))
    for seed, each in evidence.finals[OWN].items():
        evidence.finals[OWN][seed] = [(t * 2 + 0.01 * seed, cost) for t, cost in each]
    choice = choose(evidence, ceiling=64, prefer="large")
    assert choice.onward.target == pytest.approx(0.1)  # where FAST is 15 % later
    assert (choice.verdict, choice.setting) == ("better", FAST)
    told = why_this_one(choice, evidence)
    assert ", it is at 4 values of val_loss from 0.8" in told
    assert " to 0.1 after 459 ms on average, the soonest." in told


def test_what_is_soon_at_first_and_then_far_behind_is_not_chosen_for_its_start():
    evidence = evidence_of()
    del evidence.finals[SAFER]
    at_first = [(0.0, 2.3), (0.115, 0.5), (1.9, 0.1), (2.0, 0.05)]
    steady = [(0.0, 2.3), (0.3, 0.5), (1.0, 0.1), (2.0, 0.05)]
    grid = np.linspace(0, 2, 401)
    for setting, shape in ((FAST, at_first), (LARGE, steady)):
        curve = [(t, float(np.interp(t, *zip(*shape, strict=True)))) for t in grid]
        evidence.finals[setting] = {seed: curve for seed in range(SEEDS)}
    for seed, each in evidence.finals[OWN].items():
        evidence.finals[OWN][seed] = [(t * 2 + 0.01 * seed, cost) for t, cost in each]
    choice = choose(evidence, ceiling=64)
    assert choice.speedup.value < choice.standing.speedups[FAST].value / 2
    assert (choice.verdict, choice.setting) == ("better", LARGE)


def test_finalists_that_were_trained_are_counted_wherever_they_got():
    evidence = evidence_of(levels_off={(LARGE, seed): 2.0 for seed in range(SEEDS)})
    choice = choose(evidence, ceiling=64)
    assert LARGE not in choice.standing.times
    assert "; 4 finalists, 5 seeds each)" in why_this_one(choice, evidence)


def test_what_mostly_does_not_get_on_is_not_as_good():
    levels_off = {(SAFER, seed): 0.1 for seed in range(3)}
    choice = choose(evidence_of(levels_off=levels_off), ceiling=64)
    assert (choice.verdict, choice.setting, choice.tied_with) == ("better", FAST, (LARGE,))


def test_the_users_own_size_may_be_chosen_where_it_is_above_the_ceiling():
    """It is what stays otherwise: nothing is kept free by leaving it out."""
    choice = choose(evidence_of(), ceiling=16)
    assert (choice.verdict, choice.setting) == ("better", SAFER)


def test_a_smaller_batch_that_gave_way_to_its_half_rate_is_not_told_as_equally_soon():
    evidence = evidence_of(speeds={SAFER: 7.4, LARGE: 8.3}, noise=0.001)
    choice = choose(evidence, ceiling=64)
    assert choice.setting == SAFER
    told = why_this_one(choice, evidence)
    assert "twice its rate is as good as equal" in told


def test_the_highest_rung_is_on_the_brink_only_where_training_was_seen_to_break_down():
    evidence, highest = evidence_of(), Setting(32, 12)
    evidence.first = {OWN: 1.5, highest: 0.1}
    assert not evidence.on_the_brink(highest)
    evidence.divergence_rate = 0.01 * 2**12.3
    assert evidence.on_the_brink(highest)


def test_of_a_size_two_rates_may_be_finalists():
    """One seed ranks the ladder: it may be wrong about neighbours."""
    evidence = evidence_of()
    evidence.first = {
        **{OWN: 1.5, Setting(32, 1): 0.9, Setting(32, 2): 0.8, Setting(32, 3): 1.0},
        **{Setting(64, 2): 0.5, Setting(64, 1): 0.6, Setting(64, 3): 0.7},
        **{Setting(128, 1): 2.0, Setting(256, 1): None},
    }
    small = [Setting(32, 2), Setting(32, 1)]
    assert evidence.finalists(4) == [Setting(64, 2), Setting(64, 1), *small]
    assert evidence.finalists(2) == [Setting(64, 2), Setting(32, 2)]  # the best of its own size
    evidence.first[Setting(64, 3)] = None  # the best is on the brink: with it goes half its rate
    assert evidence.finalists(3) == [Setting(64, 2), Setting(64, 1), Setting(32, 2)]
    assert evidence.on_the_brink(Setting(64, 2)) == "diverged"
    assert evidence.on_the_brink(Setting(32, 2)) is None


def test_what_the_best_was_past_in_a_small_part_of_its_trial_is_no_finalist():
    evidence = evidence_of()
    best, near, far, own = Setting(64, 2), Setting(128, 2), Setting(16, 1), Setting(32, 1)
    evidence.first = {OWN: 1.5, own: 1.4, best: 0.5, near: 0.9, far: 1.2}
    evidence.first_curves = {each: [(0.0, 2.3), (10.0, c)] for each, c in evidence.first.items()}
    evidence.first_curves[best] = [(0.0, 2.3), (3.0, 1.0), (5.0, 0.6), (10.0, 0.5)]
    assert evidence.finalists(4) == [best, near, own]  # its own size's is one in any case


def test_what_was_as_soon_at_its_least_cost_as_the_best_may_be_a_finalist_though_it_rose_again():
    evidence = evidence_of()
    best, soon, none = Setting(64, 2), Setting(128, 2), Setting(16, 1)
    evidence.first = {best: 0.5, soon: 1.0, none: 2.3}
    evidence.first_curves = {
        best: [(0.0, 2.3), (3.0, 1.0), (10.0, 0.5)],
        soon: [(0.0, 2.3), (0.5, 1.0), (10.0, 2.0)],
        none: [(0.0, 2.3), (0.5, 2.4), (10.0, 2.5)],  # which learned nothing
    }
    assert evidence.finalists(4) == [best, soon]


def test_a_gain_within_the_doubt_about_step_times_is_not_sure():
    evidence = evidence_of()
    assert choose(evidence, ceiling=64).standing.speedups[LARGE].low > 1
    evidence.step_doubts = {32: log(3.0), 64: log(8.0)}
    found = choose(evidence, ceiling=64)
    assert found.standing.speedups[LARGE].low < 1
    assert found.setting.batch_size == 32 and found.verdict == "better"  # of its own steps
    del evidence.finals[FAST], evidence.finals[SAFER]
    assert "larger benchmark.seconds" in why_this_one(choose(evidence, ceiling=64), evidence)


def test_a_loss_near_nothing_is_compared_by_what_was_learned():
    evidence = evidence_of()
    choice = choose(evidence, ceiling=64)
    found = choice.standing
    assert (found.share(-0.5), found.share(0.5)) == ("50.0% lower", "50.0% higher")
    assert (found.shares(-0.5, -0.1), found.shares(0.1, 0.5)) == ("10.0% to 50.0%",) * 2
    assert found.shares(-0.5, 0.1) == "50.0% lower to 10.0% higher"
    assert found.shares(-1.2, -0.5) == "50.0% or more"
    assert found.shares(-1.07, 0.05) == "at most 5.0% higher"
    for curves in evidence.finals.values():
        for seed, curve in curves.items():
            curves[seed] = [(t, cost**6 / 100) for t, cost in curve]
    choice = choose(evidence, ceiling=64)
    assert choice.standing.share(-0.5) == "0.50% lower"
    told = after_equal_time(choice, evidence)[0]
    assert told.endswith("%, as shares of what yours learns).")


@pytest.mark.parametrize(
    ("ends", "luck", "is_said"),
    [(1.005, 0.001, True), (0.995, 0.001, True), (1.005, 0.012, False), (1.03, 0.001, False)],
)
def test_no_practical_difference_is_said_of_what_is_within_2_percent_for_certain(
    ends, luck, is_said
):
    """By Student's t of five seeds the luck of 1.2 % is one of 1.8 % of the mean, at 90 %."""
    levels_off = {(OWN, seed): 1.0 for seed in range(SEEDS)} | {
        (setting, seed): ends + luck * (seed - 2)
        for setting in (FAST, SAFER, LARGE)
        for seed in range(SEEDS)
    }
    evidence = evidence_of(levels_off=levels_off)
    (told,) = after_equal_time(choose(evidence, ceiling=64), evidence)
    assert told.endswith("). No practical difference.") == is_said


def test_of_two_rates_of_the_users_own_size_the_sooner_tells_what_the_rate_alone_gains():
    evidence = evidence_of(speeds={LARGE: 14.0, SAFER: 7.0})
    choice = choose(evidence, ceiling=64)
    assert choice.setting == LARGE
    (told,) = share_of_the_rate(choice, evidence)
    assert told.startswith("The learning rate alone does much of it: 0.08 at your batch 32 is ")


def test_a_rate_that_ends_worse_is_not_told_to_do_all_of_it():
    levels_off = {(FAST, seed): 0.9 + 0.01 * seed for seed in range(SEEDS)}
    evidence = evidence_of(levels_off=levels_off, speeds={FAST: 20.0, SAFER: 1.01, LARGE: 5.0})
    choice = choose(evidence, ceiling=64)
    assert (choice.setting, choice.standing.speedups[FAST].low > 5) == (LARGE, True)
    assert share_of_the_rate(choice, evidence) == ()


def test_what_levels_off_at_the_loss_of_the_baselines_unlucky_seed_is_not_better():
    """The target is the baseline's end with every seed; with others it ends well below that."""
    levels_off = {(OWN, seed): 0.5 for seed in range(SEEDS)} | {(OWN, 4): 0.58}
    levels_off |= {(FAST, seed): 0.572 + 0.001 * seed for seed in range(SEEDS)}
    evidence = evidence_of(levels_off=levels_off, speeds={OWN: 2.5}, noise=0.001)
    del evidence.finals[SAFER], evidence.finals[LARGE]
    choice = choose(evidence, ceiling=64)
    assert choice.standing.target == pytest.approx(0.58)
    assert choice.standing.speedups[FAST].low > 1
    assert (choice.verdict, choice.setting) == ("inconclusive", OWN)
    assert "but its best val_loss in " in why_this_one(choice, evidence)


LATER = "is 0.92 times as soon at val_loss 0.58 (95 % interval 0."


@pytest.mark.parametrize(("speed", "told"), [(7.8, "may be 3"), (2.3, LATER)])
def test_of_what_may_be_sooner_and_ends_worse_for_certain_no_more_seeds_are_advised(speed, told):
    levels_off = {(OWN, seed): 0.5 for seed in range(SEEDS)} | {(OWN, 4): 0.58}
    levels_off |= {(LARGE, seed): 0.572 + 0.001 * seed for seed in range(SEEDS)}
    speeds = {OWN: 2.5, FAST: 2.4, LARGE: speed}
    evidence = evidence_of(levels_off=levels_off, speeds=speeds, noise=0.01)
    del evidence.finals[SAFER]
    evidence.step_doubts = {32: log(1.5), 64: log(8.0)}
    choice = choose(evidence, ceiling=64)
    assert (choice.verdict, choice.standing.speedups[LARGE].low < 1) == ("inconclusive", True)
    why = why_this_one(choice, evidence)
    assert why.startswith(f"Batch 64 with learning rate 0.16 {told}")
    assert "its best val_loss in " in why and "% higher than yours. Your batch 32" in why
    assert "seeds would tell" not in why
    may_give_both = choice.standing.speedups[LARGE].value > 1
    assert ("may give both" in why) == may_give_both
    assert ("More seeds would not make it better" in why) != may_give_both


def test_why_a_little_later_one_is_chosen_is_told_also_where_all_end_at_the_target():
    evidence = evidence_of(speeds={FAST: 1.3, SAFER: 1.1, LARGE: 1.38}, noise=0.001)
    choice = choose(evidence, ceiling=64)
    assert choice.onward.target == choice.standing.target
    assert (choice.setting, choice.tied_with) == (FAST, ())
    told = why_this_one(choice, evidence)
    assert " Batch 64 with learning rate 0.16 is there after 7" in told
    assert told.endswith("ms: as good as equal, so that the smaller batch is preferred.")
    alone = why_this_one(choose(evidence, ceiling=64, prefer="large"), evidence)
    assert alone.endswith("seeds each).")  # it is the soonest, too


def test_the_soonest_of_a_tie_is_the_soonest_however_it_ends():
    levels_off = {(FAST, seed): 0.95 for seed in range(SEEDS)}
    evidence = evidence_of(levels_off=levels_off, speeds={FAST: 1.0, LARGE: 0.6}, noise=0.0001)
    del evidence.finals[SAFER]
    choice = choose(evidence, ceiling=64)
    assert choice.verdict == "tie"
    assert "finalist, batch 32 with learning rate 0.08, is at" in why_this_one(choice, evidence)


def test_what_is_likely_to_be_sooner_is_chosen_and_told_to_be_no_more_than_that():
    speeds = {OWN: 1.0, FAST: 1.0, SAFER: 0.9, LARGE: 1.3}
    choice = choose(evidence := evidence_of(speeds=speeds, noise=0.25), ceiling=64)
    assert (choice.verdict, choice.setting) == ("inconclusive", LARGE)
    assert choice.speedup.low < 1 < choice.speedup.low * choice.speedup.value
    assert OWN in choice.tied_with
    told = why_this_one(choice, evidence)
    assert told.startswith("Batch 64 with learning rate 0.16 reaches val_loss")
    assert " seeds each). That is likely, and not certain. About " in told
    assert " seeds would tell that, if it is so, from chance: " in told
    assert "5 seeds do not tell it apart from your batch 32 with learning rate 0.01" in told


def test_beside_what_is_likely_it_is_told_why_what_is_sooner_for_certain_was_passed_over():
    levels_off = {(OWN, seed): 0.5 for seed in range(SEEDS)} | {(OWN, 4): 0.58}
    levels_off |= {(FAST, seed): 0.572 + 0.001 * seed for seed in range(SEEDS)}
    speeds = {OWN: 2.5, FAST: 20.0, SAFER: 2.2, LARGE: 3.25}
    evidence = evidence_of(levels_off=levels_off, speeds=speeds, noise=0.25)
    choice = choose(evidence, ceiling=64)
    assert (choice.verdict, choice.setting) == ("inconclusive", LARGE)
    told = why_this_one(choice, evidence)
    assert "Batch 32 with learning rate 0.08 is " in told and "but its best val_loss in " in told
    assert "stays" not in told


def test_what_was_likely_and_could_not_be_used_is_told():
    speeds = {OWN: 1.0, FAST: 1.0, SAFER: 0.9, LARGE: 1.3}
    evidence = evidence_of(speeds=speeds, noise=0.25)
    choice = choose(evidence, ceiling=64, unverified={64: "out of memory"})
    assert (choice.verdict, choice.setting) == ("inconclusive", OWN)
    (given_up,) = what_was_given_up(choice, evidence)
    assert given_up.startswith("Batch 64 with learning rate 0.16 is 1.")
    assert "did not pass a verification of its own (out of memory)" in given_up


def test_of_the_most_promising_it_is_told_that_it_goes_wrong():
    speeds = {OWN: 1.0, FAST: 0.9, SAFER: 0.9, LARGE: 1.3}
    evidence = evidence_of(speeds=speeds, noise=0.25)
    for curve in evidence.finals[LARGE].values():
        curve.append((curve[-1][0], 2.2))
    del evidence.finals[FAST], evidence.finals[SAFER]
    choice = choose(evidence, ceiling=64)
    assert (choice.verdict, choice.setting) == ("inconclusive", OWN)
    assert "But its val_loss gets worse again, to beyond" in why_this_one(choice, evidence)


@pytest.mark.parametrize(
    ("speed", "noise", "end"),
    [
        (1.3, 0.7, 0.0),  # luck may be why
        (1.08, 0.06, 0.0),  # of no interest
        (1.3, 0.25, 0.45),  # and then levels off
    ],
)
def test_the_baseline_stays_where_nothing_is_likely_to_be_better(speed, noise, end):
    speeds = {OWN: 2.5, FAST: 2.2, SAFER: 2.2, LARGE: 2.5 * speed}
    levels_off = {(LARGE, seed): end for seed in range(SEEDS)}
    levels_off |= {(OWN, seed): 0.4 for seed in range(SEEDS)} | {(OWN, 4): 0.5}
    evidence = evidence_of(levels_off=levels_off if end else {}, speeds=speeds, noise=noise)
    choice = choose(evidence, ceiling=64)
    assert choice.standing.speedups[LARGE].value > 1
    assert (choice.verdict, choice.setting) == ("inconclusive", OWN)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((LARGE,), "batch 64 with learning rate 0.16."),
        (
            (Setting(16, 2), LARGE),
            "batch 16 with learning rate 0.02 and batch 64 with learning rate 0.16.",
        ),
    ],
)
def test_all_that_cannot_be_told_apart_are_listed(settings, told):
    evidence = evidence_of()
    choice = replace(choose(evidence, ceiling=64), tied_with=settings)
    assert why_this_one(choice, evidence).endswith(f"tell it apart from {told}")


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (evidence_of(), "better"),
        (evidence_of(speeds={FAST: 1.1, SAFER: 1.1, LARGE: 1.1}, noise=0.3), "inconclusive"),
    ],
)
def test_what_goes_wrong_by_the_end_is_not_told_as_equally_good(evidence, verdict):
    choice = choose(evidence, ceiling=64)
    assert (choice.verdict, choice.tied_with) == (verdict, (LARGE,))
    for curve in evidence.finals[LARGE].values():
        curve.append((curve[-1][0], 2.2))
    choice = choose(evidence, ceiling=64)
    assert (choice.verdict, choice.tied_with) == (verdict, ())


def test_where_the_baseline_stays_what_the_seeds_do_not_tell_from_it_is_listed():
    alike = {FAST: 1.1, SAFER: 1.1, LARGE: 1.1}
    evidence = evidence_of(speeds=alike, noise=0.3)
    choice = choose(evidence, ceiling=64)
    assert (choice.verdict, choice.tied_with) == ("inconclusive", (LARGE,))
    told = why_this_one(choice, evidence)
    assert "The most promising, batch 32 with learning rate 0.0" in told
    assert told.endswith(" 5 seeds do not tell yours apart from batch 64 with learning rate 0.16.")
    del evidence.finals[FAST], evidence.finals[SAFER]  # then LARGE is the most promising
    assert "tell yours apart" not in why_this_one(choose(evidence, ceiling=64), evidence)


def test_a_large_batch_is_preferred_where_that_is_asked():
    assert choose(evidence_of(), ceiling=64, prefer="large").setting == LARGE
    assert choose(evidence_of(), ceiling=32, prefer="large").setting == SAFER


SLOWER = {FAST: 0.9, SAFER: 0.8, LARGE: 0.7}


def without(kept, seeds=range(SEEDS)):
    evidence = evidence_of()
    finals = {s: {n: evidence.finals[s][n] for n in seeds} for s in kept}
    evidence.finals = finals
    return evidence


def alone(failed):
    """With the baseline: all else that was tried diverged, or failed."""
    evidence = without([OWN])
    evidence.first = {setting: 1.5 if setting == OWN else None for setting in evidence.first}
    evidence.failed = failed
    return evidence


@pytest.mark.parametrize(
    ("evidence", "part"),
    [
        (evidence_of(), "times sooner"),
        (evidence_of(speeds=SLOWER), "Nothing tried beats"),
        (evidence_of(speeds={FAST: 1.1, SAFER: 1.1, LARGE: 1.1}, noise=0.3), "for certain"),
        (evidence_of(noise=0.0), "nothing tells what is chance"),
        (without([OWN, FAST], seeds=[0]), "One seed alone"),
        (without([OWN]), "Nothing was compared"),
        (alone({LARGE: "out of memory"}), "could be trained (diverged: 3, out of memory: 1): "),
    ],
)
def test_what_stands_for_the_users_own_size_is_not_called_theirs(evidence, part):
    def told():
        choice = choose(evidence, ceiling=64)
        return " ".join([why_this_one(choice, evidence), *after_equal_time(choice, evidence)])

    assert part in told()
    assert "your batch 32 with learning rate 0.01" in told()
    evidence.instead_of = 512
    assert "the baseline (batch 32 with learning rate 0.01)" in told()
    assert "your" not in told()


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (evidence_of(), "better"),
        (evidence_of(speeds=SLOWER), "tie"),
        (evidence_of(speeds={FAST: 1.1, SAFER: 1.1, LARGE: 1.1}, noise=0.3), "inconclusive"),
    ],
)
@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 3, 1, 4)])
def test_neither_the_order_of_candidates_nor_that_of_seeds_decides(evidence, verdict, order):
    found = choose(evidence, ceiling=64)
    turned = {
        setting: {seed: evidence.finals[setting][label] for seed, label in enumerate(order)}
        for setting in reversed(evidence.finals)
    }
    again = choose(replace(evidence, finals=turned), ceiling=64)
    assert found.verdict == again.verdict == verdict
    assert (again.setting, again.tied_with) == (found.setting, found.tied_with)
    for setting, speedup in found.standing.speedups.items():
        assert again.standing.speedups[setting].low == pytest.approx(speedup.low)


@pytest.mark.parametrize(("size", "unscaled"), [(32, 0.002), (256, 0.457), (1024, 0.826)])
def test_batch_norm_keeps_as_little_of_its_initial_statistics_at_every_size(size, unscaled):
    """What 20 000 samples leave of the initial moving averages."""
    evidence, steps = evidence_of(), 20000 // size
    evidence.compiled = Compiled(32, 0.01, inspected(batch_norm_momentum=0.99))
    assert 0.99**steps == pytest.approx(unscaled, abs=0.001)
    momentum = moving_momentum(size, evidence)
    assert momentum**steps == pytest.approx(0.002, abs=0.0005)


NOISY = {FAST: 1.1, SAFER: 1.1, LARGE: 4.0}


@pytest.mark.parametrize(
    ("speeds", "noise", "verdict", "reason"),
    [
        (NOISY, 0.3, "inconclusive", "No setting that can be used beats your batch 32"),
        ({**SLOWER, LARGE: 4.0}, 0.05, "tie", "Nothing tried that can be used beats your batch 32"),
        ({LARGE: 40.0}, 0.05, "better", "Batch 32 with learning rate 0.04 reaches val_loss"),
    ],
)
def test_what_was_given_up_for_its_memory_is_no_reason_and_is_told(speeds, noise, verdict, reason):
    evidence = evidence_of(speeds=speeds, noise=noise)
    assert choose(evidence, ceiling=64).setting == LARGE
    choice = choose(evidence, ceiling=32, unverified={64: "out of memory"})
    assert (choice.verdict, choice.setting.batch_size) == (verdict, 32)
    why = why_this_one(choice, evidence)
    assert why.startswith(reason) and "batch 64" not in why
    assert "batch 64" not in " ".join(after_equal_time(choice, evidence))
    (told,) = what_was_given_up(choice, evidence)
    assert told.startswith("Batch 64 with learning rate 0.16 is ")
    assert told.endswith("batch 64 did not pass a verification of its own (out of memory).")


def test_where_all_others_were_given_up_no_more_training_is_advised():
    evidence = without([OWN, LARGE])
    choice = choose(evidence, ceiling=32, unverified={64: "out of memory"})
    told = why_this_one(choice, evidence)
    assert told.startswith("No other finalist can be used: your batch 32")


def test_what_is_larger_than_a_batch_at_which_memory_ran_out_is_told_to_be_of_no_use():
    evidence = evidence_of(speeds={LARGE: 40.0})
    choice = choose(evidence, ceiling=32, unverified={48: "out of memory"})
    assert choice.unusable == {LARGE: "is larger than one at which memory ran out"}
    (told,) = what_was_given_up(choice, evidence)
    assert told.endswith("but batch 64 is larger than one at which memory ran out.")
    found = {c.batch_size: c for c in candidates(choice, evidence) if c.is_finalist}
    assert found[64].failure == choice.unusable[LARGE]
    assert found[64].speedup.low > 1


def test_what_was_given_up_is_of_no_use_though_it_was_never_timed():
    evidence = without([OWN, LARGE])
    for curve in evidence.finals[LARGE].values():
        curve[:] = [(t, max(cost, 2.2)) for t, cost in curve]
    choice = choose(evidence, ceiling=32, unverified={64: "out of memory"})
    assert LARGE not in choice.of_all.times
    told = why_this_one(choice, evidence)
    assert told.startswith("No other finalist can be used: your batch 32")


def test_what_was_given_up_and_diverged_with_every_seed_is_not_told():
    evidence = evidence_of()
    evidence.finals[LARGE] = dict.fromkeys(range(SEEDS))
    choice = choose(evidence, ceiling=32, unverified={64: "out of memory"})
    assert LARGE in choice.unusable
    assert what_was_given_up(choice, evidence) == ()


def test_what_learns_is_named_where_the_baseline_hardly_does_and_not_with_every_seed():
    """What was trained with one more seed than the baseline can be compared with it."""
    evidence = evidence_of()
    for seed, curve in evidence.finals[OWN].items():
        curve[:] = [(0.0, 2.3), (1.0, 2.4 + seed / 100)]
    evidence.finals[OWN][0] = None
    told = why_this_one(choose(evidence, ceiling=64), evidence)
    assert "does not improve val_loss" in told
    assert "Batch 32 with learning rate 0.08 does learn, to val_loss 0.0" in told
