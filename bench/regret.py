"""How near to the best of an exhaustive grid does `recommend` come, and for what share of its cost?

For a recipe: `autobatch recommend`; then every batch size times every learning rate of a grid, each
trained with several seeds (those that cannot matter are counted, not trained), and timed to the
loss that the baseline reaches in SECONDS of training (steps times the measured step time, so that
nothing depends on how busy the machine was). Regret is the time at a setting over the least of the
grid (which changes nothing but the two; our setting has Adam's beta_2 and the like with it). The
least of many is lucky: the grid's best few are timed once more with fresh seeds, which choose the
best of them; that, and what was found, with others again (N of them with --timed-seeds N), for
LONGER times as long, and those times count: their geometric means, and the 95 % interval of their
ratio, by seed. A seed that does not get there counts as all that time. Beside it KerasTuner, on the
same space, with the wall time that `recommend` took: random search and Hyperband.

    pip install keras-tuner tensorboard   # it does not run without the second
    python bench/regret.py RECIPE [SECONDS] [--seeds N] [--timed-seeds N] [--without-tuners]
        [--keep DIRECTORY] [--among SIZE:RATE,SIZE:RATE...] [--set KEY=VALUE]...

With --keep it goes on where it was ended. With --among the grid is those settings alone, such as an
earlier one found to be best; the share of its cost then says nothing.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from questions import HERE, head

import autobatch
from autobatch.core import learning_curves, quantiles, ranking
from autobatch.engine.local import LocalExecutor
from autobatch.engine.record import Record
from autobatch.engine.record_file import Entry
from autobatch.opening import question_of, read_target
from autobatch.protocol import Baseline, Diverged, Inspect, Inspected, Trained, Trial

Setting = tuple[int, float]  # batch size, learning rate
FACTORS = [2.0**k for k in range(-2, 10)]  # of the baseline's learning rate
DEADLINE_SECONDS = 3600
BEST = 5  # of the grid's settings, timed again
LONGER = 3  # than the baseline's training to the loss, which fresh seeds may reach later


@dataclass
class Timed:
    setting: Setting
    seconds: list[float]  # by seed
    missed: int  # seeds that did not get there

    def row(self, name: str, best: "Timed", wall_seconds: float, grid_seconds: float) -> str:
        batch_size, rate = self.setting
        missed = f" ({self.missed} of {len(self.seconds)} do not)" if self.missed else ""
        return (
            f"| {name} | {batch_size} | {rate:.4g} | {ranking.geometric_mean(self.seconds):.3g} s"
            f"{missed} | {self.regret(best)} | {wall_seconds:.0f} s "
            f"| {wall_seconds / grid_seconds:.0%} |"
        )

    def regret(self, best: "Timed") -> str:
        """The ratio of the times, and its 95 % interval, by Student's t of their logarithms."""
        if self is best:
            return "1.00"
        ratios = np.log(self.seconds) - np.log(best.seconds)
        mean, n = float(ratios.mean()), len(ratios)
        half = quantiles.student(0.975, n - 1) * float(ratios.std(ddof=1)) / math.sqrt(n)
        low, high = math.exp(mean - half), math.exp(mean + half)
        return f"{math.exp(mean):.2f} ({low:.2f} to {high:.2f})"


