"""Event files for TensorBoard, written by TensorFlow in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from autobatch.engine.record_file import FILE_NAME, read_record
from autobatch.errors import UsageError

WRITER = "autobatch.worker.tensorboard"
SECONDS = 300.0
NOT_WRITTEN = "TensorBoard's files were not written"


def refuse_without_writer() -> None:
    """Raise before anything is measured, where nothing could write the files."""
    if importlib.util.find_spec("tensorflow") is None:
        raise UsageError(
            "--tensorboard needs TensorFlow, whose writer makes the files; it is not installed.",
            hint="pip install tensorflow, or leave the option out.",
        )


def write_events(run: Path, folder: Path) -> str:
    """Write the trials of a run into a folder of its own in `folder`.

    A sentence on what was written, or why not. Named by when the run began, too: one that is begun
    anew has the directory of the one before, and perhaps trials of the same names.
    """
    header = read_record(run).header
    began = header.created.replace("-", "").replace(":", "") if header else ""
    own = folder / f"{run.absolute().name}-{began}"
    try:
        ended = subprocess.run(
            [sys.executable, "-m", WRITER, str(run / FILE_NAME), str(own)],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{NOT_WRITTEN}: no end in {SECONDS:.0f} s."
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        return f"{NOT_WRITTEN}: {reason}"
    return f"{ended.stdout.strip()} trials are in {own}: tensorboard --logdir {folder}"
