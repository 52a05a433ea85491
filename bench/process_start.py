"""How long until a fresh worker process is ready: forked from the template, or a new interpreter.

Ready means: it can run the first operation of the backend and has the user's libraries imported.
Both are asked the same question (`Inspect` of recipes/digits_mlp.yaml: build the model, load the
data, evaluate one batch), in turn, in one run. The first fork also pays for the template.

And what a slow loader costs: 256 MiB of arrays after 5 s. The first process calls it; the next find
the arrays kept, or, with that file removed, call it again.

And what training itself costs there: processor time of an epoch of the digits' network at batch 32
(steps of 1.5 ms), in a worker of either kind and by a plain `fit`.

    python bench/process_start.py [REPEATS]
"""

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Benchmark, Fits, Inspect, Inspected, Measured, Probe, Target, changed

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
TARGET = Target(folder=str(RECIPES), model="digits.py:build_mlp", data="digits.py:load_flat")


LOADER = """
import time
import numpy as np

def load_data():
    time.sleep(5)
    x = np.random.default_rng(0).standard_normal((1 << 20, 64), dtype="float32")
    y = np.zeros(len(x), "int32")
    return (x[2000:], y[2000:]), (x[:2000], y[:2000])
"""


def seconds_with_a_slow_loader(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Each process probes one batch of the digits' network."""
    folder.joinpath("slow.py").write_text(LOADER)
    model = f"{RECIPES}/digits.py:build_mlp"
    target = Target(folder=str(folder), model=model, data="slow.py:load_data")
    executor = LocalExecutor(target, folder / "slow")
    found: dict[str, list[float]] = {"arrays kept": [], "loaded again": []}
    for _ in range(repeats):
        for kept, seconds in found.items():
            executor.run(Inspect(batch_size=32), deadline_seconds=120)
            if kept == "loaded again":
                executor.kept_data.unlink()
            began = time.perf_counter()
            outcome = executor.run(Probe(batch_size=32, limit_bytes=1 << 31), deadline_seconds=120)
            assert isinstance(outcome, Fits), outcome
            seconds.append(time.perf_counter() - began)
    return found


PLAIN = f"""
import sys
sys.path[:0] = [{str(RECIPES)!r}, {str(HERE)!r}]
from digits import build_mlp, load_flat
from models import processor_time
build_mlp().fit(*load_flat()[0], batch_size=32, epochs=1000, verbose=0, callbacks=processor_time())
"""


def processor_milliseconds_of_an_epoch(folder: Path, repeats: int) -> dict[str, list[float]]:
    """By what `processor_time` prints."""
    target = changed(TARGET, callbacks=f"{HERE}/models.py:processor_time")
    workers = {
        "trained in a fork": LocalExecutor(target, folder / "in-fork"),
        "in a fresh interpreter": LocalExecutor(target, folder / "fresh", start_method="spawn"),
    }
    found: dict[str, list[float]] = {name: [] for name in (*workers, "by a plain fit")}
    for _ in range(repeats):
        for name, executor in workers.items():
            outcome = executor.run(Benchmark(batch_size=32, seconds=10), deadline_seconds=120)
            assert isinstance(outcome, Measured), outcome
            log = executor.log_path()
            assert log is not None
            found[name].append(_printed(log.read_text()))
        plain = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True)
        found["by a plain fit"].append(_printed(plain.stdout))
    return found


def _printed(text: str) -> float:
    return float(text.partition("processor milliseconds of an epoch: ")[2].split()[0])


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
        times |= seconds_with_a_slow_loader(Path(logs), min(repeats, 3))
        training = processor_milliseconds_of_an_epoch(Path(logs), repeats)
    print(f"{platform.machine()}, Python {platform.python_version()}, {repeats} repeats")
    print(f"{'first fork, template included':<32}{first:6.2f} s")
    for name, seconds in times.items():
        low, high = min(seconds), max(seconds)
        print(f"{name:<32}{statistics.median(seconds):6.2f} s   ({low:.2f} to {high:.2f})")
    for name, found in training.items():
        low, high = min(found), max(found)
        print(f"{name:<32}{statistics.median(found):6.1f} ms  ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
