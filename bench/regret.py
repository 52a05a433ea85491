"""How near to the best of an exhaustive grid does `recommend` come, and for what share of its cost?

For a recipe: `autobatch recommend`; then every batch size times every learning rate of a grid, each
trained with several seeds, and timed to the loss that the baseline reaches in SECONDS of training
(steps times the measured step time, so that nothing depends on how busy the machine was). Regret is
the time at a setting over the least of the grid (which changes nothing but the two; our setting
has Adam's beta_2 and the like with it). Beside it KerasTuner, on the same space, with the
wall time that `recommend` took: random search and Hyperband.

    pip install keras-tuner tensorboard   # it does not run without the second
    python bench/regret.py RECIPE [SECONDS] [--seeds N] [--without-tuners]
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import autobatch
from autobatch.core import ranking
from autobatch.engine.local import LocalExecutor
from autobatch.opening import read_target
from autobatch.protocol import Baseline, Inspect, Recommendation, Target, Trained, Trial

HERE = Path(__file__).parent
FACTORS = [2.0**k for k in range(-2, 10)]  # of the baseline's learning rate
DEADLINE_SECONDS = 3600


@dataclass
class Workload:
    executor: LocalExecutor
    step_seconds: dict[int, float]
    learning_rate: float  # as compiled
    spent_seconds: float = 0.0  # of training and processes, on the grid

    def curves(
        self,
        size: int,
        rate: float,
        seconds: float,
        seeds: int,
        settings: dict[str, float] | None = None,
    ) -> list:
        """(training seconds, validation loss) for each seed; none where one diverged."""
        steps = max(1, round(seconds / self.step_seconds[size]))
        found = []
        for seed in range(100, 100 + seeds):  # none that `recommend` used
            task = Trial(
                batch_size=size,
                learning_rate=rate,
                learning_rate_factor=rate / self.learning_rate,
                steps=steps,
                evaluate_at=ranking.evaluation_steps(steps),
                validation_batch_size=1024,
                seed=seed,
                settings=settings or {},
            )
            began = time.perf_counter()
            outcome = self.executor.run(task, deadline_seconds=DEADLINE_SECONDS)
            self.spent_seconds += time.perf_counter() - began
            if not isinstance(outcome, Trained):
                return []  # one seed that diverges is enough
            step = self.step_seconds[size]
            found.append([(e.step * step, e.metrics["val_loss"]) for e in outcome.evaluations])
        return found

    def time_to(
        self,
        target: float,
        size: int,
        rate: float,
        seconds: float,
        seeds: int,
        settings: dict[str, float] | None = None,
    ) -> float:
        """Geometric mean over seeds; infinite where one of them does not get there."""
        curves = self.curves(size, rate, seconds, seeds, settings)
        times = [ranking.time_to(curve, target) for curve in curves]
        if not times or any(t is None for t in times):
            return math.inf
        shortest = self.step_seconds[size]
        return math.exp(sum(math.log(max(t, shortest)) for t in times) / len(times))


def tuned(kind: str, recipe: Path, sizes: list[int], base: Baseline, seconds: float) -> tuple:
    """(batch size, learning rate) that KerasTuner finds in `seconds`, in a process of its own."""
    command = [sys.executable, str(HERE / "tuners.py"), kind, str(recipe), json.dumps(sizes)]
    command += [str(base.batch_size), str(base.learning_rate), str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(ended.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("seconds", type=float, nargs="?", default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--without-tuners", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    given = parser.parse_args()
    recipe, folder = read_target(str(given.recipe), given.overrides)
    target = Target(folder=str(folder), model=recipe.model, data=recipe.data, args=recipe.args)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        ours: Recommendation = autobatch.recommend(
            given.recipe, overrides=given.overrides, run_directory=Path(scratch, "run")
        )
        wall_seconds = time.perf_counter() - began
        points = {p.batch_size: p.step_seconds for p in ours.benchmark.points}
        sizes = [size for size in points if size >= 4 and size & (size - 1) == 0]
        base = ours.baseline
        executor = LocalExecutor(target, Path(scratch, "grid"))
        inspected = executor.run(Inspect(batch_size=base.batch_size), deadline_seconds=600)
        work = Workload(executor, points, inspected.learning_rate)
        own = work.curves(base.batch_size, base.learning_rate, given.seconds, given.seeds)
        goal = max(ranking.best_cost(curve) for curve in own)
        within = (given.seconds, given.seeds)
        reference = work.time_to(goal, base.batch_size, base.learning_rate, *within)
        settings = {"autobatch": (ours.batch_size, ours.learning_rate)}
        if not given.without_tuners:
            for kind in ("random search", "Hyperband"):
                settings[kind] = tuned(kind, given.recipe, sizes, base, wall_seconds)
        work.spent_seconds = 0.0
        grid = {}
        for size in sizes:
            for factor in FACTORS:
                rate = base.learning_rate * factor
                grid[size, rate] = work.time_to(goal, size, rate, *within)
                print(f"  {size} {rate:.4g}: {grid[size, rate]:.3g} s", file=sys.stderr)
        grid_seconds = work.spent_seconds
        best = min(grid, key=grid.get)
        print(
            f"{given.recipe.stem}: val_loss {goal:.4g}, which batch {base.batch_size} at "
            f"{base.learning_rate:.4g} reaches in {reference:.3g} s; grid of {len(grid)} settings, "
            f"{given.seeds} seeds each: {grid_seconds:.0f} s; best {best[0]} at {best[1]:.4g}."
        )
        print(
            "| found by | batch | learning rate | time to it | regret | wall time | of the grid's |"
        )
        print("| --- " * 7 + "|")
        print(row("grid", best, grid[best], grid[best], grid_seconds, grid_seconds))
        for name, (size, rate) in settings.items():
            also = ours.hyperparameters if name == "autobatch" else {}
            found = work.time_to(goal, size, rate, *within, also)
            print(row(name, (size, rate), found, grid[best], wall_seconds, grid_seconds))
        print(row("as it was", (base.batch_size, base.learning_rate), reference, grid[best], 0, 1))


def row(name: str, setting: tuple, seconds: float, least: float, wall: float, grid: float) -> str:
    return (
        f"| {name} | {setting[0]} | {setting[1]:.4g} | {seconds:.3g} s | {seconds / least:.2f} | "
        f"{wall:.0f} s | {wall / grid:.0%} |"
    )


if __name__ == "__main__":
    main()
