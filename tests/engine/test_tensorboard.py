"""Trials as TensorBoard's event files: read back as TensorBoard would."""

import shutil
from pathlib import Path

import msgspec
import tensorflow as tf

from autobatch.engine.record_file import FILE_NAME, read_record
from autobatch.engine.tensorboard import write_events
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


def test_every_evaluation_of_every_trial_is_there(tmp_path):
    shutil.copy(RECORD, tmp_path / FILE_NAME)
    told = write_events(tmp_path, tmp_path / "events")
    entries = [e for e in read_record(tmp_path).entries if isinstance(e.task, Trial)]
    assert f"{len(entries)} trials" in told
    assert "tensorboard --logdir" in told
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


def test_what_cannot_be_written_is_told_and_loses_nothing(tmp_path):
    shutil.copy(RECORD, tmp_path / FILE_NAME)
    (tmp_path / "events").write_text("a file")
    assert "were not written" in write_events(tmp_path, tmp_path / "events")
    assert msgspec.json.decode((tmp_path / FILE_NAME).read_text().splitlines()[0])
