"""A slow loader is called once in a run: its arrays are kept for the processes after it."""

import time
from collections import defaultdict
from pathlib import Path

import keras
import numpy as np
import pytest
from asking import HERE
from worker.test_users_code import asked

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import (
    Fits,
    Inspect,
    Inspected,
    OutOfMemory,
    Probe,
    Target,
    UserCodeFailed,
    changed,
)
from autobatch.worker.arrays import arrays
from autobatch.worker.kept import keep, kept, mapped_bytes, told_again, written

LOADER = """
import collections
import time
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf

def load_data():
    with open({calls!r}, "a") as file:
        file.write("x")
    time.sleep({seconds})
    part = lambda n: (np.arange(8 * n, dtype="float32").reshape(n, 8), np.zeros((n, 1), "float32"))
    return part(50), part(10)

def load_for(batch_size):
    return load_data()

def load_dataset():
    return tuple(tf.data.Dataset.from_tensor_slices(part) for part in load_data())

def load_tensors():
    return keras.tree.map_structure(tf.constant, load_data())

def load_frames():
    import pandas
    return tuple((pandas.DataFrame(x), pandas.Series(y[:, 0])) for x, y in load_data())

def load_named():
    parts = collections.namedtuple("Parts", "train validation")
    return parts(*load_data())

def load_mapped():
    (x, y), validation = load_data()
    np.save({calls!r} + ".npy", x)
    return (np.asarray(np.load({calls!r} + ".npy", mmap_mode="r")[:50]), y), validation
"""
SLOW = 0.4  # seconds that a loader takes in tests where less counts as slow
SOONER_SLOW = (  # a line of code
    "import autobatch.worker.called as calling, autobatch.worker.kept as keeping; "
    "calling.SLOW_SECONDS = keeping.SLOW_SECONDS = 0.3"
)
LARGE = """
import time
import autobatch.worker.kept as keeping
import numpy as np

keeping.COPIED_BYTES_PER_SECOND = 1 << 30

def load_data():
    time.sleep(1.1)  # longer than a copy takes
    part = lambda n: (np.zeros((n, 8), "float32"), np.zeros((n, 1), "float32"))
    return part(50), part(3 << 23)  # that is never touched, and takes no memory
"""
PROBE = Probe(batch_size=20, limit_bytes=1 << 30, verify=True, seconds=0)


@pytest.fixture
def asking(tmp_path):
    """A function that asks for an inspection and a probe, and counts the loader's calls."""
    calls = tmp_path / "calls"

    def ask(seconds, loader="load_data"):
        code = LOADER.format(calls=str(calls), seconds=seconds)
        Path(tmp_path, "slow.py").write_text(code + (SOONER_SLOW if seconds == SLOW else ""))
        target = Target(
            folder=str(tmp_path), model=f"{HERE}/targets.py:model", data=f"slow.py:{loader}"
        )
        executor = LocalExecutor(target, tmp_path / "logs")
        found = executor.run(Inspect(batch_size=20), deadline_seconds=60)
        assert isinstance(found, Inspected), found
        fits = executor.run(PROBE, deadline_seconds=60)
        assert isinstance(fits, Fits), fits
        assert (fits.ragged_samples, fits.validated) == (10, True)
        return found, len(calls.read_text()), executor.kept_data.exists()

    return ask


def test_arrays_of_a_slow_loader_are_kept_and_it_is_called_once(asking):
    found, calls, kept = asking(seconds=1.1)
    assert (calls, kept) == (1, True)
    assert 1.1 <= found.saved_seconds < 5
    assert any("are kept for the processes of this run" in note for note in found.notes)


def test_a_quick_loader_is_called_each_time_and_nothing_is_written(asking):
    found, calls, kept = asking(seconds=0)
    assert (calls, kept) == (2, False)
    assert not any("took" in note for note in found.notes)


@pytest.mark.parametrize("loader", ["load_dataset", "load_for"])
def test_a_slow_loader_of_what_cannot_be_kept_is_told_what_would_help(asking, loader):
    """Arrays that were asked for with a batch size may be others with another."""
    found, calls, kept = asking(seconds=SLOW, loader=loader)
    assert (calls, kept) == (2, False)
    told = "Of arrays, without batch_size, that would be paid once"
    assert any(told in note for note in found.notes)


@pytest.mark.parametrize("loader", ["load_tensors", "load_frames"])
def test_tensors_and_frames_of_a_slow_loader_are_kept_as_arrays(asking, loader):
    if loader == "load_frames":
        pytest.importorskip("pandas")
    _, calls, kept = asking(seconds=SLOW, loader=loader)
    assert (calls, kept) == (1, True)


def asked_to_keep(path, loaded):
    """What a user is told where that took two seconds to load."""
    return keep(loaded, path, 2.0, "load_data", is_for_one_size=False, again_since=None)


