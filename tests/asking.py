"""One question to a worker, in a real process."""

from pathlib import Path

import pytest

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Gradients, Target, Trial

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")
BACKEND = "tensorflow"
GRADIENTS = Gradients(
    batch_size=16,
    learning_rate=0.01,
    measure_at=(2,),
    micro_batch_size=4,
    micro_batches=8,
    training_samples=64,
    seed=0,
)
SHORT_TRIAL = Trial(
    batch_size=8,
    learning_rate=0.02,
    steps=7,
    evaluate_at=(0, 4, 7),
    validation_batch_size=16,
    seed=1,
)


def on_backends(*names):
    """A mark of tests of what is there on these alone, or what no backend decides."""
    return pytest.mark.parametrize("backend", names, indirect=True)


def ask(
    tmp_path,
    task,
    *,
    folder=HERE,
    deadline_seconds=120,
    resident_limit_bytes=None,
    extents=(),
    **target,
):
    target.setdefault("model", "targets.py:model")
    target.setdefault("data", "targets.py:data")
    target.setdefault("backend", BACKEND)
    executor = LocalExecutor(
        Target(folder=str(folder), **target),
        tmp_path,
        resident_limit_bytes=resident_limit_bytes,
        extents=lambda: extents,
    )
    return executor.run(task, deadline_seconds=deadline_seconds), executor.log_path()
