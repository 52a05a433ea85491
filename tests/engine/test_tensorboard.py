"""Trials as TensorBoard's event files: read back as TensorBoard would.

With the command that writes them: in ui/test_recommended.py.
"""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from autobatch.engine import tensorboard
from autobatch.engine.record_file import FILE_NAME, read_record
from autobatch.engine.tensorboard import WRITER, write_events
from autobatch.protocol import Trained, Trial

RECORD = Path(__file__).parent / "records" / "recommended.jsonl"


def scalars(path):
    """(tag, step, value) of an event file."""
    found = []
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                found.append((value.tag, event.step, float(tf.make_ndarray(value.tensor))))
    return found


def run_in(directory):
    directory.mkdir()
    shutil.copy(RECORD, directory / FILE_NAME)
    return directory


def write_by(code, tmp_path, monkeypatch):
    (tmp_path / "writer.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(tensorboard, "WRITER", "writer")


def run_writer(monkeypatch, folder):
    """As the process that writes does, here, where TensorFlow is imported."""
    monkeypatch.setattr(sys, "argv", [WRITER, str(RECORD), str(folder)])
    runpy.run_module(WRITER, run_name="__main__")


def test_every_evaluation_of_every_trial_is_there(tmp_path, monkeypatch, capsys):
    shutil.copy(RECORD, tmp_path / FILE_NAME)
    run_writer(monkeypatch, tmp_path / "events")
    entries = [e for e in read_record(tmp_path).entries if isinstance(e.task, Trial)]
    assert capsys.readouterr().out == f"{len(entries)}\n"
    for entry in entries:
        assert isinstance(entry.outcome, Trained)
        (folder,) = (tmp_path / "events").glob(
            f"batch-{entry.task.batch_size}-rate-{entry.task.learning_rate:.4g}-"
            f"seed-{entry.task.seed}-{entry.task.steps}-steps"
        )
        (path,) = folder.iterdir()
        expected = [
            (name, evaluation.step, value)
            for evaluation in entry.outcome.evaluations
            for name, value in evaluation.metrics.items()
        ]
        written = scalars(path)
        assert [w[:2] for w in written] == [e[:2] for e in expected]
        assert all(
            abs(w[2] - e[2]) < 1e-6 * abs(e[2]) for w, e in zip(written, expected, strict=True)
        )


def test_where_nothing_can_be_written_the_writer_fails(tmp_path, monkeypatch):
    (tmp_path / "events").write_text("a file")
    with pytest.raises(tf.errors.OpError):
        run_writer(monkeypatch, tmp_path / "events")


@pytest.mark.parametrize(
    ("writer", "told"),
    [
        ("print(7)", "7 trials are in events/mine-20261121T214212Z: tensorboard --logdir events"),
        ("raise OSError('no room')", "TensorBoard's files were not written: OSError: no room"),
        ("raise SystemExit(3)", "TensorBoard's files were not written: exit code 3"),
    ],
)
def test_what_the_writer_says_is_told(tmp_path, monkeypatch, writer, told):
    write_by(writer, tmp_path, monkeypatch)
    assert write_events(run_in(tmp_path / "mine"), Path("events")) == told


def test_each_run_has_a_folder_of_its_own_also_where_it_was_begun_anew(tmp_path, monkeypatch):
    write_by("import sys; print(sys.argv[2])", tmp_path, monkeypatch)
    runs = [run_in(tmp_path / "a"), run_in(tmp_path / "b")]
    told = [write_events(run, Path("events")).split()[0] for run in runs]
    record = (runs[0] / FILE_NAME).read_text()
    (runs[0] / FILE_NAME).write_text(record.replace("2026-11-21", "2026-11-22", 1))
    told.append(write_events(runs[0], Path("events")).split()[0])
    assert len({*told}) == 3
    assert write_events(runs[0], Path("events")).split()[0] == told[-1]
