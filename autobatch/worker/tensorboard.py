"""Trials of a run for TensorBoard: `python -m autobatch.worker.tensorboard RECORD FOLDER`.

Each trial has a folder of its own in FOLDER, where no other run has any, with its validation
metrics by step. Its hyperparameters go to the HParams page where the package `tensorboard` is
installed beside TensorFlow, else they stand in the folder's name alone. Prints how many trials were
written.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from autobatch.protocol import Diverged, Trained, Trial

try:
    from tensorboard.plugins.hparams import api as hparams_page
except ImportError:
    hparams_page = None


# What marks a scalar; tf.summary.scalar would want the package tensorboard for it.
SCALAR = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})


class TrialEntry(msgspec.Struct):
    """A line of a record that is about a trial."""

    task: Trial
    outcome: Trained | Diverged


def write(record: Path, folder: Path) -> int:
    """How many trials of the file `record` were written into `folder`."""
    trials = list(_trials(record))
    for trial in trials:
        task = trial.task
        name = f"batch-{task.batch_size}-rate-{task.learning_rate:.4g}"
        name += f"-seed-{task.seed}-{task.steps}-steps"
        if task.schedule != "own":
            name += f"-{task.schedule}"
        if (folder / name).exists():  # written before: again, each point would be there twice
            continue
        writer = tf.summary.create_file_writer(str(folder / name))
        with writer.as_default():
            for evaluation in trial.outcome.evaluations:
                for metric, value in evaluation.metrics.items():
                    tf.summary.write(metric, value, step=evaluation.step, metadata=SCALAR)
            if hparams_page is not None:
                hparams_page.hparams(_hyperparameters(task), trial_id=f"{folder.name}/{name}")
        writer.close()
    return len(trials)


def _trials(path: Path) -> Any:
    for line in path.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=TrialEntry)
        except msgspec.DecodeError:  # about something else, or torn
            continue


def _hyperparameters(task: Trial) -> dict[str, Any]:
    return {
        "batch_size": task.batch_size,
        "learning_rate": task.learning_rate,
        "seed": task.seed,
        "steps": task.steps,
        "schedule": task.schedule,
        **task.settings,
    }


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
