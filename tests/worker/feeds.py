"""Data of every kind for one small model; and such as cannot be trained on."""

import gc
import os
import threading
import time
import weakref

import keras
import tensorflow as tf
from kinds import SAMPLES, Padded, rows, sequences, text_dataset, texts

from autobatch.worker import datasets


def dataset(count=SAMPLES):
    return tf.data.Dataset.from_tensor_slices(rows(count))


def unbatched():
    return dataset(), dataset(20)


def of_unknown_size():
    return dataset(80).filter(lambda x, y: x[0] > -9).take(SAMPLES), dataset(20)


def endless():
    """As good as that; and it does not know."""
    return dataset(80).repeat(10**7).filter(lambda x, y: x[0] > -9)


def endless_both():
    return endless(), endless()


def endless_validation():
    return dataset(), endless()


def endless_one():
    return endless()


def endless_batches(batch_size):
    return endless().batch(batch_size), endless().batch(batch_size)


def endless_batches_of_one_shape(batch_size):
    return tuple(each.unbatch().batch(batch_size, True) for each in endless_batches(batch_size))


def endless_generators(batch_size):
    return generator(10**7, batch_size, 80), generator(10**7, batch_size, 80)


def sequences_of_unknown_size():
    """Of 50 and 30, of which others have counted fewer."""
    each = map(tf.data.Dataset.from_tensor_slices, sequences())
    return tuple(part.filter(lambda x, y: x[0][0] > -9) for part in each)


def one_dataset():
    return dataset()


def batched(batch_size):
    return dataset().batch(batch_size), dataset(20).batch(batch_size)


def batched_at_its_own_size():
    return dataset().batch(16), dataset(20).batch(16)


def three_datasets():
    return dataset(), dataset(20), dataset(10)


def validated_at_its_own_size():
    return dataset(), dataset(20).batch(8)


def validated_by_python_at_its_own_size(batch_size):
    return Padded(SAMPLES, batch_size), Padded(20, 8)


def repeated():
    return dataset().repeat(), dataset(20)


def generator(count, batch_size, of=None):
    """Of `count` samples; of so many different ones, over and over."""
    x, y = rows(of or count)
    for start in range(0, count, batch_size):
        chosen = range(start, min(start + batch_size, count))
        yield x.take(chosen, 0, mode="wrap"), y.take(chosen, 0, mode="wrap")


def generators(batch_size):
    return generator(SAMPLES, batch_size), generator(20, batch_size)


def slowly(parts):
    for part in parts:
        time.sleep(0.04)
        yield part


def slow_samples():
    """Ten, of unknown size."""
    return tf.data.Dataset.from_generator(
        lambda: slowly(zip(*rows(10), strict=True)), output_signature=dataset().element_spec
    ), None


def slow_batches(batch_size):
    return slowly(generator(10 * batch_size, batch_size)), None


