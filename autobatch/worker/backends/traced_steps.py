"""TensorFlow's training step, traced once: Python does not see the batches that it runs on."""

from collections.abc import Callable
from typing import Any

from autobatch.worker.backends import StepCount

NO_SIZE = 1 << 62  # larger than any batch


def counted_by_the_graph(model: Any, batch_size: int, replicas: int) -> Callable[[], StepCount]:
    """The count is part of the traced step: it sees the sizes that the step itself sees.

    Components of a batch need not all be batched (anchors, a mask): its size is the one asked if
    at least half of them have it, else that of the last component, as a rule the target. Replicas
    step together, each on its part of a batch, and count into the same variable one by one.
    """
    import tensorflow as tf

    part = batch_size // replicas
    # int64: on a GPU, int32 variables would live in host memory, out of a jit-compiled step's reach
    counts = tf.Variable([0, 0, NO_SIZE, 0], dtype=tf.int64, trainable=False)
    train_step = model.train_step

    def counting_train_step(data: Any) -> Any:
        leaves = [leaf for leaf in tf.nest.flatten(data) if leaf is not None]
        batched = [_rows(leaf) for leaf in leaves if leaf.shape.rank != 0]
        sizes = tf.stack(batched or [tf.constant(0, tf.int64)])
        matching = tf.reduce_sum(tf.cast(tf.equal(sizes, part), tf.int64))
        full = 2 * matching >= tf.size(sizes, out_type=tf.int64)
        size = tf.where(full, tf.constant(part, tf.int64), sizes[-1])
        before = counts.read_value()
        after = [
            before[0] + tf.cast(full, tf.int64),
            before[1] + 1,
            tf.minimum(before[2], size),
            tf.maximum(before[3], size),
        ]
        counts.assign(tf.stack(after))
        return train_step(data)

    model.train_step = counting_train_step
    model.train_function = None  # one made before, by the user's code, would not be counted

    def read() -> StepCount:
        full, steps, smallest, largest = (int(value) for value in counts.numpy())
        return StepCount(
            full=full // replicas,
            steps=steps // replicas,
            smallest=smallest * replicas,
            largest=largest * replicas,
        )

    return read


def _rows(leaf: Any) -> Any:
    import tensorflow as tf

    if isinstance(leaf, tf.RaggedTensor):
        return tf.cast(leaf.nrows(), tf.int64)
    if isinstance(leaf, tf.SparseTensor):
        return tf.cast(leaf.dense_shape[0], tf.int64)
    return tf.shape(leaf, out_type=tf.int64)[0]
