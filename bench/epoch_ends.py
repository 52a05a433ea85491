"""How often, and how long, does `fit` wait at the ends of epochs for a thread of tf.data's?

A plain `fit` of bench/which_module.py, each in an interpreter of its own: on arrays, on a
tf.data.Dataset, and on one whose autotuning is off. A wait is a pause between two epochs that ends
at a turn of the thread that tunes the pipeline (autobatch/core/epoch_ends.py).

    python bench/epoch_ends.py [EPOCHS] [SIZE]...
"""

import subprocess
import sys
import time
from typing import Any

from questions import head

KINDS = ("arrays", "tf.data", "tf.data, not tuned")


def main(epochs: int, sizes: list[int]) -> None:
    waits = f"waits of {epochs - 1}"
    head("data", "batch", "an epoch's steps", waits, "each", "all epochs")
    for size in sizes:
        for kind in KINDS:
            command = [sys.executable, __file__, "fit", kind, str(size), str(epochs)]
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(ended.stdout.splitlines()[-1], flush=True)


def fit(kind: str, size: int, epochs: int) -> None:
    import keras
    import tensorflow as tf
    import which_module

    from autobatch.core.epoch_ends import epoch_end

    class Epochs(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.began = self.ended = 0.0
            self.lived: list[float] = []
            self.pauses: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                now = time.perf_counter()
                if self.ended:
                    self.lived.append(self.ended - self.began)
                    self.pauses.append(now - self.ended)
                self.began = now

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if not self.ended and batch == 0:  # it was compiled before it drew a batch
                self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.ended = time.perf_counter()

    (x, y), _ = which_module.load_data()
    model, watch = which_module.build_model(), Epochs()
    arguments: dict[str, Any] = {"x": x, "y": y, "batch_size": size}
    if kind != "arrays":
        options = tf.data.Options()
        options.autotune.enabled = kind == "tf.data"
        data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(size)
        arguments = {"x": data.prefetch(2).with_options(options)}
    opened = time.perf_counter()
    model.fit(**arguments, epochs=epochs, callbacks=[watch], verbose=0)
    took = time.perf_counter() - opened
    ends = zip(watch.lived, watch.pauses, strict=True)
    waits = [pause for lived, pause in ends if epoch_end(lived, pause).waited]
    lived = sorted(watch.lived)
    each = f"{min(waits):.2f} to {max(waits):.2f} s" if waits else ""
    print(
        f"| {kind} | {size} | {lived[0]:.2f} to {lived[-1]:.2f} s | {len(waits)} | {each} "
        f"| {took:.1f} s |"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        fit(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        given = [int(each) for each in sys.argv[1:]]
        main(given[0] if given else 20, given[1:] or [32, 512])
