"""What the trials found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import floor, hypot, inf, log2
from typing import Literal

from autobatch.core import learning_curves, noise_scale, ranking, scaling
from autobatch.core.compiled import Compiled
from autobatch.core.learning_curves import Curve, best_cost, last_cost
from autobatch.core.metric import is_maximised
from autobatch.core.warmup_stable_decay import OWN, Reading
from autobatch.protocol import Inspected, Interval, NoiseScale

Verdict = Literal["better", "tie", "inconclusive"]
MIN_UPDATES = 20  # of a trial: fewer tell nothing
HOPELESS = 3.0  # times as fast is the best of first trials: luck alone does not make up for it
FAR_BEHIND = 2 * HOPELESS  # nor does another rung of the same size, which may be twice as fast
RISE = 0.1  # of what was learned at best: lost again by the end of the trial, it is told


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
    compiled: Compiled
    step_seconds: dict[int, float]
    metric: str
    reading: Reading = OWN  # with the schedule that all trials train by
    instead_of: int | None = None  # the user's own batch size, where the baseline stands for it
    noise: tuple[NoiseScale, ...] = ()  # early and late in the baseline's training
    divergence_rate: float | None = None  # of the baseline, by a range test
    first: dict[Setting, float | None] = field(default_factory=dict)  # cost; None: diverged
    first_curves: dict[Setting, Curve] = field(default_factory=dict)  # of those with a cost
    finals: dict[Setting, dict[int, Curve | None]] = field(default_factory=dict)  # by seed
    starts: dict[int, str] = field(default_factory=dict)  # by seed: hashes of initial weights
    failed: dict[Setting, str] = field(default_factory=dict)  # why, where none diverged
    step_doubts: dict[int, float] = field(default_factory=dict)  # half of ln's 95 % interval
    sharpness: dict[Setting, list[float | str]] = field(default_factory=dict)  # or why it is none
    budget_seconds: float = 0.0  # of training, all trials together
    first_trials: int = 0  # as planned
    first_seconds: float = 0.0  # of each
    final_seconds: float = 0.0
    validation_batch_size: int = 0
    validation_samples: int | None = None  # that trials are evaluated on; None: all there are
    overhead_seconds: float = 0.0  # of a trial beside its training, as expected
    sharpness_seconds: float = 0.0  # of a finalist's, besides, where it was asked for
    seeds: int = 0  # that the budget was shared among; fewer were trained where time was up
    seed_seconds: float = 0.0  # of the budget, for one seed of all finalists
    seed_run_seconds: float = 0.0  # the same, with starts and evaluations
    run_seconds: float = 0.0  # that the whole run takes as planned
    time_limit: float = inf  # of it
    goes_on: bool = True  # with further seeds; else finalists' trials were shorter than planned
    notes: list[str] = field(default_factory=list)

    @property
    def inspected(self) -> Inspected:
        return self.compiled.inspected

    @property
    def maximise(self) -> bool:
        """Whether more of the metric is better."""
        return is_maximised(self.metric)

    @property
    def initial_cost(self) -> float:
        """Of the untrained model."""
        curve = self.first_curves.get(self.baseline)
        return curve[0][1] if curve else inf

    @property
    def least_steps(self) -> int:
        """Batches of a trial that make enough updates."""
        return MIN_UPDATES * self.inspected.accumulation_steps

    def learning_rate(self, setting: Setting) -> float:
        return self._by_the_rule(setting.batch_size) * 2.0**setting.rung

    def _by_the_rule(self, batch_size: float) -> float:
        return scaling.scaled(
            self.baseline_learning_rate,
            self.rule,
            old_batch=self.baseline.batch_size,
            new_batch=batch_size,
            critical_batch=self.saturation(),
        )

    def saturation(self) -> float:
        """The batch that the rule saturates at; infinite where the noise scale was not resolved."""
        value = self.noise[-1].value if self.noise else None
        return inf if value is None else value / self.inspected.accumulation_steps

    def ends_in_warm_up(self, batch_size: int) -> bool:
        """Whether the first trials do: of what is seen of a rise alone, no rate can be judged."""
        steps = self.compiled.warm_up_steps(batch_size)
        return steps * self.step_seconds[batch_size] > self.first_seconds

    def hyperparameters(self, batch_size: float) -> dict[str, float]:
        """What else of the optimizer goes with the size; empty at the user's own.

        Of a batch accumulated in parts, the part that has one update's share: it may be a fraction.
        """
        return self.compiled.hyperparameters(batch_size, self._by_the_rule(batch_size))

    def highest_rung(self, batch_size: int) -> int:
        """The last that a trial is worth: at every size, the rule's share of the rate that broke.

        A ceiling and no more: constant rates break down below the one that a short test found. (One
        below the baseline's own, which trains, is not believed.) Where no noise scale was resolved
        it grows with the rule, without end: so does the rate that breaks, up to a batch that is not
        known. In a warm-up the rule's own: what is above would be found for its rise alone.
        """
        broke = self._rung_that_broke()
        most = 0 if self.ends_in_warm_up(batch_size) else ranking.RUNG_BOUNDS[1]
        return most if broke is None else min(most, broke)

    def _rung_that_broke(self) -> int | None:
        """The last below the rate at which the range test saw training break down, if it did."""
        found = self.divergence_rate
        if found is None or found < self.baseline_learning_rate:
            return None
        return floor(log2(found / self.baseline_learning_rate))

    def critical_batch(self, steps_to_target: Sequence[tuple[float, float]] = ()) -> Interval:
        """What is known of it from the noise scale, and from trials once there are some.

        In samples of a batch: where the user accumulates gradients, a part of those of an update.
        """
        noise, parts = self.noise[-1] if self.noise else None, self.inspected.accumulation_steps
        steps = [(size * parts, needed) for size, needed in steps_to_target]
        return noise_scale.critical_batch(noise, steps).times(1 / parts)

    def costs(self, batch_size: int) -> dict[int, float | None]:
        """What the first trials found at one size, by rung."""
        return {s.rung: cost for s, cost in self.first.items() if s.batch_size == batch_size}

    def step_doubt(self, one: Setting, other: Setting) -> float:
        """Half of the 95 % interval of ln of one's step time over the other's."""
        if one.batch_size == other.batch_size:
            return 0.0
        return hypot(*(self.step_doubts.get(s.batch_size, 0.0) for s in (one, other)))

    def seeds_differ(self) -> bool:
        """Whether any finalist trained otherwise with another seed: else nothing tells chance."""
        return any(
            len({tuple(curve) for curve in curves.values() if curve}) > 1
            for curves in self.finals.values()
        )

    def mean_sharpness(self, setting: Setting) -> float | None:
        found = [each for each in self.sharpness.get(setting, ()) if not isinstance(each, str)]
        return sum(found) / len(found) if found else None

    def on_the_brink(self, setting: Setting) -> str | None:
        """What was seen to go wrong at twice the learning rate of `setting`, if anything was."""
        costs, broke = self.costs(setting.batch_size), self._rung_that_broke()
        if ranking.breaks_down_next(costs, setting.rung, self.initial_cost):
            cost, twice = costs[setting.rung], costs[setting.rung + 1]
            if cost is None or twice is None:
                why = self.failed.get(Setting(setting.batch_size, setting.rung + 1))
                return f"could not be trained ({why})" if why else "diverged"
            return f"ended a trial at {self.shown(twice):.3g}, not {self.shown(cost):.3g}"
        if broke is not None and setting.rung >= broke:
            return (
                f"is by the rule beyond {self.divergence_rate:.3g} at batch "
                f"{self.baseline.batch_size}, where a short test of rising rates broke down"
            )
        return None

    def finalists(self, count: int) -> list[Setting]:
        """`count` of the best that were tried, best first; at most two rates of each size.

        One seed ranked them, and may have been wrong about neighbours. The second of a size whose
        best is on the brink is half its rate. The best of the baseline's size is always among
        them: it tells what the rate alone gains. The best but the baseline is, too; of the others,
        none whose least cost the best of all reached in a small part of the time.
        """
        ranked: list[tuple[float, Setting]] = []
        firsts: list[Setting] = []  # of each size
        for size in sorted({setting.batch_size for setting in self.first}):
            costs = {rung: cost for rung, cost in self.costs(size).items() if cost is not None}
            best = ranking.best_rung(costs)
            if best is None:
                continue
            first = Setting(size, best)
            firsts.append(first)
            ranked.append((costs[best], first))
            second = ranking.best_rung({rung: costs[rung] for rung in costs if rung != best})
            if best - 1 in costs and self.on_the_brink(first):
                ranked.append((costs[best], Setting(size, best - 1)))
            elif second is not None:
                ranked.append((costs[second], Setting(size, second)))
        ordered = [s for _, s in sorted(ranked, key=lambda each: each[0]) if s != self.baseline]
        own = [s for s in firsts if s in ordered and s.batch_size == self.baseline.batch_size]
        hopeful = [s for s in ordered if s == ordered[0] or self._times_behind(s) < HOPELESS]
        others = [setting for setting in hopeful if setting not in own]
        return sorted([*own, *others[: count - len(own)]], key=ordered.index)

    def is_far_behind(self, setting: Setting) -> bool:
        """Whether no other rate of the size is worth a trial, after the first of them."""
        return FAR_BEHIND <= self._times_behind(setting) < inf

    def _times_behind(self, setting: Setting) -> float:
        """How many times as soon the best was at its least cost; infinite: it learned nothing."""
        curves, cost = self.first_curves, self.first[setting]
        if cost is None or setting not in curves:
            return 1.0
        best = min(curves.values(), key=self.reading.cost)
        seconds, taken = (learning_curves.time_to(curve, cost) for curve in (best, curves[setting]))
        if seconds is None or taken is None:
            return 1.0
        return taken / seconds if seconds else inf

    def named(self, setting: Setting) -> str:
        rate = self.learning_rate(setting)
        return f"batch {setting.batch_size} with learning rate {rate:.3g}"

    def listed(self, settings: Sequence[Setting]) -> str:
        *most, last = (
            self.named_baseline if s == self.baseline else self.named(s) for s in settings
        )
        return f"{', '.join(most)} and {last}" if most else last

    @property
    def named_baseline(self) -> str:
        """The user's own setting, or what stands for it, as a sentence has it."""
        told = self.named(self.baseline)
        return self.if_yours(f"your {told}", f"the baseline ({told})")

    def if_yours(self, yours: str, otherwise: str) -> str:
        """Words for a baseline that is the user's own setting, or else for one that stands in."""
        return yours if self.instead_of is None else otherwise

    def shown(self, cost: float) -> float:
        """The metric as the user knows it, from a cost (lower is better)."""
        return -cost if self.maximise else cost

    def goes_wrong(self, setting: Setting) -> bool:
        """Whether it loses again much of what it learned, and ends above the baseline."""
        ends_above = self._mean(setting, last_cost) > self._mean(self.baseline, last_cost)
        return ends_above and self.rise(setting) is not None

    def rise(self, setting: Setting) -> tuple[float, float] | None:
        """(best, last) of the metric, means over seeds, where it got much worse again."""
        first = self._mean(setting, lambda curve: curve[0][1])
        best, last = self._mean(setting, best_cost), self._mean(setting, last_cost)
        is_much = best < first and last - best > RISE * (first - best)
        return (self.shown(best), self.shown(last)) if is_much else None

    def final_cost(self, setting: Setting) -> float | None:
        """The metric that its trials came to, mean over the seeds; None if none finished."""
        is_any = any(self.finals[setting].values())
        return self.shown(self._mean(setting, self.reading.cost)) if is_any else None

    def _mean(self, setting: Setting, cost: Callable[[Curve], float]) -> float:
        """Over the seeds that finished; infinite where none did."""
        costs = [cost(curve) for curve in self.finals[setting].values() if curve]
        return sum(costs) / len(costs) if costs else inf
