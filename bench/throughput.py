"""Is the rate that `autobatch benchmark` names what `fit` delivers, and are its intervals honest?

1. Every shipped recipe at three sizes: the rate named, against a plain `fit` in an interpreter of
   its own, for 10 s before and 10 s after, since the machine's speed drifts; several times.
2. The whole benchmark of one recipe 20 times: how often its 95 % intervals hold the median of all.
3. What binds: the small MLP, the same with its data ten times an epoch, a pipeline that sleeps,
   and one that does not.

    python bench/throughput.py accuracy|intervals|diagnosis [--repeats N] [--recipe NAME]...
                               [--backend BACKEND]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from questions import HERE, RECIPES, head

from autobatch.engine.record_file import FILE_NAME
from autobatch.protocol import BenchmarkPoint, BenchmarkResult

SIZES = {"digits_mlp": (32, 128, 512), "digits_cnn": (32, 128, 512), "source_lm": (8, 16, 32)}
SECONDS = 20
Asked = tuple[Path, tuple[int, ...]]
PROBED: dict[Asked, str] = {}  # the record of the first such run, without its benchmarks


def measured(recipe: Path, sizes: tuple[int, ...], backend: str) -> BenchmarkResult:
    """Anew, by the command that users run; but what fits, which is not the question, only once."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch, "run")
        run.mkdir()
        if (recipe, sizes) in PROBED:
            (run / FILE_NAME).write_text(PROBED[recipe, sizes])
        command = [sys.executable, "-m", "autobatch", "benchmark"]
        command += [str(recipe), "--json", "--quiet", "--run-dir", str(run)]
        command += ["--sizes", ",".join(map(str, sizes)), "--set", f"backend={backend}"]
        command += ["--set", f"batch_sizes.max={max(sizes)}"]
        command += ["--set", f"baseline.batch_size={sizes[0]}"]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        found = msgspec.json.decode(told, type=BenchmarkResult)
        header, *entries = (run / FILE_NAME).read_text().splitlines(keepends=True)
        probes = [e for e in entries if json.loads(e).get("task", {}).get("type") == "probe"]
        PROBED.setdefault((recipe, sizes), header + "".join(probes))
        return found


def rate_of_plain_fit(
    name: str, size: int, environment: dict[str, str] | None = None, seconds: float = SECONDS
) -> float:
    """Samples per second, from `fit` alone."""
    command = [sys.executable, str(HERE / "fit.py"), name, str(size), f"{seconds}s"]
    ended = subprocess.run(
        command,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 600,
    )
    return float(ended.stdout.split()[-1])


def accuracy(repeats: int, names: list[str], backend: str) -> None:
    head("recipe", "batch", "named, samples/s", "`fit` for 20 s", "difference, median", "each")
    for name in names:
        sizes = SIZES[name]
        named: dict[int, list[float]] = {size: [] for size in sizes}
        delivered: dict[int, list[float]] = {size: [] for size in sizes}
        for size in sizes * repeats:
            before = rate_of_plain_fit(name, size, {"KERAS_BACKEND": backend}, SECONDS / 2)
            (point,) = measured(RECIPES / f"{name}.yaml", (size,), backend).points
            after = rate_of_plain_fit(name, size, {"KERAS_BACKEND": backend}, SECONDS / 2)
            named[size].append(point.samples_per_second)
            delivered[size].append((before + after) / 2)
        for size in sizes:
            pairs = zip(named[size], delivered[size], strict=True)
            differences = [ours / theirs - 1 for ours, theirs in pairs]
            print(
                f"| {name} | {size} | {statistics.median(named[size]):,.0f} | "
                f"{statistics.median(delivered[size]):,.0f} | "
                f"{statistics.median(differences):+.1%} | "
                f"{', '.join(f'{each:+.1%}' for each in differences)} |"
            )
            sys.stdout.flush()


def intervals(repeats: int, names: list[str], backend: str) -> None:
    name, sizes = names[0], SIZES[names[0]]  # the first named: it takes its time
    points: dict[int, list[BenchmarkPoint]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for point in measured(RECIPES / f"{name}.yaml", sizes, backend).points:
            points[point.batch_size].append(point)
    head("batch", "long-run median", "held by", "half-width, median", "spread of the rates")
    for size, found in points.items():
        rates = [point.samples_per_second for point in found]
        truth = statistics.median(rates)
        held = sum(point.low <= truth <= point.high for point in found)
        width = statistics.median((p.high - p.low) / 2 / p.samples_per_second for p in found)
        spread = statistics.stdev(rates) / truth
        print(f"| {size} | {truth:,.0f} | {held} of {len(found)} | {width:.1%} | {spread:.1%} |")


def diagnosis(repeats: int, _names: list[str], backend: str) -> None:
    head("job", "batch", "samples/s", "bound by", "evidence")
    with tempfile.TemporaryDirectory() as scratch:
        jobs = {"digits_mlp": RECIPES / "digits_mlp.yaml"}
        for loader, model in (
            ("digits_in_long_epochs", f"{RECIPES}/digits.py:build_mlp"),
            ("sleeping_pipeline", f"{HERE}/models.py:small"),
            ("quick_pipeline", f"{HERE}/models.py:small"),
        ):
            jobs[loader] = Path(scratch, f"{loader}.yaml")
            jobs[loader].write_text(f"model: {model}\ndata: {HERE}/models.py:{loader}\n")
        for job, recipe in jobs.items():
            for _ in range(repeats):
                for point in measured(recipe, (16, 32, 64, 128), backend).points:
                    print(
                        f"| {job} | {point.batch_size} | {point.samples_per_second:,.0f} | "
                        f"{point.bound_by} | {point.evidence} |"
                    )
                    sys.stdout.flush()


def main() -> None:
    tasks = {"accuracy": (accuracy, 3), "intervals": (intervals, 20), "diagnosis": (diagnosis, 1)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=tasks, default="accuracy")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--recipe", action="append", choices=SIZES)
    parser.add_argument("--backend", default=os.environ.get("KERAS_BACKEND", "tensorflow"))
    given = parser.parse_args()
    task, repeats = tasks[given.what]
    task(given.repeats or repeats, given.recipe or list(SIZES), given.backend)


if __name__ == "__main__":
    main()