@dataclass
class Workload:
    executor: LocalExecutor
    record: Record
    step_seconds: dict[int, float]
    spent_seconds: float = 0.0  # of training and processes, on the grid
    beyond_seconds: float = 0.0  # of them, after the loss was reached

    def trained(
        self,
        size: int,
        rate: float,
        seconds: float,
        seed: int,
        settings: dict[str, float] | None = None,
    ) -> tuple[learning_curves.Curve | None, float]:
        """(training seconds, validation loss), None where it diverged; and the seconds it took."""
        steps = max(1, round(seconds / self.step_seconds[size]))
        task = Trial(
            batch_size=size,
            learning_rate=rate,
            steps=steps,
            evaluate_at=learning_curves.evaluation_steps(steps, is_final=True),
            validation_batch_size=1024,
            seed=seed,
            settings=settings or {},
        )
        entry = self.record.find(task) or self._measure(task)
        outcome = entry.outcome
        self.spent_seconds += entry.seconds
        if isinstance(outcome, Diverged):
            return None, entry.seconds
        if not isinstance(outcome, Trained):
            raise SystemExit(f"{task} failed: {outcome}")
        step = self.step_seconds[size]
        curve = [(e.step * step, e.metrics["val_loss"]) for e in outcome.evaluations]
        return learning_curves.steadied(curve), entry.seconds

    def _measure(self, task: Trial) -> Entry:
        began = time.perf_counter()
        outcome = self.executor.run(task, deadline_seconds=DEADLINE_SECONDS)
        seconds = time.perf_counter() - began
        entry = Entry(task=task, outcome=outcome, seconds=seconds, log=None)
        self.record.add(entry)
        return entry

    def reached(self, baseline: Baseline, seconds: float, seeds: range) -> float:
        """The loss that the baseline reaches in so many seconds with every seed."""
        losses = []
        for seed in seeds:
            size, rate = baseline.batch_size, baseline.learning_rate
            curve, _ = self.trained(size, rate, seconds, seed)
            if curve is None:
                raise SystemExit(f"batch {size} at {rate:.4g} diverges: nothing to compare with")
            losses.append(learning_curves.best_cost(curve))
        return max(losses)

    def time_to(
        self,
        target: float,
        size: int,
        rate: float,
        seconds: float,
        seeds: range,
    ) -> float:
        """Geometric mean over seeds; infinite where one of them does not get there.

        The seeds after that one are not trained. Where it took all its time, rather than diverge,
        they are counted as long as it: a grid would train them.
        """
        times: list[float] = []
        for seed in seeds:
            reached, took_seconds = self._once(target, (size, rate), seconds, seed, {})
            if math.isinf(reached):
                self.spent_seconds += took_seconds * (len(seeds) - len(times) - 1)
                return math.inf
            self.beyond_seconds += seconds - reached
            times.append(max(reached, self.step_seconds[size]))
        return ranking.geometric_mean(times)

    def _once(
        self,
        target: float,
        setting: Setting,
        seconds: float,
        seed: int,
        hyperparameters: dict[str, float],
    ) -> tuple[float, float]:
        """(when it gets there, infinite if it never does; what it took, 0 where it diverged)."""
        curve, took_seconds = self.trained(*setting, seconds, seed, hyperparameters)
        if curve is None:
            return math.inf, 0.0
        reached = learning_curves.time_to(curve, target)
        return math.inf if reached is None else reached, took_seconds

    def timed(
        self,
        target: float,
        setting: Setting,
        seconds: float,
        seeds: range,
        hyperparameters: dict[str, float] | None = None,
    ) -> Timed:
        """With each seed; one that does not get there counts as `seconds`."""
        shortest, also = self.step_seconds[setting[0]], hyperparameters or {}
        times = [self._once(target, setting, seconds, seed, also)[0] for seed in seeds]
        missed = sum(map(math.isinf, times))
        return Timed(setting, [min(max(t, shortest), seconds) for t in times], missed)


def is_too_high(lower: list[float]) -> bool:
    """Whether rates above need no training, by the times at all lower rates of a size.

    They do not get there, either, once two in a row have not; they are counted as long as the last.
    """
    return any(map(math.isfinite, lower)) and all(map(math.isinf, lower[-2:]))


def settings(given: str) -> list[Setting]:
    pairs = (each.split(":") for each in given.split(","))
    return [(int(size), float(rate)) for size, rate in pairs]


