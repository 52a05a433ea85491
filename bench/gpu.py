"""What autobatch claims, shown on a machine with a GPU, by one command that prints the tables.

On each backend that is installed (or is named): `probe` against the truth of plain fits, within 16
GiB and with all that is free; `benchmark` against plain fits of 20 s; one `recommend`. On a
convolution net and a transformer that are large enough to matter; with --cpu, on small ones on the
CPU, as a rehearsal. What fails has a row that says so, and the next goes on. With --keep, plain
fits and runs are kept in a folder: the same command, cut off and started again, prints all rows and
runs what is left (what a run took in all is then of its last start).

Each backend wants an environment of its own: TensorFlow's wheels of CUDA 12 and JAX's of CUDA 13
overwrite each other's files.

    pip install '.[recipes]' "tensorflow[and-cuda]"    # or "jax[cuda13]", or torch
    python bench/gpu.py [probe] [benchmark] [recommend]
                        [--backend NAME]... [--model NAME]... [--cpu] [--keep DIR]
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from importlib.metadata import packages_distributions, version
from pathlib import Path

import questions as asking
from probe import print_head, row
from questions import MODELS, ON_GPU, Question, folder_of, head, recipe_in
from throughput import rate_of_plain_fit

import autobatch
from autobatch.engine import gpus

LIMIT_MIB = 16 * 1024
SIZES = {"deep_convnet": (32, 128, 512), "transformer": (32, 128, 512)}
REHEARSED, REHEARSED_SIZES = ("convnet", "two_inputs"), (16, 32, 64)


def probe(questions: list[Question]) -> None:
    print_head()
    for question in questions:
        limits = (LIMIT_MIB, None) if question.gpu else (MODELS[question.name][3],)
        for limit in limits:
            asked = Question(question.name, False, question.backend, question.gpu, limit)
            told(asked, lambda question: print(row(question)))


def benchmark(questions: list[Question]) -> None:
    columns = ("model", "backend", "batch", "named, samples/s", "95 %", "`fit` for 20 s")
    head(*columns, "difference", "J/sample")
    for question in questions:
        told(question, benchmark_one)


def benchmark_one(question: Question) -> None:
    with folder_of("benchmark", question) as folder:
        found = autobatch.benchmark(
            recipe_in(folder, question.name),
            overrides=[*question.overrides(), f"batch_sizes.max={max(sizes_of(question))}"],
            run_directory=folder / "run",
            sizes=sizes_of(question),
        )
    for point in found.points:
        fit = rate_of_fit(question, point.batch_size)
        joules = point.joules_per_sample
        print(
            f"| {question.name} | {question.backend} | {point.batch_size} | "
            f"{point.samples_per_second:,.0f} | {point.low:,.0f} to {point.high:,.0f} | "
            f"{fit:,.0f} | {point.samples_per_second / fit - 1:+.1%} | "
            f"{'' if joules is None else f'{joules:.3g}'} |"
        )


def rate_of_fit(question: Question, size: int) -> float:
    """Samples per second of a plain fit."""
    return asking.fits.once(
        ["rate", *question.key, size],
        lambda: rate_of_plain_fit(question.name, size, question.environment()),
    )


def told(question: Question, do: Callable[[Question], None]) -> None:
    """A row of its own, or why there is none."""
    try:
        do(question)
    except (Exception, SystemExit) as error:  # whatever it is, the other rows are wanted
        why = getattr(error, "message", None) or getattr(error, "stderr", None) or str(error)
        why = why.decode(errors="replace") if isinstance(why, bytes) else why
        print(f"| {question.name} | {question.backend} | failed: {' '.join(why.split())[-300:]} |")
    sys.stdout.flush()


def sizes_of(question: Question) -> tuple[int, ...]:
    return SIZES.get(question.name, REHEARSED_SIZES)


def recommend(questions: list[Question]) -> None:
    head("model", "backend", "batch", "learning rate", "verdict", "sooner", "peak", "in all")
    for question in questions:
        told(question, recommend_one)


def recommend_one(question: Question) -> None:
    with folder_of("recommend", question) as folder:
        began = time.perf_counter()
        found = autobatch.recommend(
            recipe_in(folder, question.name),
            overrides=[*question.overrides(), "time_limit=15min", "trials.budget=3min"],
            run_directory=folder / "run",
        )
    sooner = f"{found.speedup.value:.2g} ({found.speedup.low:.2g} to {found.speedup.high:.2g})"
    print(
        f"| {question.name} | {question.backend} | {found.batch_size} | "
        f"{found.learning_rate:.4g} | {found.verdict} | {sooner} | "
        f"{found.peak_bytes / 2**30:.2f} GiB | {time.perf_counter() - began:.0f} s |"
    )


def about(backends: list[str]) -> str:
    """What machine and versions the tables are of."""
    found = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in gpus.usable()) or "no GPU"
    packages = packages_distributions()  # TensorFlow's may be tensorflow or tensorflow-cpu
    versions = ", ".join(
        f"{p} {version(p)}" for name in (*backends, "keras") for p in packages.get(name, ())
    )
    return f"{found}; {versions}; {time.strftime('%Y-%m-%d')}"


def main() -> None:
    parts = {"probe": probe, "benchmark": benchmark, "recommend": recommend}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--backend", action="append", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--model", action="append", choices=(*ON_GPU, *REHEARSED))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="to go on from, if it is cut off")
    given = parser.parse_args()
    if given.keep:
        asking.keep_in(given.keep)
    if given.cpu and (large := set(given.model or ()) & ON_GPU.keys()):
        parser.error(f"{', '.join(large)}: too large for --cpu")
    installed = [name for name in ("jax", "torch", "tensorflow") if importlib.util.find_spec(name)]
    questions = [
        Question(name, backend=backend, gpu=not given.cpu)
        for backend in given.backend or installed
        for name in given.model or (REHEARSED if given.cpu else ON_GPU)
    ]
    if unknown := set(given.parts) - parts.keys():
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(parts)}")
    print(f"{about(given.backend or installed)}\n")
    for part in given.parts or parts:
        parts[part](questions)
        print()


if __name__ == "__main__":
    main()
