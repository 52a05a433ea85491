"""A pretend device, an `Executor`: answers every task from formulas whose truth is known."""

from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from autobatch.engine.local import LocalExecutor
from autobatch.engine.record import Record
from autobatch.protocol import (
    Abilities,
    Benchmark,
    Differentiated,
    Diverged,
    Evaluation,
    Fits,
    GradientMoments,
    Gradients,
    Inspect,
    Inspected,
    Measured,
    OutOfMemory,
    OverBudget,
    Predicted,
    Probe,
    Ranged,
    RangeTest,
    Target,
    Trained,
    Trial,
    Window,
)
from autobatch.recipe import make_recipe
from autobatch.stages.ask import Session

MIB = 1 << 20
LIMIT = 1024 * MIB
TARGET = Target(folder="/nowhere", model="train.py:build_model", data="train.py:load_data")


def inspected(**changes):
    found = {
        "model_name": "pretend",
        "parameters": 1000,
        "parameter_bytes": 4000,
        "optimizer": "SGD",
        "learning_rate": 0.01,
        "learning_rate_schedule": None,
        "loss": "mse",
        "metrics": ("val_loss",),
        "jit_compile": False,
        "precision": "float32",
        "batch_norm_layers": 0,
        "batch_norm_momentum": None,
        "train_samples": 4096,
        "validation_samples": 512,
        "data_source": "train.py:load_data",
        "data_fingerprint": "abc",
        "code_fingerprint": "def",
        "nan": None,
        "notes": (),
        "versions": {"keras": "3.0"},
        "device_name": "pretend",
        "device_kind": "cpu",
    }
    return Inspected(**(found | changes))


def predictable():
    """Of a model whose steps' memory is known before they run."""
    return inspected(abilities=Abilities(predicts_memory=True))