def of_library(name):
    """Samples as that library holds them."""
    library = pytest.importorskip(name)
    numbers = np.arange(12).reshape(6, 2)
    if name == "pandas":
        mixed = library.DataFrame({"a": numbers[:, 0] / 2, "b": numbers[:, 1], "c": [True] * 6})
        return {"a": mixed["a"], "all": mixed}, library.Series(["ab", "c"] * 3)
    made = library.constant if name == "tensorflow" else library.asarray
    return {"halves": made(numbers, dtype=library.bfloat16)}, made(numbers[:, 0])


@pytest.mark.parametrize("library", ["tensorflow", "pandas"])
def test_what_is_kept_of_tensors_and_frames_is_what_fit_is_given_without(tmp_path, library):
    loaded = of_library(library)
    assert "are kept for the processes" in asked_to_keep(tmp_path / "kept", loaded)
    one, same = arrays(loaded, "it"), arrays(kept(tmp_path / "kept"), "it")
    assert one.fingerprint() == same.fingerprint()


def test_what_a_command_looks_at_again_is_not_copied_again(tmp_path):
    x = np.zeros((6, 2))
    path = tmp_path / "kept"
    told = [asked_to_keep(path, (x + n, x)) for n in range(2)]
    assert told[0] == told[1]
    assert kept(path)[0].sum() == 0


def test_what_was_kept_may_be_kept_once_more_whatever_the_path_to_the_run(tmp_path):
    (tmp_path / "here").mkdir()
    run = tmp_path / "here" / ".."
    assert written(np.zeros((6, 2)), run / "once", 2.0) is None
    assert written(kept(run / "once"), run / "kept", 2.0) is None


def test_of_what_cannot_be_pickled_nothing_is_left_on_disk(tmp_path):
    x = np.zeros((6, 2))
    told = asked_to_keep(tmp_path / "kept", (defaultdict(lambda: x, x=x), x))
    assert "what it returns cannot be kept, as arrays" in told
    assert not [*tmp_path.iterdir()]


def test_what_loads_sooner_than_a_copy_of_it_is_written_is_not_kept(tmp_path):
    many = np.broadcast_to(np.float32(0), (1 << 28, 1))  # takes no memory
    told = asked_to_keep(tmp_path / "kept", (many, many))
    assert "it is called again in each process: a copy of 2.0 GiB may take longer" in told
    assert not [*tmp_path.iterdir()]


class Slow:
    def __reduce__(self):
        return time.sleep, (0.3,)


def test_what_loads_sooner_than_a_copy_of_it_is_read_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("autobatch.worker.kept.SLOW_SECONDS", 0.2)
    path = tmp_path / "kept"
    assert written(Slow(), path, 0.1) == "to read a copy takes longer"
    assert not [*tmp_path.iterdir()]
    assert written(Slow(), path, 5.0) is None


class Wide:
    """Of which no array can be made."""

    def __array__(self, *_, **__):
        raise MemoryError("Unable to allocate 8.0 EiB")


def test_what_memory_is_not_enough_to_copy_is_not_kept(tmp_path):
    told = asked_to_keep(tmp_path / "kept", (Wide(), np.zeros((6, 2))))
    assert told.endswith("it is called again in each process: memory is not enough for a copy.")