def smaller_batches(batch_size):
    return generator(SAMPLES, batch_size // 2), None


def empty_generator(batch_size):
    return generator(0, batch_size), None


TRAINED = []


class Breaking(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        TRAINED.append(True)


def breaking():
    return [Breaking()]


def broken_after_training(batch_size):
    def broken():
        if TRAINED:
            raise ValueError("the file is gone")
        yield from generator(SAMPLES, batch_size)

    signature = dataset().batch(batch_size).element_spec
    return tf.data.Dataset.from_generator(broken, output_signature=signature), dataset(20)


def broken_in_mid_epoch(batch_size):
    def broken():
        yield from generator(2 * batch_size, batch_size)
        raise ValueError("sample 17 is damaged")

    return broken(), None


def dataset_broken_in_mid_epoch(batch_size):
    signature = dataset().batch(batch_size).element_spec
    dataset_of = tf.data.Dataset.from_generator
    return dataset_of(lambda: broken_in_mid_epoch(batch_size)[0], output_signature=signature), None


def broken_in_its_second_pass(batch_size, passes=[]):  # noqa: B006
    passes.append(1)
    return (generators if len(passes) == 1 else broken_in_mid_epoch)(batch_size)


def fewer_in_its_second_pass(batch_size, passes=[]):  # noqa: B006
    passes.append(1)
    return generator(SAMPLES if len(passes) == 1 else 30, batch_size), None


def three_samples():
    return dataset(3), dataset(3)


def changing_shape(batch_size):
    def changing():
        yield from generator(2 * batch_size, batch_size)
        yield rows(batch_size)[0][:, None], rows(batch_size)[1]

    return changing(), None


def changing_width(batch_size):
    def changing():
        yield from generator(2 * batch_size, batch_size)
        x, y = rows(batch_size)
        yield x[:, [0, 0, 1, 2, 3]], y

    return changing(), None


class OfChangingWidth(keras.utils.PyDataset):
    def __init__(self, batch_size):
        super().__init__()
        self.batches = [*changing_width(batch_size)[0]]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def python_batches_of_changing_width(batch_size):
    return OfChangingWidth(batch_size), None


class Damaged(Padded):
    def __getitem__(self, index):
        if index == 1:
            raise OSError("cannot read record 21")
        return super().__getitem__(index)


def damaged(batch_size):
    return Damaged(500, batch_size), None


def ten_samples(batch_size):
    return dataset(10).batch(batch_size, drop_remainder=True), None


def blocked():
    """A dataset that has one sample, and waits for ever for the next."""

    def samples():
        x, y = rows(1)
        yield x[0], y[0]
        threading.Event().wait()

    signature = tuple(
        tf.TensorSpec(spec.shape[1:], spec.dtype) for spec in map(tf.constant, rows(1))
    )
    return tf.data.Dataset.from_generator(samples, output_signature=signature), dataset(20)


def sleeping(seconds=0.01):
    """Each sample takes that long to come."""

    def wait(x, y):
        tf.py_function(lambda: time.sleep(seconds), [], [])
        return x, y

    return dataset().map(wait), dataset(20)


def short_epochs():
    """Of 0.2 s at least."""
    return sleeping(0.004)


class Scarce(keras.utils.PyDataset):
    """Of batches that cannot be had in numbers: some are on their way, and the others gone."""

    def __init__(self, batch_size, **workers):
        super().__init__(**workers)
        self.size, self.alive, self.builders, self.epochs = batch_size, set(), [], 0

    def __len__(self):
        return 30

    def __getitem__(self, index):
        self.builders.append(threading.current_thread())
        x, y = rows(self.size)
        self.alive.add(id(x))
        weakref.finalize(x, self.alive.discard, id(x))
        if len(self.alive) > 9:
            gc.collect()
        if len(self.alive) > 9:
            raise RuntimeError("too many at once")
        return x, y

    def on_epoch_end(self):
        self.epochs += 1


SCARCE = []


def scarce(batch_size):
    SCARCE[:] = Scarce(batch_size, workers=2, max_queue_size=2), Scarce(batch_size)
    return tuple(SCARCE)


class AsGiven(keras.callbacks.Callback):
    """Refuses a training that does not draw batches as one on the very dataset would."""

    def on_train_begin(self, logs=None):
        SCARCE[0].before = len(SCARCE[0].builders)

    def on_train_end(self, logs=None):
        train = SCARCE[0]
        workers = {*train.builders} - {threading.main_thread()}
        if train.before > 8 or len(workers) < 2 or train.epochs < 2:
            raise RuntimeError(f"{train.before} before, {train.epochs} epochs, by {workers}")


def as_given():
    return [AsGiven()]


class InPieces(keras.utils.PyDataset):
    def __init__(self, count, batch_size):
        super().__init__()
        self.samples, self.size = rows(count), batch_size

    def __len__(self):
        return -(-len(self.samples[0]) // self.size)

    def __getitem__(self, index):
        return tuple(each[index * self.size : (index + 1) * self.size] for each in self.samples)


def pydatasets(batch_size):
    return InPieces(SAMPLES, batch_size), InPieces(20, batch_size)


class Untouched(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise RuntimeError("nobody needs these")


def needless_validation(batch_size):
    return Scarce(batch_size), Untouched()


def many_texts():
    datasets.LOOK_SAMPLES = 10  # in this process: ten thousand take long to draw
    return text_dataset(texts(40)), None


def longest_first(batch_size):
    """Keras takes the shapes that it allows from the first two batches."""
    return Padded(SAMPLES, batch_size, lambda count: texts(count)[::-1]), None


def of_unknown_rank():
    """As tf.py_function leaves its results, where nobody sets their shapes."""

    def read(x, y):
        return tf.py_function(lambda x, y: (x, y), [x, y], [tf.float32, tf.float32])

    return tuple(tf.data.Dataset.from_tensor_slices(rows(n)).map(read) for n in (50, 20))


class OneByOne:
    """A dataset as of Hugging Face or Grain: NumPy would get all of its samples, one by one."""

    shape = (SAMPLES, 2)

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        raise AssertionError("a sample was got")


def one_by_one():
    return OneByOne(), OneByOne()


def columns_one_by_one():
    return (OneByOne(), rows(SAMPLES)[1]), None


def windows():
    """Of four numbers each, which a dataset that makes them does not know."""

    def part(count):
        numbers = tf.data.Dataset.range(count + 3).window(4, 1, drop_remainder=True)
        each = numbers.flat_map(lambda window: window.batch(4))
        return each.map(lambda row: (tf.cast(row, "float32"), tf.cast(row[:1], "float32")))

    return part(SAMPLES), part(20)


class Streamed:
    """As a dataset of Hugging Face that is streamed, or Grain's loader."""

    def __iter__(self):
        yield from zip(*rows(), strict=True)


def streamed():
    return Streamed(), dataset(20)


def streamed_for_validation():
    return dataset(), Streamed()


class Numbered(keras.utils.PyDataset):
    """Says which batch is drawn; the last one is smaller."""

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def __len__(self):
        return 10

    def __getitem__(self, index):
        os.write(1, f"drawn {index}\n".encode())
        return rows(self.batch_size if index < 9 else 1)


def numbered(batch_size):
    return Numbered(batch_size), rows(20)
