"""A plain `fit`, as its user would write it: `python bench/fit.py NAME SIZE STEPS|SECONDSs`.

Nothing of autobatch is in it; the allocator and its limit are in the environment, and the allocator
takes all of it at once, as it does on a GPU. It trains STEPS steps, in whole epochs with validation
after each, or, of slow ones, for as many as AT_MOST_SECONDS (in the environment) allow. Given
seconds, it trains for so long after a warm-up, and prints the samples per second that it delivered.
"""

import importlib
import math
import os
import sys
import time

import keras
import numpy as np

WARMUP_SECONDS = 2.0


class Stopwatch(keras.callbacks.Callback):
    """From the end of an epoch or, where those are long, of a step; to another such."""

    def __init__(self, samples: int, size: int, seconds: float) -> None:
        super().__init__()
        self.samples, self.size, self.seconds = samples, size, seconds
        self.began = self.opened = self.done = 0.0
        self.counted = 0

    def on_train_batch_end(self, batch, logs=None):
        self.began = self.began or time.perf_counter()  # tracing and compilation are over
        self.counted += min(self.size, self.samples - batch * self.size)
        if batch % 50 == 49:
            self.look()

    def on_epoch_end(self, epoch, logs=None):
        self.look()

    def look(self):
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

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = time.perf_counter() > self.ends


def reserve() -> None:
    import tensorflow as tf

    limit = int(os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"]) << 20
    if limit > 8 << 20:
        tf.raw_ops.Empty(shape=[(limit >> 20) - 4, 1 << 20], dtype=tf.uint8, init=False)


def main() -> None:
    name, size, long = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    from probe import MODELS

    folder, model, data, _ = MODELS[name]
    if long.endswith("s") and name == "digits_mlp":  # whose memory is searched on made-up samples
        data = "digits.py:load_flat"
    sys.path.insert(0, str(folder))

    def call(reference: str):
        module, _, function = reference.partition(":")
        return getattr(importlib.import_module(module.removesuffix(".py")), function)()

    network = call(model)
    if data is None:  # as many as the probe makes
        x = np.random.default_rng(0).standard_normal((size + size // 2, *network.input_shape[1:]))
        train = validation = (x.astype("float32"), np.zeros(len(x), "int64"))
    else:
        train, validation = call(data)
    arguments = {"x": train[0], "y": train[1], "batch_size": size, "verbose": 0}
    if long.endswith("s"):
        watch = Stopwatch(len(train[1]), size, float(long[:-1]))
        network.fit(**arguments, epochs=10**9, callbacks=[watch])
        print(watch.done)
        return
    reserve()
    if seconds := os.environ.get("AT_MOST_SECONDS"):
        arguments["callbacks"] = [AtMost(float(seconds))]
    arguments["epochs"] = math.ceil(int(long) / math.ceil(len(train[1]) / size))
    if name != "gan":  # which has no test_step
        arguments["validation_data"] = validation
    network.fit(**arguments)


if __name__ == "__main__":
    main()
