"""Our answer against the truth: which is the largest batch that trains, and at what cost?

For each model, under a limit that its data cannot satisfy: `autobatch probe`; then the truth, with
nothing of autobatch in it: sizes are bisected, and one fits if a plain `fit` with validation
(bench/fit.py) of 200 steps, or 30 s where those take longer, survives in each of three fresh
interpreters. Then our answer, the size that keeps the headroom, and one above the truth meet a
plain fit of 200 steps, whatever it takes. On the CPU operations overlap, and the input
pipeline shares the allocator, so that memory varies a little from run to run: a size near the limit
survives in some processes and not in others. With --exact the truth is found to the sample, else to
0.5 %.

    python bench/probe.py [NAME ...] [--exact]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import autobatch

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
FIT_STEPS, TRUTH_SECONDS = 200, 30
SURVIVES = "survives"
REPEATS = 3  # of a size that is called fitting

# name: (folder, model, data or None for synthetic, limit in MiB)
MODELS = {
    "digits_mlp": (RECIPES, "digits.py:build_mlp", None, 64),
    "digits_cnn": (RECIPES, "digits.py:build_cnn", "digits.py:load_images", 150),
    "source_lm": (RECIPES, "source_lm.py:build_model", "source_lm.py:load_data", 300),
    "resnet50": (HERE, "models.py:resnet50", "models.py:images", 1000),
    "mobilenet_v2": (HERE, "models.py:mobilenet_v2", "models.py:images", 500),
    "two_inputs": (HERE, "models.py:two_inputs", "models.py:question_and_text", 300),
    "gan": (HERE, "models.py:gan", "models.py:small_images", 150),
    "convnet": (HERE, "models.py:convnet", "models.py:images", 600),
}


class Truth:
    """What plain fits of one model say; each size is asked once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: dict[int, list[str]] = {}

    def fits(self, size: int) -> bool:
        """Every time, of REPEATS; one failure is enough."""
        said = self.said.setdefault(size, [])
        while len(said) < REPEATS and "out of memory" not in said:
            said.append(plain_fit(self.name, size, TRUTH_SECONDS))
        return said == [SURVIVES] * REPEATS

    def largest(self, near: int, upper: int, exact: bool) -> int:
        """The largest size that trains: gallop out from `near`, then bisect."""
        good, bad, step = 0, upper + 1, max(1, near // 100)
        size, within = near, 1 if exact else max(1, near // 200)
        while good + within < bad:
            if self.fits(size):
                good = size
            else:
                bad = size
            if bad == upper + 1 or good == 0:
                size = min(good + step, upper) if good else max(1, bad - step)
                step *= 2
            else:
                size = (good + bad) // 2
        return good


def plain_fit(name: str, size: int, at_most_seconds: float = 3600) -> str:
    """What a plain fit of FIT_STEPS steps says, under the same allocator and limit."""
    limit = str(MODELS[name][3])
    environment = {
        "TF_CPU_ALLOCATOR_USE_BFC": "1",
        "TF_CPU_BFC_MEM_LIMIT_IN_MB": limit,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "AT_MOST_SECONDS": str(at_most_seconds),
    }
    command = [sys.executable, str(HERE / "fit.py"), name, str(size), str(FIT_STEPS)]
    ended = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if ended.returncode == 0:
        return SURVIVES
    log = ended.stdout + ended.stderr
    if "ResourceExhausted" in log or ended.returncode < 0:
        return "out of memory"
    raise SystemExit(f"{name}, batch {size}: {log[-2000:]}")


def row(name: str, exact: bool) -> str:
    folder, model, data, limit = MODELS[name]
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch, "recipe.yaml")
        given = f"data: {folder}/{data}\n" if data else ""
        recipe.write_text(f"model: {folder}/{model}\n{given}")
        began = time.perf_counter()
        ours = autobatch.probe(
            recipe,
            overrides=[f"device.memory_limit={limit}MiB"],
            run_directory=Path(scratch, "run"),
            exact=exact,
        )
        seconds = time.perf_counter() - began
        searched = [point for point in ours.probes if point.limit_bytes == ours.limit_bytes]
    upper = 65536 if ours.bounded_by != "samples" else ours.largest_fitting
    largest = Truth(name).largest(ours.largest_fitting, upper, exact)
    above = largest + (1 if exact else max(1, largest // 100))
    failures = sum(point.outcome != "fits" for point in searched)
    return (
        f"| {name} | {limit} MiB | {ours.largest_fitting} | {largest} | "
        f"{ours.largest_fitting / largest - 1:+.1%} | {len(searched)} | {failures} | "
        f"{sum(point.seconds for point in searched):.0f} s | {ours.ceiling} | {seconds:.0f} s | "
        f"{plain_fit(name, ours.largest_fitting)} | {plain_fit(name, ours.ceiling)} | "
        f"{plain_fit(name, above)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--exact", action="store_true")
    given = parser.parse_args()
    columns = (
        *("model", "limit", "ours", "truth", "error", "probes", "failures", "search"),
        *("with headroom", "in all", "200 steps at ours", "with headroom", "1 % above truth"),
    )
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|")
    for name in given.names or MODELS:
        print(row(name, given.exact))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
