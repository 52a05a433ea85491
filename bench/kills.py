"""Does a run survive? `recommend` is killed at random moments and started again, time after time.

SIGKILL hits in turn the tool itself, one of its workers, and its whole process group; each is
followed by the same command, which must go on. First one run is left alone. Then, until there were
KILLS: runs that have its probes and benchmarks (rates differ from run to run, and with them what is
tried) must come to its very answer; every second run starts with nothing instead, and must come to
the answer that its own record gives when it is left alone. Never may a finished measurement be
repeated, a line be lost, or a process be left behind.

    python bench/kills.py [KILLS] [--seed N]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil
from questions import RECIPES, head

RECIPE = RECIPES / "digits_mlp.yaml"
SETTINGS = (
    *("batch_sizes.min=8", "batch_sizes.max=64", "benchmark.seconds=200ms"),
    *("trials.budget=4s", "trials.seeds=2"),
)
KINDS = ("tool", "worker", "group")
EARLIEST, LATEST = 0.3, 12.0  # seconds after a start, or after the last kill
REAP_SECONDS = 20.0
ANSWER = ("batch_size", "learning_rate", "verdict", "speedup", "noise_scale", "candidates")
FINISHED = {
    *("fits", "out_of_memory", "over_budget", "predicted", "measured"),
    *("trained", "diverged", "differentiated", "ranged"),
}


class Run:
    """One run directory, and what was done to it."""

    def __init__(self, directory: Path, counts: Counter[str], chance: random.Random) -> None:
        self.directory, self.counts, self.chance = directory, counts, chance
        self.kind = 0

    def start(self) -> subprocess.Popen[str]:
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "autobatch", "recommend", str(RECIPE)),
                *("--run-dir", str(self.directory), *settings, "--json", "--quiet"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def undisturbed(self) -> dict[str, Any]:
        stdout, stderr = self.start().communicate()
        if not stdout:
            raise SystemExit(f"no answer: {stderr}")
        return msgspec.json.decode(stdout, type=dict[str, Any])

    def disturbed(self, kills: int) -> dict[str, Any] | None:
        """Its answer; None if `kills` were made before it came to one."""
        process = self.start()
        while self.counts["kills"] < kills:
            try:
                stdout, stderr = process.communicate(timeout=self.chance.uniform(EARLIEST, LATEST))
            except subprocess.TimeoutExpired:
                process = self.kill(process)
                continue
            if not stdout:
                raise SystemExit(f"ended without an answer: {stderr}")
            return msgspec.json.decode(stdout, type=dict[str, Any])
        process.kill()
        process.wait()
        return None

    def kill(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """Kill what is next in turn; the process to go on with."""
        kind = KINDS[self.kind % len(KINDS)]
        tool = psutil.Process(process.pid)
        below = tool.children(recursive=True)
        workers = [p for p in below if p.ppid() != process.pid]
        if kind == "worker":
            if not workers:
                return process  # none at this moment
            workers[0].kill()
            self.kind += 1
            self.counts.update(["kills", kind])
            return process
        before = self.lines()
        if kind == "tool":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        self.kind += 1
        self.counts.update(["kills", kind])
        process.communicate()
        _, alive = psutil.wait_procs(below, timeout=REAP_SECONDS)
        self.counts["left behind"] += len(alive)
        process = self.start()
        self.counts["lines lost"] += self.lines()[: len(before) - 1] != before[:-1]  # torn, perhaps
        return process

    def lines(self) -> list[str]:
        path = self.directory / "record.jsonl"
        return path.read_text().split("\n") if path.exists() else []

    def check(self) -> None:
        tasks = Counter(
            json.dumps(entry["task"])
            for entry in map(json.loads, self.lines()[:-1])
            if entry["type"] == "entry" and entry["outcome"]["type"] in FINISHED
        )
        self.counts["repeated"] += sum(count - 1 for count in tasks.values())
        self.counts["runs"] += 1


def with_measurements_of(source: Run, directory: Path) -> None:
    """A record that has the probes and benchmarks of another, and nothing more."""
    kept = [
        line
        for number, line in enumerate(source.lines()[:-1])
        if number == 0 or json.loads(line).get("task", {}).get("type") in ("probe", "benchmark")
    ]
    directory.mkdir()
    (directory / "record.jsonl").write_text("\n".join(kept) + "\n")


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return {name: one[name] for name in ANSWER} == {name: other[name] for name in ANSWER}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", nargs="?", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    chance, began = random.Random(given.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        alone = Run(Path(scratch, "alone"), Counter(), chance)
        expected = alone.undisturbed()
        while counts["kills"] < given.kills:
            number = counts["runs"]
            run = Run(Path(scratch, f"run-{number}"), counts, chance)
            if number % 2 == 0:
                with_measurements_of(alone, run.directory)
            answer = run.disturbed(given.kills)
            run.check()
            if answer is None:
                answer = run.undisturbed()
            if number % 2 == 1:
                copy = Run(Path(scratch, "copy"), Counter(), chance)
                shutil.copytree(run.directory, copy.directory)
                expected_here = copy.undisturbed()
                shutil.rmtree(copy.directory)
            else:
                expected_here = expected
            counts["same answer"] += same(answer, expected_here)
            print(dict(counts), f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    columns = ("kills", *KINDS, "runs", "same answer", "repeated", "lines lost", "left behind")
    head(*columns, "took")
    told = " | ".join(str(counts[name]) for name in columns)
    print(f"| {told} | {(time.perf_counter() - began) / 60:.0f} min |")


if __name__ == "__main__":
    main()
