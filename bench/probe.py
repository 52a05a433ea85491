"""Our answer against the truth: which is the largest batch that trains, and at what cost?

For each model, under a limit that its data cannot satisfy: `autobatch probe`, and then the truth by
bisecting every size in fresh processes (a size fits if it trains; nothing is predicted). On the CPU
peaks vary a little from run to run, because operations overlap, so near the truth the same size may
fit once and fail once.

    python bench/probe.py [NAME ...] [--exact]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import autobatch
from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Fits, Probe, Target

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
MIB = 1 << 20

# name: (folder, model, data, limit in MiB)
MODELS = {
    "digits_mlp": (RECIPES, "digits.py:build_mlp", "digits.py:load_flat", 3),
    "digits_cnn": (RECIPES, "digits.py:build_cnn", "digits.py:load_images", 150),
    "source_lm": (RECIPES, "source_lm.py:build_model", "source_lm.py:load_data", 300),
    "resnet50": (HERE, "models.py:resnet50", "models.py:images", 1600),
    "mobilenet_v2": (HERE, "models.py:mobilenet_v2", "models.py:images", 1000),
    "two_inputs": (HERE, "models.py:two_inputs", "models.py:question_and_text", 300),
    "gan": (HERE, "models.py:gan", "models.py:small_images", 150),
}


def fits(executor: LocalExecutor, size: int, limit_bytes: int) -> bool:
    task = Probe(batch_size=size, limit_bytes=limit_bytes)
    return isinstance(executor.run(task, deadline_seconds=600), Fits)


def truth(executor: LocalExecutor, limit_bytes: int, near: int, upper: int) -> int:
    """The largest size that trains, to the sample: gallop out from `near`, then bisect."""
    good, bad, step = 0, upper + 1, max(1, near // 100)
    size = near
    while good + 1 < bad:
        if fits(executor, size, limit_bytes):
            good = size
        else:
            bad = size
        if bad == upper + 1 or good == 0:
            size = min(good + step, upper) if good else max(1, bad - step)
            step *= 2
        else:
            size = (good + bad) // 2
    return good


def row(name: str, exact: bool) -> str:
    folder, model, data, limit = MODELS[name]
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch, "recipe.yaml")
        recipe.write_text(f"model: {folder}/{model}\ndata: {folder}/{data}\n")
        began = time.perf_counter()
        ours = autobatch.probe(
            recipe,
            overrides=[f"device.memory_limit={limit}MiB"],
            run_directory=Path(scratch, "run"),
            exact=exact,
        )
        seconds = time.perf_counter() - began
        target = Target(folder=str(folder), model=model, data=data)
        executor = LocalExecutor(target, Path(scratch, "truth"))
        upper = 65536 if ours.bounded_by != "samples" else ours.largest_fitting
        largest = truth(executor, limit * MIB, ours.largest_fitting, upper)
    failures = sum(point.outcome != "fits" for point in ours.probes)
    return (
        f"| {name} | {limit} MiB | {ours.largest_fitting} | {largest} | "
        f"{ours.largest_fitting / largest - 1:+.1%} | {len(ours.probes)} | {failures} | "
        f"{seconds:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--exact", action="store_true")
    given = parser.parse_args()
    print("| model | limit | ours | truth | error | probes | failures | wall time |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in given.names or MODELS:
        print(row(name, given.exact))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
