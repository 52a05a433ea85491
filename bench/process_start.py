"""How long until a fresh worker process is ready: forked from the template, or a new interpreter.

Ready means: it can run the first operation of the backend and has the user's libraries imported.
Both are asked the same question (`Inspect` of recipes/digits_mlp.yaml: build the model, load the
data, evaluate one batch), in turn, in one run. The first fork also pays for the template.

    python bench/process_start.py [REPEATS]
"""

import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Inspect, Inspected, Target

RECIPES = Path(__file__).parent.parent / "recipes"
TARGET = Target(folder=str(RECIPES), model="digits.py:build_mlp", data="digits.py:load_flat")


def seconds_to_answer(executor: LocalExecutor) -> float:
    began = time.perf_counter()
    outcome = executor.run(Inspect(batch_size=32), deadline_seconds=120)
    assert isinstance(outcome, Inspected), outcome
    return time.perf_counter() - began


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as logs:
        forked = LocalExecutor(TARGET, Path(logs, "forked"))
        spawned = LocalExecutor(TARGET, Path(logs, "spawned"), start_method="spawn")
        first = seconds_to_answer(forked)
        times: dict[str, list[float]] = {"forked from the template": [], "fresh interpreter": []}
        for _ in range(repeats):
            times["forked from the template"].append(seconds_to_answer(forked))
            times["fresh interpreter"].append(seconds_to_answer(spawned))
    print(f"{platform.machine()}, Python {platform.python_version()}, {repeats} repeats")
    print(f"{'first fork, template included':<32}{first:6.2f} s")
    for name, seconds in times.items():
        low, high = min(seconds), max(seconds)
        print(f"{name:<32}{statistics.median(seconds):6.2f} s   ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
