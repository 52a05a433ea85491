"""A plain `fit`, as its user would write it: `python bench/fit.py NAME SIZE STEPS|SECONDSs`.

Nothing of autobatch is in it. KERAS_BACKEND and LIMIT_MIB are in the environment, and ON_GPU where
that is meant: there the framework's own limit is set (JAX's by the caller, in the environment). On
the CPU, TensorFlow's allocator takes all of its limit at once, as it does on a GPU; on PyTorch the
limit is RLIMIT_DATA, above what the process holds once it has imported it. JAX has neither limit
nor count there: nothing is trained, but its steps are compiled as Keras does it, and XLA's analysis
is compared. It trains STEPS steps, in whole epochs with validation after each, or, of slow ones,
for as many as AT_MOST_SECONDS allow. Given seconds, it trains for so long after a warm-up, and
prints the samples per second that it delivered. Steps on a GPU may have been begun, and not ended,
when it looks: of 20 s, those are few.
"""

import importlib
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

WARMUP_SECONDS = 2.0

Part = tuple[Any, Any]  # x and y, of training or validation data


class Stopwatch(keras.callbacks.Callback):
    """From the end of an epoch or, where those are long, of a step; to another such."""

    def __init__(self, samples: int, size: int, seconds: float) -> None:
        super().__init__()
        self.samples, self.size, self.seconds = samples, size, seconds
        self.began = self.opened = self.done = 0.0
        self.counted = 0

    # An end of its own would make Keras wait.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch:
            self.stepped(self.size)
        if batch % 50 == 49:
            self.look()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.stepped((self.samples - 1) % self.size + 1)
        self.look()

    def stepped(self, samples: int) -> None:
        self.began = self.began or time.perf_counter()  # tracing and compilation are over
        self.counted += samples

    def look(self) -> None:
        now = time.perf_counter()
        if not self.opened:
            if now - self.began >= WARMUP_SECONDS:
                self.opened, self.counted = now, 0
        elif now - self.opened >= self.seconds:
            self.done = self.done or self.counted / (now - self.opened)
            self.model.stop_training = True


class AtMost(keras.callbacks.Callback):
    """Ends training after the epoch in which the seconds are over."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.ends = time.perf_counter() + seconds

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = time.perf_counter() > self.ends


def reserve(limit_mib: int) -> None:
    """One region for all of TensorFlow's memory."""
    import tensorflow as tf

    if limit_mib > 8:
        tf.raw_ops.Empty(shape=[limit_mib - 4, 1 << 20], dtype=tf.uint8, init=False)


def limit_data(limit_mib: int) -> None:
    """PyTorch's memory on the CPU, by the kernel, which counts what is kept for threads' stacks."""
    import resource
    import threading

    import torch

    threading.stack_size(1 << 20)  # or Keras' own threads, as it trains, would be 8 MiB each
    images, kernel = torch.ones(8, 3, 32, 32), torch.ones(8, 3, 3, 3, requires_grad=True)
    torch.nn.functional.conv2d(images, kernel).sum().backward()  # starts the pool's threads
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = pages * resource.getpagesize() + (limit_mib << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def limit_gpu(limit_mib: int) -> None:
    """0: what the framework takes by itself, all at once."""
    if keras.backend.backend() == "torch" and limit_mib:
        import torch

        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((limit_mib << 20) / total)
    elif keras.backend.backend() == "tensorflow" and limit_mib:
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mib)
        tf.config.set_logical_device_configuration(gpu, [limit])


def limit_cpu(limit_mib: int) -> None:
    """Before there is a model: its weights are in the limit, too. On JAX none can be set."""
    match keras.backend.backend():
        case "tensorflow":
            reserve(limit_mib)
        case "torch":
            limit_data(limit_mib)


def compile_within(
    limit_mib: int, network: keras.Model, train: Part, validation: Part, size: int
) -> None:
    """The steps of JAX, in training and in validation; those of a ragged batch need less."""
    import jax

    def batch(part: Part, count: int) -> tuple[Any, Any, None]:
        x, y = keras.tree.map_structure(lambda leaf: jax.numpy.asarray(leaf[:count]), part)
        return x, y, None

    network.train_on_batch(*batch(train, 2))
    variables = (network.trainable_variables, network.non_trainable_variables)
    metrics = network.metrics_variables
    values = keras.tree.map_structure(
        lambda variable: variable.value, (*variables, network.optimizer.variables, metrics)
    )
    tested = (values[0], values[1], values[3])
    for part, step, state in (
        (train, network.train_step, values),
        (validation, network.test_step, tested),
    ):
        count = min(size, len(part[1]))
        program = jax.jit(step, donate_argnums=0).lower(state, batch(part, count)).compile()
        found = program.memory_analysis()
        held = found.argument_size_in_bytes + found.temp_size_in_bytes
        held += found.output_size_in_bytes - found.alias_size_in_bytes
        if held > limit_mib << 20:
            sys.exit(f"RESOURCE_EXHAUSTED: {held} bytes for {count} samples")


def main() -> None:
    name, size, long = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    from questions import MODELS, ON_GPU

    folder, model, data, _ = (MODELS | ON_GPU)[name]
    if long.endswith("s") and name == "digits_mlp":  # whose memory is searched on made-up samples
        data = "digits.py:load_flat"
    sys.path.insert(0, str(folder))

    def call(reference: str) -> Any:
        module, _, function = reference.partition(":")
        return getattr(importlib.import_module(module.removesuffix(".py")), function)()

    limit_mib = int(os.environ.get("LIMIT_MIB", "0"))
    on_gpu, is_timed = bool(os.environ.get("ON_GPU")), long.endswith("s")
    if not is_timed or on_gpu:
        (limit_gpu if on_gpu else limit_cpu)(limit_mib)
    network = call(model)
    if data is None:  # as many as the probe makes
        x = np.random.default_rng(0).standard_normal((size + size // 2, *network.input_shape[1:]))
        train = validation = (x.astype("float32"), np.zeros(len(x), "int64"))
    else:
        train, validation = call(data)
    arguments: dict[str, Any] = {"x": train[0], "y": train[1], "batch_size": size, "verbose": 0}
    if is_timed:
        watch = Stopwatch(len(train[1]), size, float(long[:-1]))
        network.fit(**arguments, epochs=10**9, callbacks=[watch])
        print(watch.done)
        return
    if size > len(train[1]):
        sys.exit(f"no such batch: there are {len(train[1])} samples")
    if keras.backend.backend() == "jax" and not on_gpu:
        compile_within(limit_mib, network, train, validation, size)
        return
    if seconds := os.environ.get("AT_MOST_SECONDS"):
        arguments["callbacks"] = [AtMost(float(seconds))]
    arguments["epochs"] = math.ceil(int(long) / math.ceil(len(train[1]) / size))
    arguments["validation_data"] = validation
    network.fit(**arguments)


if __name__ == "__main__":
    main()
