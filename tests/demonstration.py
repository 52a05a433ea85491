"""The events of a pretend run, each with the seconds to wait after it. Nothing is measured.

`python tests/demonstration.py` shows them.
"""

import time
from collections.abc import Iterator
from math import log2

from autobatch.protocol import (
    Benchmark,
    Contest,
    Evaluation,
    Event,
    Fits,
    JobFinished,
    JobProgress,
    JobStarted,
    Measured,
    Note,
    Outcome,
    OutOfMemory,
    Probe,
    Stage,
    StageExpects,
    StageFinished,
    StageStarted,
    Task,
    Trained,
    Trial,
    Window,
)
from autobatch.ui.display import Display
from autobatch.units import format_bytes

MIB = 1 << 20
LIMIT = 1024 * MIB
EVALUATIONS = 12
CONTEST = Contest(metric="val_loss", maximise=False, batch_size=32, learning_rate=0.01)

Timed = tuple[Event, float]


def events() -> Iterator[Timed]:
    yield StageStarted(stage="inspect", jobs=1, expected_seconds=2), 1.0
    yield StageFinished(stage="inspect", answer="sequential: 26,122 parameters, SGD"), 0.5
    yield from _probes()
    yield from _benchmarks()
    yield from _trials()
    yield Note(text="This was a demonstration: nothing was measured."), 0.0


def _probes() -> Iterator[Timed]:
    stage: Stage = "probe"
    yield StageStarted(stage=stage, jobs=6, expected_seconds=6, limit_bytes=LIMIT), 0.2
    for left, size in zip(range(6, 0, -1), (32, 512, 4096, 2048, 1920, 1980), strict=True):
        task = Probe(batch_size=size, limit_bytes=LIMIT)
        yield StageExpects(stage=stage, jobs_left=left, seconds_left=left), 0.0
        yield JobStarted(stage=stage, label=str(size), task=task), 0.8
        peak = size * MIB // 2 + 20 * MIB
        answer = "out of memory"
        outcome: Outcome = OutOfMemory(evidence="OOM when allocating tensor")
        if peak <= LIMIT:
            answer = f"fits, peak {format_bytes(peak)}"
            outcome = Fits(
                peak_bytes=peak, least_peak_bytes=peak, full_steps=3, steps=3, step_seconds=0.01
            )
        yield _finished(stage, str(size), answer, task, outcome), 0.2
    yield StageFinished(stage=stage, answer="largest that fits 1980 (bounded by memory)"), 0.5


def _benchmarks() -> Iterator[Timed]:
    stage: Stage = "benchmark"
    sizes = (32, 1, 256, 4, 1024, 16, 64, 2, 512, 8, 128, 1980)
    yield StageStarted(stage=stage, jobs=len(sizes), expected_seconds=9), 0.2
    for size in sizes:
        task = Benchmark(batch_size=size, seconds=1)
        rate = size / (0.001 + 2e-5 * size)
        yield JobStarted(stage=stage, label=str(size), task=task), 0.2
        for done in range(1, 5):
            seen = rate * (1 - 0.05 / done)
            yield JobProgress(done=done, total=4, samples_per_second=seen), 0.1
        window = Window(steps=10, samples=10 * size, seconds=10 * size / rate)
        outcome = Measured(
            windows=(window,),
            whole_epochs=False,
            steps_per_epoch=10,
            samples_per_epoch=10 * size,
            device_windows=(),
            peak_bytes=None,
        )
        yield _finished(stage, str(size), f"{rate:,.0f} samples/s ± 2%", task, outcome), 0.0
    yield StageFinished(stage=stage, answer="knee at 512, fastest at 1980"), 0.5


def _trials() -> Iterator[Timed]:
    stage: Stage = "trials"
    first = [(size, 0.01 * size / 32 * 4**power) for size in (32, 64, 128) for power in range(3)]
    finalists = [(32, 0.01), (32, 0.16), (64, 0.32), (128, 0.16)]
    planned = [(*setting, 0) for setting in first]
    planned += [(*setting, seed) for seed in (1, 2, 3) for setting in finalists]
    yield StageStarted(stage=stage, jobs=len(planned), expected_seconds=16, contest=CONTEST), 0.2
    for size, rate, seed in planned:
        task = Trial(
            batch_size=size,
            learning_rate=rate,
            steps=100,
            evaluate_at=tuple(range(EVALUATIONS)),
            validation_batch_size=1024,
            seed=seed,
        )
        label = f"batch {size}, learning rate {rate:.3g}, seed {seed}"
        yield JobStarted(stage=stage, label=label, task=task), 0.1
        losses = _losses(size, rate, seed)
        for step, loss in enumerate(losses):
            metrics = {"val_loss": loss}
            yield JobProgress(done=step + 1, total=EVALUATIONS, metrics=metrics), 0.05
        outcome = Trained(
            evaluations=tuple(
                Evaluation(step=step, metrics={"val_loss": loss})
                for step, loss in enumerate(losses)
            ),
            steps=100,
            train_seconds=1.0,
        )
        yield _finished(stage, label, f"val_loss {losses[-1]:.4g}", task, outcome), 0.0
    yield StageFinished(stage=stage, answer="9 settings, 4 finalists"), 0.5


def _losses(size: int, rate: float, seed: int) -> list[float]:
    """Best at sixteen times the baseline's rate, by the linear rule."""
    off = abs(log2(rate * 32 / size / 0.16))
    speed = (1 + 0.02 * seed) / (1 + off) / (1 + size / 512)
    return [2.3 * (1 + speed * step) ** -1.5 for step in range(EVALUATIONS)]


def _finished(stage: Stage, label: str, answer: str, task: Task, outcome: Outcome) -> JobFinished:
    return JobFinished(
        stage=stage,
        label=label,
        answer=answer,
        seconds=1.0,
        reused=False,
        task=task,
        outcome=outcome,
    )


if __name__ == "__main__":
    with Display() as display:
        for event, seconds in events():
            display.show(event)
            time.sleep(seconds)
