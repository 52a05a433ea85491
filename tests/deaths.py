"""Models that die in ways a process can die. Named `deaths.py:function`."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import keras
import numpy as np


def bad_alloc_model():
    """C++'s own out-of-memory: an exception that nobody catches, then abort."""
    allocate = ctypes.CDLL("libstdc++.so.6")._Znwm
    allocate.argtypes, allocate.restype = [ctypes.c_size_t], ctypes.c_void_p
    allocate(1 << 62)


def model_that_fills_a_disk():
    import tensorflow as tf

    tf.io.write_file("/dev/full", "no room for this")


def memory_error_model():
    np.empty(1 << 60, dtype="uint8")


def model_that_maps_too_much():
    mmap.mmap(-1, 1 << 60)


def killed_model():
    os.kill(os.getpid(), signal.SIGKILL)


def model_killed_beside_what_a_shell_started():
    os.system("sleep 86398 &")
    killed_model()


def model_too_large():
    Path(os.environ["SMALL_GROUP"], "cgroup.procs").write_text(str(os.getpid()))
    np.ones(1 << 27)  # 1 GiB, every page of it touched


class TooLargeForItsReaders(keras.utils.PyDataset):
    """Takes 1 GiB to read a batch, where a process of its own reads it: in the small group."""

    def __init__(self, batch_size):
        super().__init__(workers=2, use_multiprocessing=True)
        self.batch_size, self.process = batch_size, os.getpid()

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if os.getpid() != self.process:
            model_too_large()
        return np.ones((self.batch_size, 8)), np.ones((self.batch_size, 1))


def data_too_large_for_its_readers(batch_size):
    return TooLargeForItsReaders(batch_size), None


def model_that_tells_its_score():
    """Of the process that it is in: the larger, the sooner the kernel ends it for memory."""
    os.write(1, b"score " + Path("/proc/self/oom_score_adj").read_bytes())
    return modest_model()


def quietly_exiting_model():
    os._exit(0)


def model_that_prints_of_memory_and_dies():
    os.write(2, b"2026: Allocator (bfc) ran out of memory trying to allocate 2GiB\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def needy_model(width):
    raise AssertionError("it cannot be called without a width")


def model_that_starts_a_process():
    started = subprocess.Popen(["sleep", "86399"])
    os.write(1, f"started {started.pid}\n".encode())
    found = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found


def model_beside_a_large_process():
    held = "import time; held = b'x' * (1 << 30); time.sleep(86399)"
    subprocess.Popen([sys.executable, "-c", held])
    time.sleep(86399)


def convolution():
    """Under a limit, oneDNN's convolutions end in a segmentation fault as often as in an error."""
    layers = [keras.layers.Conv2D(64, 3, padding="same", use_bias=False) for _ in range(3)]
    head = [keras.layers.Flatten(), keras.layers.Dense(10)]
    found = keras.Sequential([keras.Input((8, 8, 1)), *layers, *head])
    found.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return found


def images():
    rng = np.random.default_rng(0)
    return rng.standard_normal((2048, 8, 8, 1), dtype="float32"), rng.integers(0, 10, 2048)


def modest_model():
    found = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found


class Overflowing(keras.layers.Layer):
    """Counts elements in 32 bits, as some kernels do: from batch 32 on it is too many."""

    def call(self, x):
        import tensorflow as tf

        rows = tf.shape(x)[0]
        return x + tf.cast(tf.shape(tf.zeros([rows * (1 << 26), 0]))[1], x.dtype)


class AllocatingInPython(keras.layers.Layer):
    """Needs 128 MiB in a function that TensorFlow calls."""

    def call(self, x):
        import tensorflow as tf

        most = tf.py_function(lambda: tf.reduce_sum(tf.zeros(1 << 25)), [], tf.float32)
        return x + tf.reshape(most, ())


class ComplainingInPython(keras.layers.Layer):
    """Its error speaks of memory, and is none of it."""

    def call(self, x):
        import tensorflow as tf

        def complain():
            raise ValueError("OOM when allocating a taxi")

        return x + tf.reshape(tf.py_function(complain, [], tf.float32), ())


KEPT = []


class KeepsMoreAndMore(keras.layers.Layer):
    """4 MiB of this machine's memory at each step."""

    def call(self, x):
        import tensorflow as tf

        def keep():
            KEPT.append(b"x" * (4 << 20))
            return 0.0

        return x + tf.reshape(tf.py_function(keep, [], tf.float32), ())


class Waiting(keras.layers.Layer):
    """Needs 28 of 64 MiB, wherever they lie, while what goes on for a while holds 38."""

    def go_on(self, held):
        raise NotImplementedError

    def call(self, x):
        import tensorflow as tf

        dumps = Path(tempfile.mkdtemp(), "dump")  # shows whether an allocation had to wait
        os.environ["TF_BFC_MEMORY_DUMP"] = str(dumps)

        def check(held):
            ends = time.monotonic() + 10  # where threads are few, it may be tried only now
            while not list(dumps.parent.glob(f"{dumps.name}*")):
                if time.monotonic() > ends:
                    raise AssertionError("nobody waited for memory")
                time.sleep(0.01)
            return held[0]

        held = tf.fill([38 << 18], x[0, 0])
        first = tf.py_function(check, [self.go_on(held)], tf.float32)
        # Else the thread that is to go on may come to wait for the memory first: in vain.
        some_time_after = computed(held[:2])[0]
        size = (28 << 18) + tf.cast(some_time_after - held[1], tf.int32)
        return x + tf.stop_gradient(tf.reduce_max(tf.ones([size])) + tf.reshape(first, []))


def computed(held):
    """`held`, after one operation of some tenths of a second, without a pause."""
    import tensorflow as tf

    matrix = tf.random.normal([500, 500]) + held[0]
    last = tf.linalg.svd(matrix, compute_uv=True)[0]
    with tf.control_dependencies([last]):
        return tf.identity(held)


class Computing(Waiting):
    def go_on(self, held):
        return computed(computed(held))


class AsleepInPython(Waiting):
    def go_on(self, held):
        import tensorflow as tf

        def sleep(held):
            time.sleep(2)
            return held

        return tf.ensure_shape(tf.py_function(sleep, [held], tf.float32), held.shape)


class WaitingForData(keras.layers.Layer):
    """TensorFlow waits, and not for memory: 1.6 s, for the element and for the end after it."""

    def call(self, x):
        import tensorflow as tf
        from tensorflow.python.data.experimental.ops.testing import sleep

        slow = tf.data.Dataset.range(1).apply(sleep(800_000)).reduce(tf.int64.min, tf.maximum)
        return x + tf.stop_gradient(tf.cast(slow, x.dtype))


def model_with(layer):
    found = keras.Sequential([keras.Input((8,)), globals()[layer](), keras.layers.Dense(1)])
    found.compile("sgd", "mse", jit_compile=False)
    return found


def model_beside_a_thread():
    """Of which nobody knows what it will do."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return convolution()


def model_that_prints_of_memory_and_exits():
    os.write(2, b"2026: Allocator (bfc) ran out of memory trying to allocate 2GiB\n")
    os._exit(0)
