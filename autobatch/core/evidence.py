"""What the trials found, and how much sooner than the baseline each setting gets to its loss."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, inf, log2
from typing import Literal

from autobatch.core import noise_scale, ranking, scaling
from autobatch.protocol import Interval, NoiseScale

Verdict = Literal["better", "tie", "inconclusive"]
Curve = list[tuple[float, float]]  # (training seconds, cost)


@dataclass(frozen=True, order=True)
class Setting:
    """A batch size and a power of two of its rule-scaled learning rate."""

    batch_size: int
    rung: int


@dataclass
class Evidence:
    """All that the trials found; `core.recommend` turns it into an answer."""

    baseline: Setting
    rule: scaling.Rule
    rule_reason: str
    baseline_learning_rate: float
    step_seconds: dict[int, float]
    maximise: bool
    optimizer: str = ""
    optimizer_settings: dict[str, float] = field(default_factory=dict)  # beta_2, epsilon, ...
    accumulation_steps: int = 1  # the user's own: batches for one update
    noise: tuple[NoiseScale, ...] = ()  # early and late in the baseline's training
    divergence_rate: float | None = None  # of the baseline, by a range test
    first: dict[Setting, float | None] = field(default_factory=dict)  # cost; None: diverged
    finals: dict[Setting, dict[int, Curve | None]] = field(default_factory=dict)  # by seed
    failed: dict[Setting, str] = field(default_factory=dict)  # why, where none diverged
    sharpness: dict[Setting, list[float]] = field(default_factory=dict)  # where it was asked for
    initial_cost: float = float("inf")  # of the untrained model
    budget_seconds: float = 0.0  # of training, all trials together
    first_seconds: float = 0.0  # of each
    final_seconds: float = 0.0
    seeds: int = 0  # that the budget was shared among; fewer were trained where time was up
    seed_seconds: float = 0.0  # of the budget, for one seed of all finalists
    spare_seeds: float = inf  # for which the time limit leaves time, beyond those
    wall_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def learning_rate(self, setting: Setting) -> float:
        rate = scaling.scaled(
            self.baseline_learning_rate,
            self.rule,
            old_batch=self.baseline.batch_size,
            new_batch=setting.batch_size,
            critical_batch=self.saturation(),
        )
        return rate * 2.0**setting.rung

    def saturation(self) -> float:
        """The batch that the rule saturates at; infinite where the noise scale was not resolved."""
        value = self.noise[-1].value if self.noise else None
        return inf if value is None else value / self.accumulation_steps

    def hyperparameters(self, setting: Setting) -> dict[str, float]:
        """What else of the optimizer goes with the size; empty at the baseline's."""
        return scaling.hyperparameters(
            self.optimizer,
            self.optimizer_settings,
            kappa=setting.batch_size / self.baseline.batch_size,
            # The rule's alone: what the ladder adds is the same at every size.
            rate_ratio=self.learning_rate(Setting(setting.batch_size, 0))
            / self.baseline_learning_rate,
        )

    def highest_rung(self) -> int:
        """The last that a trial is worth: at every size, the rule's share of the rate that broke.

        A ceiling and no more: constant rates break down below the one that a short test found. A
        test that breaks down below the baseline's own rate, which trains, is not believed.
        """
        found = self.divergence_rate
        if found is None or found < self.baseline_learning_rate:
            return ranking.RUNG_BOUNDS[1]
        return min(floor(log2(found / self.baseline_learning_rate)), ranking.RUNG_BOUNDS[1])

    def critical_batch(self, steps_to_target: Sequence[tuple[float, float]] = ()) -> Interval:
        """What is known of it from the noise scale, and from trials once there are some.

        In samples of a batch: where the user accumulates gradients, a part of those of an update.
        """
        noise, parts = self.noise[-1] if self.noise else None, self.accumulation_steps
        steps = [(size * parts, needed) for size, needed in steps_to_target]
        found = noise_scale.critical_batch(noise, steps)
        return Interval(value=found.value / parts, low=found.low / parts, high=found.high / parts)

    def costs(self, batch_size: int) -> dict[int, float | None]:
        """What the first trials found at one size, by rung."""
        return {s.rung: cost for s, cost in self.first.items() if s.batch_size == batch_size}

    def seeds_differ(self) -> bool:
        """Whether any finalist trained otherwise with another seed: else nothing tells chance."""
        return any(
            len({tuple(curve) for curve in curves.values() if curve}) > 1
            for curves in self.finals.values()
        )

    def mean_sharpness(self, setting: Setting) -> float | None:
        found = self.sharpness.get(setting)
        return sum(found) / len(found) if found else None

    def on_the_brink(self, setting: Setting) -> bool:
        """Whether twice the learning rate of `setting` no longer learns."""
        if setting.rung >= self.highest_rung():
            return True
        return ranking.breaks_down_next(
            self.costs(setting.batch_size), setting.rung, self.initial_cost
        )

    def finalists(self, best: list[Setting], count: int) -> list[Setting]:
        """`count` of the sizes' `best` settings, best first; below one on the brink, its half rate.

        That of the baseline's size is always among them: it tells what the rate alone gains.
        """
        ranked: list[Setting] = []
        for setting in sorted(best, key=lambda setting: (self.first[setting] or 0.0, setting)):
            ranked.append(setting)
            half = Setting(setting.batch_size, setting.rung - 1)
            if self.on_the_brink(setting) and self.first.get(half) is not None:
                ranked.append(half)
        ranked = [setting for setting in ranked if setting != self.baseline]
        own = [s for s in ranked if s.batch_size == self.baseline.batch_size][:1]
        others = [setting for setting in ranked if setting not in own]
        return sorted([*own, *others[: count - len(own)]], key=ranked.index)

    def named(self, setting: Setting) -> str:
        rate = self.learning_rate(setting)
        return f"batch {setting.batch_size} with learning rate {rate:.3g}"

    def shown(self, cost: float) -> float:
        """The metric as the user knows it, from a cost (lower is better)."""
        return -cost if self.maximise else cost

    def final_cost(self, setting: Setting) -> float | None:
        """Mean over the seeds of the best metric reached; None if none finished."""
        costs = [ranking.best_cost(curve) for curve in self.finals[setting].values() if curve]
        return self.shown(sum(costs) / len(costs)) if costs else None


