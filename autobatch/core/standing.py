"""The finalists against the baseline: how much sooner, or later, each gets to its loss."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from autobatch.core import final_costs, learning_curves, ranking
from autobatch.core.evidence import Evidence, Setting, Verdict
from autobatch.protocol import Interval

LEARNED = 0.25  # of what it learns in the whole trial: by then it has left where it started
SEEDS_TO_BE_LATER = 3  # with most of which a setting does not get to the target
GOALS = 4  # costs by which those that are sooner than the baseline are compared
MANY_UPDATES = 50  # to the target: on runs of fewer the hyperbola misleads


@dataclass(frozen=True)
class Reached:
    """Who is when at a cost."""

    target: float
    times: dict[Setting, list[float]]  # seconds to it, by seed; only of those that reach it always
    later: frozenset[Setting] = frozenset()  # most seeds of theirs do not, in the whole trial

    def seconds(self, setting: Setting) -> float:
        return ranking.geometric_mean(self.times[setting])


@dataclass(frozen=True, kw_only=True)
class Standing(Reached):
    """What the finalists' curves say, against the baseline's, of which every seed gets there."""

    target_seconds: float  # of the baseline's training, in which it does
    # Its time over theirs, simultaneous intervals.
    speedups: dict[Setting, Interval] = field(default_factory=dict)
    learns: bool = True  # the baseline: with every seed it got below where any of them started
    # What the whole trial came to, against the baseline's, as shares of it; 90 % intervals.
    differences: dict[Setting, Interval] = field(default_factory=dict)
    # They are shares of a hundredth of what the baseline learned, of which it ends below that.
    of_what_is_learned: bool = False
    # Of annealed trials, which are judged by them: final costs less the baseline's, as
    # `differences` have them; simultaneous intervals.
    ends: dict[Setting, Interval] = field(default_factory=dict)

    def without(self, unusable: Collection[Setting]) -> "Standing":
        """What is sooner or later of those that can be used; the times are of all."""
        return replace(
            self,
            ends={s: i for s, i in self.ends.items() if s not in unusable},
            later=self.later.difference(unusable),
            speedups={s: i for s, i in self.speedups.items() if s not in unusable},
        )

    def is_better(self, setting: Setting) -> bool:
        """Than the baseline, for certain."""
        if setting in self.ends:
            return self.ends[setting].high < 0
        found = self.speedups.get(setting)
        return found is not None and found.low > 1 and not self.ends_worse(setting)

    def is_likely_better(self, setting: Setting) -> bool:
        """By more than is of no interest, and than half of what is in doubt: some nine to one."""
        if setting in self.ends:
            end = self.ends[setting]
            return end.value < -ranking.EQUIVALENT and end.value + end.high < 0
        found, difference = self.speedups.get(setting), self.differences.get(setting)
        is_sooner = found and found.value > ranking.TIE and found.value * found.low > 1
        return bool(is_sooner) and (difference is None or difference.value <= ranking.EQUIVALENT)

    def is_alike(self, setting: Setting) -> bool:
        """For all that the seeds can tell."""
        if setting in self.ends:
            return self.ends[setting].low <= 0 <= self.ends[setting].high
        return self.speedups[setting].low <= 1 <= self.speedups[setting].high

    def is_no_better(self, setting: Setting, seeds: int) -> bool:
        """For certain, or by less than is of interest.

        What most of three seeds or more do not get to where the baseline is in half of its trial,
        not in all of it, is later.
        """
        if setting in self.ends:
            return self.ends[setting].low >= -ranking.EQUIVALENT
        if self.ends_better(setting):
            return False
        if setting in self.speedups:
            return self.speedups[setting].high <= ranking.TIE
        return setting in self.later and seeds >= SEEDS_TO_BE_LATER

    def ends_worse(self, setting: Setting) -> bool:
        """Than the baseline after equal time, for certain, however soon it was at the target.

        Also where that is where the baseline ends with its last seed: with others it gets further.
        """
        found = self.differences.get(setting)
        return found is not None and found.low > ranking.EQUIVALENT

    def difference(self, setting: Setting, *, maximise: bool) -> Interval | None:
        """In the metric's own sign: where that is maximised, more is better."""
        found = self.differences.get(setting)
        return found.times(-1) if found and maximise else found

    def loss_difference(self, setting: Setting, *, maximise: bool) -> Interval | None:
        """None too where it is no share of what the baseline ends at."""
        return None if self.of_what_is_learned else self.difference(setting, maximise=maximise)

    def share(self, difference: float) -> str:
        """A difference, or an end of its interval, in % of the baseline's loss (or `unit`)."""
        return f"{self._percent(difference)} {'lower' if difference < 0 else 'higher'}"

    def shares(self, low: float, high: float) -> str:
        """Both ends of its interval; the nearer first where they are on one side."""
        goes_below_0 = low < -1 and not self.of_what_is_learned  # as most losses do not
        if low * high <= 0:
            most = self.share(high)
            return f"at most {most}" if goes_below_0 else f"{self.share(low)} to {most}"
        near, far = (self._percent(each) for each in sorted((low, high), key=abs))
        return near + (" or more" if goes_below_0 else f" to {far}")

    def unit(self, evidence: Evidence) -> str:
        """What several of them are shares of, where that is not the baseline's loss."""
        if not self.of_what_is_learned:
            return ""
        return f", as shares of what {evidence.if_yours('yours', 'the baseline')} learns"

    def _percent(self, difference: float) -> str:
        far = abs(difference)
        return f"{far / 100:.2%}" if self.of_what_is_learned else f"{far:.1%}"

    def ends_better(self, setting: Setting) -> bool:
        found = self.differences.get(setting)
        return found is not None and found.high < -ranking.EQUIVALENT


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting recommended, and what supports it."""

    setting: Setting
    verdict: Verdict
    speedup: Interval
    tied_with: tuple[Setting, ...]  # at other sizes, for all that the seeds can tell
    standing: Standing  # of those that can be used
    of_all: Standing
    onward: Reached | None  # of those that it was chosen from, where several are
    unverified: Mapping[int, str]  # why, by size: given up for it
    unusable: Mapping[Setting, str]  # why, as a clause about its size

    @property
    def of_use(self) -> str:
        """Which others a sentence is about, where some cannot be used."""
        return " that can be used" if self.unusable else ""


def standing(evidence: Evidence) -> Standing:
    """Compare the finalists by time to what the baseline reaches in its trial.

    Or in less of it, where that leaves out one that gets to where the baseline is in half of it (as
    trials are read): short training tells little of longer, but times of the lucky seeds alone tell
    nothing.
    """
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    trial_seconds = max(curve[-1][0] for curve in curves)
    start = min(curve[0][1] for curve in curves)
    moments = [share * trial_seconds for share in evidence.reading.targets_at]
    targets = [
        max(learning_curves.cost_at(curve, seconds) for curve in curves) for seconds in moments
    ]
    end = targets[-1]
    if end >= start:
        differences = final_costs.differences(evidence) if evidence.seeds_differ() else {}
        return Standing(
            end, {}, target_seconds=trial_seconds, learns=False, differences=differences
        )
    learned = [
        (target, seconds, _times(evidence, target))
        for target, seconds in zip(targets, moments, strict=True)
        if start - target >= LEARNED * (start - end)
    ]
    later = _mostly_missing(evidence, learned[0][2])
    complete = [(target, seconds, _complete(reached)) for target, seconds, reached in learned]
    timed = complete[0][2].keys()
    target, seconds, times = [found for found in complete if found[2].keys() == timed][-1]
    if evidence.baseline not in times or not evidence.seeds_differ():
        return Standing(target, times, target_seconds=seconds)  # one seed alone ranks nothing
    speedups = {}
    if len(times) > 1:
        doubts = {setting: evidence.step_doubt(setting, evidence.baseline) for setting in times}
        speedups = ranking.speedups(times, baseline=evidence.baseline, doubts=doubts)
    return Standing(
        target,
        times,
        later,
        target_seconds=seconds,
        speedups=speedups,
        differences=final_costs.differences(evidence),
        of_what_is_learned=abs(evidence.final_cost(evidence.baseline) or 0.0)
        < ranking.LEAST_SHARE * final_costs.learned(evidence),
        ends=final_costs.ends(evidence) if evidence.reading.anneals else {},
    )


def onward(evidence: Evidence, found: Standing, better: Collection[Setting]) -> Reached:
    """When those are on their way to the least cost that one has in half its trial with every seed.

    At the baseline's loss, which the fastest reach in a fraction of a trial, it is seen how they
    start; at that cost, how they go on. Times are the means of those to several costs, from the
    former down to the latter: at one alone, luck decides among what is nearly as good. (Arithmetic
    means, by seed, for which how they go on counts for more than how they start.)
    """
    halfway = [
        max(learning_curves.cost_at(curve, curve[-1][0] / 2) for curve in curves if curve)
        for curves in (evidence.finals[setting].values() for setting in better)
    ]
    target = min(found.target, *halfway)
    steps = [target + (found.target - target) * k / (GOALS - 1) for k in range(GOALS - 1)]
    at_each = [_times(evidence, goal) for goal in (*steps, found.target)]
    by_seed = {s: zip(*(times[s] for times in at_each), strict=True) for s in better}
    times = {s: [_mean(each) for each in by_seed[s]] for s in better}
    return Reached(target, _complete(times), _mostly_missing(evidence, times))


def _mean(times: Sequence[float | None]) -> float | None:
    """None unless all are reached."""
    reached = [each for each in times if each is not None]
    return sum(reached) / len(reached) if len(reached) == len(times) else None


def _times(evidence: Evidence, target: float) -> dict[Setting, list[float | None]]:
    """Seconds of each finalist to the target, by seed; None where it did not get there."""
    times = {}
    for setting, by_seed in evidence.finals.items():
        found = [
            learning_curves.time_to(curve, target) if curve else None for curve in by_seed.values()
        ]
        shortest = evidence.step_seconds[setting.batch_size]  # a time is one step at least
        times[setting] = [None if t is None else max(t, shortest) for t in found]
    return times


def _complete(times: dict[Setting, list[float | None]]) -> dict[Setting, list[float]]:
    """Of those that got there with every seed."""
    reached = {s: [t for t in each if t is not None] for s, each in times.items()}
    return {s: each for s, each in reached.items() if len(each) == len(times[s])}


def _mostly_missing(
    evidence: Evidence, times: dict[Setting, list[float | None]]
) -> frozenset[Setting]:
    return frozenset(
        setting
        for setting, each in times.items()
        if 2 * each.count(None) > len(each) and setting not in evidence.failed
    )


def steps_to_target(evidence: Evidence, found: Standing) -> list[tuple[float, float]]:
    """(batch size, steps) of the soonest finalist at each size; of those that took many.

    None of annealed trials, which are at any target near their ends, whatever steps they have.
    """
    steps: dict[int, float] = {}
    if evidence.reading.anneals:
        return []
    for setting, times in found.times.items():
        needed = ranking.geometric_mean(times) / evidence.step_seconds[setting.batch_size]
        steps[setting.batch_size] = min(needed, steps.get(setting.batch_size, inf))
    many = MANY_UPDATES * evidence.inspected.accumulation_steps
    return sorted((size, needed) for size, needed in steps.items() if needed >= many)
