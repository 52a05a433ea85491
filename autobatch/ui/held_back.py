"""What holds training back at which sizes, in words: the terminal and the page say the same."""

from collections.abc import Iterator, Sequence

from autobatch.protocol import BenchmarkPoint, BenchmarkResult

HOLDS_BACK = {
    "input_pipeline": "the input pipeline: training waits for data",
    "step_overhead": "the fixed cost of each step: the device waits for Python and launches",
    "epoch_overhead": "the fixed cost of each epoch, to start and to end: epochs are short here",
    "compute": "computation: the device is busy",
    "memory": "memory: too little of it is left at the largest sizes",
}


def sentences(result: BenchmarkResult) -> Iterator[tuple[str, str]]:
    """What holds back which sizes, by the evidence at the knee or the fastest of them; what to try.

    Each as (name, fact); the name of evidence is empty.
    """
    causes = dict.fromkeys(point.bound_by for point in result.points)
    for cause in causes:
        if cause is None:
            continue
        points = [point for point in result.points if point.bound_by == cause]
        shown = max(points, key=lambda p: (p.batch_size == result.knee, p.samples_per_second))
        sizes = f"batch {_sizes(points, result)}: " if len(causes) > 1 else ""
        yield "held back by", sizes + HOLDS_BACK[cause]
        yield "", f"at batch {shown.batch_size}, {shown.evidence}"
        if shown.advice:
            yield "try", shown.advice


def _sizes(points: Sequence[BenchmarkPoint], result: BenchmarkResult) -> str:
    """A range where all that were measured in it are among them."""
    first, last = points[0].batch_size, points[-1].batch_size
    within = [point for point in result.points if first <= point.batch_size <= last]
    if len(points) > 2 and len(within) == len(points):
        return f"{first} to {last}"
    return ", ".join(str(point.batch_size) for point in points)