class PretendDevice:
    """Memory affine in the batch, step time affine too, loss a power law of the learning done.

    Learning per step grows with the rate up to `best_rate`, beyond twice of which it diverges.
    `answers` may hold outcomes to give instead, by (task type, batch size), each once.
    """

    def __init__(
        self,
        *,
        fits_up_to=3000,
        step_seconds=lambda size: 0.001 + 1e-5 * size,
        best_rate=lambda size: 0.08 * size / 32,
        critical_batch=500.0,
        noise=0.02,
        facts=None,
        answers=None,
    ):
        self.fits_up_to = fits_up_to
        self.step_seconds = step_seconds
        self.best_rate = best_rate
        self.critical_batch = critical_batch
        self.noise = noise
        self.facts = facts or inspected()
        self.answers = answers or {}
        self.tasks = []
        self.deadlines = []  # seconds, of all tasks
        self.stopped_seconds = 0.0

    def log_path(self) -> Path | None:
        return None

    def run(self, task, *, deadline_seconds, on_progress=None):
        self.tasks.append(task)
        self.deadlines.append(deadline_seconds)
        answers = self.answers.get((type(task), getattr(task, "batch_size", None)))
        if answers:
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        return getattr(self, f"_{type(task).__name__.lower()}")(task)

    def _inspect(self, task: Inspect):
        return self.facts

    def _probe(self, task: Probe):
        peak = MIB + 100_000 * task.batch_size
        if task.batch_size > self.fits_up_to or peak > task.limit_bytes:
            if task.predict:
                return OverBudget(peak_bytes=peak)
            return OutOfMemory(evidence="OOM when allocating tensor")
        if task.predict:
            return Predicted(peak_bytes=peak)
        return Fits(
            peak_bytes=peak,
            least_peak_bytes=peak,
            full_steps=3,
            steps=3,
            step_seconds=0.01,
            validated=True,
        )

    def _benchmark(self, task: Benchmark):
        samples = self.facts.train_samples
        steps = -(-samples // task.batch_size)
        windows = tuple(
            Window(
                steps=steps,
                samples=samples,
                seconds=steps * self.step_seconds(task.batch_size) * (1 + 0.001 * k),
            )
            for k in range(-5, 6)
        )
        return Measured(
            windows=windows,
            whole_epochs=True,
            steps_per_epoch=steps,
            samples_per_epoch=samples,
            device_windows=windows if task.explains else (),
            peak_bytes=None,
        )

    def _gradients(self, task: Gradients):
        """Of signal 1 and noise `critical_batch`, each exactly as expected."""
        count, size = task.micro_batches // 8, task.micro_batch_size
        noise = self.critical_batch / size
        gram = np.full((8, 8), float(count**2)) + np.eye(8) * count * noise
        moments = [
            GradientMoments(
                step=step,
                batch_size=size,
                micro_batches=(count,) * 8,
                squared_norms=(count * (1 + noise),) * 8,
                gram=tuple(map(tuple, gram.tolist())),
                training_samples=10**9,
                preconditioned=False,
            )
            for step in task.measure_at
        ]
        return Differentiated(moments=tuple(moments))

    def _rangetest(self, task: RangeTest):
        factors = np.geomspace(task.lowest_factor, task.highest_factor, task.steps)
        share = factors * task.learning_rate / self.best_rate(task.batch_size)
        losses = np.exp(np.minimum(100, 10 * np.maximum(0, share - 2)))
        kept = losses < 1e30
        return Ranged(
            factors=tuple(factors[kept].tolist()),
            losses=tuple(losses[kept].tolist()),
            broke_down=not bool(kept.all()),
        )

    def _trial(self, task: Trial):
        size, rate = task.batch_size, task.learning_rate
        share = rate / self.best_rate(size)
        if share > 2:
            return Diverged(step=1, evaluations=())
        rng = np.random.default_rng([task.seed, size, int(rate * 1e9)])
        speed = share * (2 - share) / (1 + self.critical_batch / size)
        luck = float(np.exp(rng.normal(0, self.noise)))
        return Trained(
            evaluations=tuple(
                Evaluation(step=step, metrics={"val_loss": (1 + speed * luck * step) ** -0.5})
                for step in task.evaluate_at
            ),
            steps=task.steps,
            train_seconds=task.steps * self.step_seconds(size),
            sharpness=float(size) if task.sharpness else None,
        )


class PretendExecutor(PretendDevice):
    """In place of `opening.LocalExecutor`: whole commands, on a pretend device."""

    def __init__(self, target, logs, *, facts=None, **_):
        super().__init__(facts=facts)
        self.logs = logs


class InspectingExecutor(PretendExecutor):
    """The same, once a worker has really looked at the model and the data."""

    def __init__(self, target, logs, **options):
        super().__init__(target, logs)
        self.worker = LocalExecutor(target, logs, **options)

    def log_path(self):
        return self.worker.log_path()

    def _inspect(self, task):
        self.facts = self.worker.run(task, deadline_seconds=120)
        return self.facts


def annealed_share(step, steps):
    """Of its peak, the rate at `step` of a trial that warms up and anneals."""
    return max(0.0, min(1.0, (step + 1) / (0.1 * steps), (steps - step) / (0.2 * steps)))


@contextmanager
def session(tmp_path, device, overrides=(), *, limit_bytes=LIMIT, events=None, target=TARGET):
    """A session with its record in `tmp_path`."""
    recipe = make_recipe({"model": "train.py:build_model", "data": "train.py:load_data"}, overrides)
    with Record(tmp_path, target, free_bytes=limit_bytes, version="0") as record:
        yield Session(
            recipe=recipe,
            executor=device,
            record=record,
            on_event=(events if events is not None else []).append,
            limit_bytes=limit_bytes,
        )


def telling(device, val_loss):
    """`device`, whose trials tell `val_loss(task, loss)` instead of each loss."""
    learn = device._trial

    def trial(task):
        trained = learn(task)
        if not isinstance(trained, Trained):
            return trained
        told = [
            msgspec.structs.replace(e, metrics={"val_loss": val_loss(task, e.metrics["val_loss"])})
            for e in trained.evaluations
        ]
        return msgspec.structs.replace(trained, evaluations=tuple(told))

    device._trial = trial
    return device