@dataclass(frozen=True)
class Standing:
    """The finalists against the baseline."""

    target: float  # a cost that the baseline reaches with every seed, in TARGET_AT of its trial
    times: dict[Setting, list[float]]  # seconds to it, by seed; only of those that reach it always
    speedups: dict[Setting, Interval]  # baseline's time over theirs, simultaneous intervals
    learns: bool = True  # the baseline: with every seed it got below where it started
    # No seed of theirs got there within the trial, in which every one of the baseline's did.
    later: frozenset[Setting] = frozenset()

    def seconds(self, setting: Setting) -> float:
        return ranking.geometric_mean(self.times[setting])

    def told_apart(self, one: Setting, other: Setting) -> bool:
        return ranking.told_apart(self.times, one, other)


TARGET_AT = 0.5  # of a trial: what is half as fast as the baseline gets there, too
MANY_STEPS = 50  # to the target: on runs of fewer the hyperbola misleads (test T5)


def steps_to_target(evidence: Evidence, found: Standing) -> list[tuple[float, float]]:
    """(batch size, steps) of the soonest finalist at each size; of those that took many."""
    steps: dict[int, float] = {}
    for setting, times in found.times.items():
        needed = ranking.geometric_mean(times) / evidence.step_seconds[setting.batch_size]
        steps[setting.batch_size] = min(needed, steps.get(setting.batch_size, inf))
    return sorted((size, needed) for size, needed in steps.items() if needed >= MANY_STEPS)


def standing(evidence: Evidence) -> Standing:
    """Compare the finalists by time to what the baseline has reached in half of its trial.

    With every seed, so that all its times are known. At the end of the trial only what is sooner
    with every seed would have times: those that were lucky.
    """
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    target = max(ranking.cost_at(curve, TARGET_AT * curve[-1][0]) for curve in curves)
    times: dict[Setting, list[float]] = {}
    if target >= min(curve[0][1] for curve in curves):
        return Standing(target, times, {}, learns=False)  # there is nothing to be sooner at
    later = set()
    for setting, by_seed in evidence.finals.items():
        found = [ranking.time_to(curve, target) if curve else None for curve in by_seed.values()]
        shortest = evidence.step_seconds[setting.batch_size]  # a time is one step at least
        reached = [max(seconds, shortest) for seconds in found if seconds is not None]
        if len(reached) == len(by_seed):
            times[setting] = reached
        elif not reached and setting not in evidence.failed:
            later.add(setting)
    if evidence.baseline not in times or not evidence.seeds_differ():
        return Standing(target, times, {})  # one seed alone ranks nothing
    speedups = {}
    if len(times) > 1:
        speedups = ranking.speedups(times, baseline=evidence.baseline)
    return Standing(target, times, speedups, later=frozenset(later))


@dataclass(frozen=True)
class Choice:
    """The setting recommended, and what supports it."""

    setting: Setting
    verdict: Verdict
    speedup: Interval
    tied_with: tuple[int, ...]
    standing: Standing