def tuned(
    kind: str,
    recipe: Path,
    overrides: list[str],
    sizes: list[int],
    base: Baseline,
    seconds: float,
) -> Setting:
    """What KerasTuner finds in `seconds`, in a process of its own."""
    command = [sys.executable, str(HERE / "tuners.py"), kind, str(recipe), json.dumps(sizes)]
    command += [str(base.batch_size), str(base.learning_rate), str(seconds), *overrides]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    size, rate = json.loads(ended.stdout.splitlines()[-1])
    return size, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("seconds", type=float, nargs="?", default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--timed-seeds", type=int, default=3)
    parser.add_argument("--without-tuners", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--among", type=settings, default=[])
    given = parser.parse_args()
    recipe, folder = read_target(str(given.recipe), given.overrides)
    target = question_of(recipe, folder)
    # None of ours.
    seeds, fresh = (range(first, first + given.seeds) for first in (100, 200))
    last = range(300, 300 + given.timed_seeds)
    longer = LONGER * given.seconds
    with tempfile.TemporaryDirectory() as scratch:
        kept = given.keep or Path(scratch)
        began = time.perf_counter()
        ours = autobatch.recommend(
            given.recipe, overrides=given.overrides, run_directory=kept / "run"
        )
        wall_seconds = max(time.perf_counter() - began, ours.wall_seconds)
        points = {p.batch_size: p.step_seconds for p in ours.benchmark.points}
        sizes = [size for size in points if size >= 4 and size & (size - 1) == 0]
        base = ours.baseline
        executor = LocalExecutor(target, kept / "logs")
        # An inspection also keeps slow data for the processes to come.
        inspected = executor.run(Inspect(batch_size=base.batch_size), deadline_seconds=600)
        assert isinstance(inspected, Inspected), inspected
        with Record(kept / "grid", target, free_bytes=0, version="bench") as record:
            work = Workload(executor, record, points)
            goal = work.reached(base, given.seconds, seeds)
            found = {"autobatch": (ours.batch_size, ours.learning_rate)}
            if not given.without_tuners:
                for kind in ("random search", "Hyperband"):
                    told = kept / f"{kind}.json"
                    if not told.exists():
                        chosen = tuned(
                            kind, given.recipe, given.overrides, sizes, base, wall_seconds
                        )
                        told.write_text(json.dumps(chosen))
                    size, rate = json.loads(told.read_text())
                    found[kind] = (size, rate)
            work.spent_seconds = work.beyond_seconds = 0.0
            grid: dict[Setting, float] = {}
            cell_seconds = 0.0
            rates = [base.learning_rate * factor for factor in FACTORS]
            for size, rate in given.among or itertools.product(sizes, rates):
                lower = [grid[key] for key in grid if key[0] == size]
                if not given.among and is_too_high(lower):
                    grid[size, rate] = math.inf
                    work.spent_seconds += cell_seconds
                    continue
                before_seconds = work.spent_seconds
                grid[size, rate] = work.time_to(goal, size, rate, given.seconds, seeds)
                cell_seconds = work.spent_seconds - before_seconds
                print(f"  {size} {rate:.4g}: {grid[size, rate]:.3g} s", file=sys.stderr)
            spent, beyond = work.spent_seconds, work.beyond_seconds
            again = {
                cell: work.time_to(goal, *cell, given.seconds, fresh)
                for cell in sorted(grid, key=grid.__getitem__)[:BEST]
            }
            best = min(again, key=again.__getitem__)
            print(
                f"{given.recipe.stem}: val_loss {goal:.4g}, which batch {base.batch_size} at "
                f"{base.learning_rate:.4g} reaches in {given.seconds:g} s; grid of {len(grid)} "
                f"settings, {given.seeds} seeds each: {spent:.0f} s, {beyond:.0f} s of it after "
                f"that loss was reached; best {best[0]} at {best[1]:.4g}."
            )
            head(
                *("found by", "batch", "learning rate", "time to it", "regret", "wall time"),
                "of the grid's",
            )
            least, cost = work.timed(goal, best, longer, last), spent - beyond
            print(least.row("grid", least, cost, cost))
            of = {}
            for name, setting in found.items():
                also = ours.hyperparameters if name == "autobatch" else {}
                of[name] = work.timed(goal, setting, longer, last, also)
                print(of[name].row(name, least, wall_seconds, cost))
            own = work.timed(goal, (base.batch_size, base.learning_rate), longer, last)
            print(own.row("as it was", least, 0, 1))
            print(f"(those that do not get there in {longer:g} s count as that)")
            told = f"{ours.speedup.value:.2f} ({ours.speedup.low:.2f} to {ours.speedup.high:.2f})"
            by_these = own.regret(of["autobatch"])
            print(f"autobatch said {ours.verdict}, {told} times as soon; by these seeds {by_these}")


if __name__ == "__main__":
    main()