def test_a_full_disk_is_no_fault_of_what_was_loaded(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    (tmp_path / "kept.tmp").symlink_to("/dev/full")
    x = np.zeros((6, 2))
    told = asked_to_keep(tmp_path / "kept", (x, x))
    assert told.endswith("a copy of it cannot be written (No space left on device).")
    assert not [*tmp_path.iterdir()]


def test_a_slow_loader_of_what_cannot_be_pickled_is_called_in_each_process(asking):
    found, calls, kept = asking(seconds=SLOW, loader="load_named")
    assert (calls, kept) == (2, False)
    assert any("what it returns cannot be kept, as arrays" in note for note in found.notes), (
        found.notes
    )


def test_a_slow_loader_that_maps_files_into_memory_has_them_not_copied(asking):
    found, calls, kept = asking(seconds=SLOW, loader="load_mapped")
    assert (calls, kept) == (2, False)
    assert any("of files that it maps into memory no copy is kept" in note for note in found.notes)


def test_views_of_the_same_memory_count_once_and_texts_not_at_all():
    series = np.zeros((1000, 4), "float32")
    windows = np.lib.stride_tricks.sliding_window_view(series, 100, axis=0)
    assert mapped_bytes(((windows, series[99:]), (windows[::-1], None))) == series.nbytes
    assert mapped_bytes({"x": series[:10], "y": np.zeros(3)}) == 10 * 16 + 24
    assert mapped_bytes((np.array(["a text"], object), np.zeros((0, 4)))) == 0


@pytest.mark.parametrize("library", ["tensorflow", "torch"])
def test_tensors_count_as_mapped_only_where_arrays_were_made_of_them(library):
    loaded = of_library(library)[0]["halves"], np.zeros((6, 2))
    assert mapped_bytes(loaded) == 24 + 96
    assert mapped_bytes(loaded, is_pickled=True) == 96


def test_a_sparse_tensor_can_be_loaded_once(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "kept"
    assert written(torch.eye(3).to_sparse(), path, 2.0) is None
    assert kept(path).to_dense().sum() == 3


def test_what_is_mapped_counts_as_the_users_own_training_would_hold_it(tmp_path):
    (tmp_path / "slow.py").write_text(LARGE)
    model = f"{HERE}/targets.py:model"
    target = Target(folder=str(tmp_path), model=model, data="slow.py:load_data")
    executor = LocalExecutor(target, tmp_path / "logs")
    tasks = Inspect(batch_size=20), Probe(batch_size=20, limit_bytes=1 << 30, verify=True)
    first = executor.run(tasks[0], deadline_seconds=120)
    executor.resident_limit_bytes = 3 << 29  # more than a process holds beside it
    mapping, loading = (executor.run(task, deadline_seconds=120) for task in reversed(tasks))
    executor.kept_data.unlink()
    assert first.mapped_bytes == loading.mapped_bytes == 36 * (3 << 23) + 36 * 50
    assert isinstance(mapping, OutOfMemory), mapping
    assert "with data of 864.0 MiB, more than the 1.5 GiB" in mapping.evidence


SETTING = {
    "a global": ("classes = 0", "global classes; classes = 1", "classes"),
    "an item": ("sizes = {}", "sizes['n'] = 1", "sizes.get('n')"),
    "a layer": ("layer = keras.layers.Normalization()", "layer.adapt(x)", "layer.mean.shape[-1]"),
    "a memo": ("memo = None", "global memo; memo = x", "1"),
    "a table": ("table = {}", "len(table)", "1 + len(table)"),
}


@pytest.mark.parametrize(
    ("setting", "is_kept"),
    [
        ("a global", False),
        ("an item", False),
        ("a layer", False),
        ("a memo", True),
        ("a table", True),
    ],
)
def test_a_loader_that_sets_what_the_model_is_built_from_is_called_before_it(
    tmp_path, setting, is_kept
):
    first, within, read = SETTING[setting]
    code = f"""
        import time
        {SOONER_SLOW}
        {first}
        def load():
            {within.replace("; ", chr(10) + " " * 12)}
            time.sleep({SLOW})
            return (x, x[:, :1]), (x[:16], x[:16, :1])
        def data():
            return load()
        def model():
            assert {read}, "not set"
            found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            found.compile("sgd", "mse")
            return found
        """
    inspected = asked(tmp_path, code, Inspect(batch_size=16))
    assert isinstance(inspected, Inspected), inspected
    told = " ".join(inspected.notes)
    assert ("are kept for the processes" in told) == is_kept
    assert ("since it sets what the model is built from" in told) != is_kept


def test_a_model_that_is_another_without_the_loader_is_refused(tmp_path):
    """Where it was not seen that the loader sets what it is built from."""
    code = f"""
        import os, time
        {SOONER_SLOW}
        def data():
            os.environ["UNITS_OF_MODEL"] = "3"
            time.sleep({SLOW})
            return (x, x[:, :1]), (x[:16], x[:16, :1])
        def model():
            units = int(os.environ.get("UNITS_OF_MODEL", 1))
            layers = [keras.layers.Dense(units), keras.layers.Dense(1)]
            found = keras.Sequential([keras.Input((4,)), *layers])
            found.compile("sgd", "mse")
            return found
        """
    inspected = asked(tmp_path, code, Inspect(batch_size=16))
    assert any("are kept for the processes" in note for note in inspected.notes)
    found = asked(tmp_path, code, changed(PROBE, batch_size=16))
    assert isinstance(found, UserCodeFailed), found
    assert "of 7 parameters, and of 19 where train.py:data was called before it" in found.message


def test_what_is_mapped_from_an_inspection_before_counts_where_this_one_was_quick(tmp_path):
    code = f"""
        import time
        from pathlib import Path
        {SOONER_SLOW}
        called = Path({str(tmp_path / "called")!r})
        def data():
            if not called.exists():
                called.touch()
                time.sleep({SLOW})
            return (x, x[:, :1]), (x[:16], x[:16, :1])
        """
    first, second = (asked(tmp_path, code, Inspect(batch_size=16)) for _ in range(2))
    assert second.mapped_bytes == first.mapped_bytes == 64 * 4 * 4


def test_keras_iterators_over_images_are_taken_for_no_generators():
    class OverImages(keras.utils.PyDataset):
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

    assert "generator" not in told_again("load_data", 5.0, (OverImages(), None))
    assert "generator" in told_again("load_data", 5.0, (iter([]), None))
