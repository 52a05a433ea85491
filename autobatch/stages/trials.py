"""What learns soonest? Short training runs of equal training time, ranked by validation loss.

First trials: for each size a ladder of learning rates, one seed. Then the best of them and the
baseline, each with several fresh seeds, paired in initialisation and order of samples.
"""

from collections.abc import Mapping
from math import log
from statistics import median

from autobatch.core import learning_curves, ranking, throughput
from autobatch.core.caveats import contention
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.learning_curves import Curve
from autobatch.core.trial_sizes import beside_the_best
from autobatch.engine.record_file import Entry
from autobatch.errors import InterruptedRunError
from autobatch.protocol import (
    BenchmarkResult,
    Contest,
    Diverged,
    Inspected,
    Outcome,
    ProbeResult,
    Trained,
    Trial,
    UserCodeFailed,
)
from autobatch.stages.ask import Session, why_it_failed
from autobatch.stages.incomparable import (
    NOT_FINITE,
    NOT_FINITE_UNTRAINED,
    refuse_baseline,
    refuse_what_never_changes,
)
from autobatch.stages.pilot import pilot
from autobatch.stages.plan import plan, sizes_to_try, tell_what_is_too_slow, usable
from autobatch.stages.trial_budget import (
    FINALISTS,
    LATER_LADDERS,
    allot,
    most_first_trials,
    share_what_is_left,
    time_limit_ended,
)
from autobatch.units import format_duration


def run_trials(
    session: Session, inspected: Inspected, probed: ProbeResult, measured: BenchmarkResult
) -> Evidence:
    evidence = plan(session, inspected, probed, measured)
    sizes = sizes_to_try(evidence, probed.ceiling)
    jobs = allot(evidence, sizes, session, probed, measured)
    session.begin(
        "trials",
        jobs,
        evidence.run_seconds - session.kept_seconds,
        f"{len(sizes)} sizes; {format_duration(evidence.first_seconds)} of "
        f"training each, finalists {format_duration(evidence.final_seconds)}",
        contest=Contest(
            metric=evidence.metric,
            maximise=evidence.maximise,
            batch_size=evidence.baseline.batch_size,
            learning_rate=evidence.baseline_learning_rate,
            anneals=evidence.reading.anneals,
        ),
    )
    trials = _Trials(session, evidence, measured)
    if session.is_to_end():
        session.end_if_stopped()
        raise time_limit_ended(session, evidence, trials.overhead_seconds())
    pilot(session, evidence)
    tell_what_is_too_slow(evidence, probed.ceiling)
    trials.climb(sizes_to_try(evidence, probed.ceiling), within=usable(evidence, probed.ceiling))
    trials.settle()
    session.end("trials", f"{len(evidence.first)} settings, {len(evidence.finals)} finalists")
    return evidence


