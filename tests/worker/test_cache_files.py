"""A tf.data.Dataset that caches in a file, which one process at a time may write."""

import runpy
import textwrap

import pytest
from asking import GRADIENTS, SHORT_TRIAL
from worker.test_users_code import BEGINNING, PROBE, asked

from autobatch.protocol import (
    Benchmark,
    Differentiated,
    Fits,
    Inspect,
    Inspected,
    Measured,
    Ranged,
    RangeTest,
    Trained,
    changed,
)

CACHING = """
    import pathlib, tensorflow as tf
    folder = pathlib.Path(__file__).parent
    many = np.tile(x, (4096, 1))

    def seen(row):
        with (folder / "drawn").open("a") as file:
            file.write(".")
        return row

    def data():
        def part(rows, name):
            drawn = tf.data.Dataset.from_tensor_slices(rows)
            first = drawn.take(1).map(lambda row: tf.numpy_function(seen, [row], row.dtype))
            shaped = first.map(lambda row: tf.ensure_shape(row, (4,))).concatenate(drawn.skip(1))
            return shaped.map(lambda row: (row, row[:1])).cache(str(folder / name))
        return part(many, "training"), part(x, "validation")
    """
RANGE_TEST = RangeTest(
    batch_size=16, learning_rate=0.01, lowest_factor=0.1, highest_factor=10.0, steps=8, seed=0
)
TASKS = (
    (Inspect(batch_size=16), Inspected),
    (changed(PROBE, verify=True, seconds=0.5), Fits),
    (Benchmark(batch_size=16, seconds=0.3), Measured),
    (SHORT_TRIAL, Trained),
    (GRADIENTS, Differentiated),
    (RANGE_TEST, Ranged),
)


def test_one_that_is_not_complete_holds_up_no_process_and_is_left_alone(tmp_path):
    lock = tmp_path / "training_0.lockfile"  # left by a training that was killed, or is at work
    lock.touch()
    for task, kind in TASKS:
        found = asked(tmp_path, CACHING, task)
        assert isinstance(found, kind), found
        told = " ".join(getattr(found, "notes", ()))
        assert ("training, " in told and "is not complete" in told) == (kind is Inspected)
        if kind is Measured:
            assert found.input_windows
        left = [*tmp_path.glob("training*"), *tmp_path.glob("validation*")]
        assert left == [lock]
    assert not list((tmp_path / "logs").glob("*.aside*"))


@pytest.mark.parametrize(("task", "kind"), TASKS[:-1])  # the last trains as a trial does
def test_one_that_is_complete_is_what_is_drawn_from(tmp_path, task, kind):
    code = CACHING.replace("4096", "1")
    (tmp_path / "train.py").write_text(BEGINNING + textwrap.dedent(code))
    for part in runpy.run_path(str(tmp_path / "train.py"))["data"]():
        assert len([*part]) == len(list(part))
    drawn = (tmp_path / "drawn").read_text()
    found = asked(tmp_path, code, task)
    assert isinstance(found, kind), found
    assert "not complete" not in " ".join(getattr(found, "notes", ()))
    assert (tmp_path / "drawn").read_text() == drawn == ".."