class _Trials:
    """Runs trials and files what they found into the evidence."""

    def __init__(self, session: Session, evidence: Evidence, measured: BenchmarkResult) -> None:
        self.session, self.evidence = session, evidence
        self._points = {point.batch_size: point for point in measured.points}
        self.best: dict[int, int] = {}  # rung of each size
        self._unable: set[int] = set()  # sizes that failed by what no rate mends: memory, time
        self._overheads: list[float] = []  # seconds of a finalist's trial beside its training
        self._of_finals: list[float] = []  # the same, as seen of finalists, with their sharpness
        self._pace: dict[int, list[float]] = {}  # by size: seconds over those by the benchmark
        self._is_cut = False  # not all trials were done, for want of time

    def climb(self, sizes: list[int], *, within: Mapping[int, float]) -> None:
        """The first trials: at each size, the learning rate whose neighbours are both worse.

        Then, while that makes no more trials than planned, at those beside the best of them.
        """
        own, planned = self.evidence.baseline.batch_size, self.evidence.first_trials
        most, tried = most_first_trials(self.evidence), set(sizes)
        each = min(LATER_LADDERS, planned // len(sizes))  # that are left for a size to come
        nearest = sorted(sizes, key=lambda size: (max(size, own) / min(size, own), size))
        for number, size in enumerate(nearest, start=1):
            self._climb_near_the_nearest(size, most - each * (len(sizes) - number))
        while len(self.evidence.first) + LATER_LADDERS <= planned:
            best = {size: Setting(size, rung) for size, rung in self.best.items()}
            costs = {s: self.evidence.first.get(best[s]) if s in best else None for s in tried}
            beside = beside_the_best(costs, within, self.evidence.critical_batch().value)
            if beside is None:
                break
            tried.add(beside)
            self._climb_near_the_nearest(beside, planned)

    def _climb_near_the_nearest(self, size: int, most: int) -> None:
        nearest = min(self.best, key=lambda known: abs(log(known / size)), default=None)
        start, stride = (0, 2) if nearest is None else (self.best[nearest], 1)
        best = self._climb_one(size, start, stride, most)
        refuse_what_never_changes(self.evidence)
        if best is not None:
            self.best[size] = best

    def _climb_one(self, size: int, start: int, stride: int, most: int) -> int | None:
        """The best rung of a ladder, which ends where the first round has so many trials."""
        costs: dict[int, float | None] = {}
        trials = self.session.recipe.trials
        highest = self.evidence.highest_rung(size)
        while (
            rung := ranking.next_rung(costs, start=start, stride=stride, highest=highest)
        ) is not None:
            finals = min(FINALISTS, 2 * len(self.best) + 2) + 1  # with two of this size
            if len(self.evidence.first) >= most:
                break
            if self.session.seconds_left() < self._finals_seconds(finals * trials.seeds):
                self._is_cut = True
                break
            setting = Setting(size, rung)
            curve = self._filed(setting, self._train(setting, self.session.recipe.seed))
            cost = None if curve is None else self.evidence.reading.cost(curve)
            if cost is None and setting == self.evidence.baseline:
                refuse_baseline(self.evidence)
            costs[rung] = self.evidence.first[setting] = cost
            if curve is not None:
                self.evidence.first_curves[setting] = curve
            is_lost = size in self._unable and ranking.best_rung(costs) is None
            is_lost |= len(costs) == 1 and self.evidence.is_far_behind(setting)
            if trials.learning_rate == "none" or is_lost:
                break
        return ranking.best_rung(costs)

    def settle(self) -> None:
        """Finalists and baseline, with fresh seeds: none that chose the finalists."""
        evidence, recipe = self.evidence, self.session.recipe
        finalists = [evidence.baseline, *evidence.finalists(FINALISTS)]
        share_what_is_left(evidence, recipe, len(finalists))
        for seed in range(recipe.seed + 1, recipe.seed + 1 + recipe.trials.seeds):
            block_seconds = self._finals_seconds(len(finalists))
            is_late = evidence.finals and self.session.seconds_left() < block_seconds / 2
            if self.session.is_to_end() or is_late:
                self._is_cut = True
                break
            try:  # a seed counts when all of them have it
                block = {s: self._train(s, seed, is_final=True) for s in finalists}
            except InterruptedRunError:
                self._is_cut = True
                break
            for setting, entry in block.items():
                evidence.finals.setdefault(setting, {})[seed] = self._filed(setting, entry)
        if self._is_cut:
            self._tell_what_is_left()
        evidence.notes.extend(contention(self._pace))
        if not evidence.finals:
            self.session.end_if_stopped()
            raise time_limit_ended(self.session, evidence, self.overhead_seconds())
        if not any(evidence.finals[evidence.baseline].values()):
            refuse_baseline(evidence)

    def _finals_seconds(self, trials: int) -> float:
        """By those that were made; before, by first trials and what sharpness is to take."""
        beside = self.overhead_seconds() + self.evidence.sharpness_seconds
        beside = median(self._of_finals or [beside])
        return trials * (self.evidence.final_seconds + beside)

    def overhead_seconds(self) -> float:
        """Of a finalist's trial without sharpness, by first trials that were made."""
        return median(self._overheads or [self.evidence.overhead_seconds])

    def _tell_what_is_left(self) -> None:
        why = self.session.why_it_ends()
        again = "" if self.session.is_stopped() else " Started again, it goes on from here."
        self.evidence.notes.append(
            f"Not all trials were done, since {why}; this is the best answer so far.{again}"
        )

    def _train(self, setting: Setting, seed: int, *, is_final: bool = False) -> Entry:
        evidence = self.evidence
        seconds = evidence.final_seconds if is_final else evidence.first_seconds
        size, rate = setting.batch_size, evidence.learning_rate(setting)
        steps = max(1, round(seconds / evidence.step_seconds[size]))
        beside_seconds = evidence.overhead_seconds + evidence.sharpness_seconds
        task = Trial(
            batch_size=size,
            learning_rate=rate,
            steps=steps,
            evaluate_at=learning_curves.evaluation_steps(
                steps, is_final=is_final, late=evidence.reading.late
            ),
            validation_batch_size=evidence.validation_batch_size,
            seed=seed,
            settings=evidence.hyperparameters(size),
            schedule_speed=evidence.compiled.schedule_speed(size),
            limit_bytes=self.session.job_limit_bytes,
            sharpness=is_final and self.session.recipe.trials.sharpness,
            validation_samples=evidence.validation_samples,
            built_validation_size=evidence.baseline.batch_size,  # it fits, and is what they see
            schedule=evidence.reading.schedule,
            batch_ratio=evidence.compiled.batch_norm_ratio(size),
            rate_argument_stays=evidence.inspected.rate_argument_stays,
        )
        return self.session.ask(
            "trials",
            task,
            f"batch {size}, learning rate {rate:.3g}, seed {seed}",
            self._phrase,
            deadline_seconds=self.session.deadline_of_work(seconds + beside_seconds),
            # Checks of theirs may raise where the loss is no longer finite.
            user_code_may_fail=evidence.baseline in evidence.first,
        )

    def _filed(self, setting: Setting, entry: Entry) -> Curve | None:
        """(training seconds, cost) of one trial that counts; None if it diverged or failed."""
        evidence, size, task, found = self.evidence, setting.batch_size, entry.task, entry.outcome
        assert isinstance(task, Trial)  # that was asked
        step_seconds = evidence.step_seconds[size]
        if isinstance(found, Diverged):
            if found.step == 0:  # whatever the rate
                evidence.failed[setting] = f"{evidence.metric} {NOT_FINITE_UNTRAINED}"
            return None
        if not isinstance(found, Trained):
            evidence.failed[setting] = why_it_failed(found)
            if not isinstance(found, UserCodeFailed):  # their checks may mind the loss
                self._unable.add(size)
            return None
        if found.sharpness is not None:
            evidence.sharpness.setdefault(setting, []).append(found.sharpness)
        evidence.starts[task.seed] = found.start
        beside_seconds = max(0.0, entry.seconds - found.train_seconds)
        if task.seed == self.session.recipe.seed:  # a first trial, which is evaluated less often
            more_seconds = learning_curves.MORE_EVALUATIONS * found.evaluation_seconds
            self._overheads.append(beside_seconds + more_seconds)
        else:
            self._of_finals.append(beside_seconds)
        if found.as_compiled:
            pace = throughput.pace(self._points[size], found.steps, found.train_seconds)
            self._pace.setdefault(size, []).append(pace)
        metric, sign = evidence.metric, -1.0 if evidence.maximise else 1.0
        if any(metric not in each.metrics for each in found.evaluations):
            evidence.failed[setting] = f"{metric} {NOT_FINITE}"
            return None
        # Executions of several steps may go on beyond its end.
        curve = [(e.step * step_seconds, sign * e.metrics[metric]) for e in found.evaluations]
        curve, stays = learning_curves.steadied(curve), evidence.reading.anneals
        return learning_curves.until(curve, task.steps * step_seconds, stays=stays)

    def _phrase(self, outcome: Outcome) -> str:
        if isinstance(outcome, Trained) and outcome.evaluations:
            metric = self.evidence.metric
            last = outcome.evaluations[-1].metrics.get(metric)
            return f"{metric} is not finite" if last is None else f"{metric} {last:.4g}"
        return why_it_failed(outcome)
