"""Code as users write it, which trains as it stands, and is to be measured as it stands."""

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from asking import GRADIENTS, SHORT_TRIAL, ask, on_backends

from autobatch import tuner
from autobatch.errors import UserCodeError
from autobatch.opening import open_session
from autobatch.protocol import (
    Benchmark,
    Differentiated,
    Fits,
    Inspect,
    Inspected,
    Measured,
    OutOfMemory,
    Probe,
    Ranged,
    RangeTest,
    TargetMissing,
    Trained,
    UserCodeFailed,
    changed,
)
from autobatch.worker.backends import StepCount
from autobatch.worker.datasets import is_batched
from autobatch.worker.mistakes import UserError
from autobatch.worker.optimizer import batch_norm_layers, optimizers
from autobatch.worker.tasks import probe

assert_cardinality = tf.data.experimental.assert_cardinality

BEGINNING = """
import keras, numpy as np
x = np.random.default_rng(0).standard_normal((64, 4), dtype="float32")
def data():
    return (x, x[:, :1]), (x[:16], x[:16, :1])
def model():
    found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found
"""
PROBE = Probe(batch_size=16, limit_bytes=64 << 20, seconds=0)


def asked(tmp_path, code, task, **target):
    (tmp_path / "train.py").write_text(BEGINNING + textwrap.dedent(code))
    named = {"model": "train.py:model", "data": "train.py:data"} | target
    return ask(tmp_path / "logs", task, folder=tmp_path, **named)[0]


def test_normalization_in_a_model_that_is_not_built_is_evaluated(on_each_backend, tmp_path):
    found = asked(
        tmp_path,
        """
        def model():
            layers = keras.layers
            parts = [layers.Dense(8), layers.BatchNormalization(), layers.Dense(1)]
            found = keras.Sequential(parts)
            found.compile("sgd", "mse")
            return found
        """,
        SHORT_TRIAL,
    )
    assert isinstance(found, Trained), found


def test_a_model_may_train_on_other_batches_than_it_is_evaluated_on(tmp_path):
    code = """
        class Semisupervised(keras.Sequential):
            def train_step(self, batch):
                unlabeled, labeled = batch
                return super().train_step(labeled)

        def model():
            found = Semisupervised([keras.Input((4,)), keras.layers.Dense(1)])
            found.compile("sgd", "mse")
            return found

        def data(batch_size):
            import tensorflow as tf
            labeled = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(batch_size)
            return tf.data.Dataset.zip((labeled.map(lambda x, y: x), labeled)), labeled
        """
    found = asked(tmp_path, code, Inspect(batch_size=16))
    assert isinstance(found, Inspected), found
    assert found.metrics == ("val_loss",)
    assert any("cannot be evaluated on training samples" in note for note in found.notes)
    trained = asked(tmp_path, code, SHORT_TRIAL)
    assert isinstance(trained, Trained), trained


def test_normalization_in_a_model_that_cannot_be_called_is_evaluated_as_it_is(tmp_path):
    found = asked(
        tmp_path,
        """
        class Steps(keras.Model):
            def __init__(self):
                super().__init__()
                layers = [keras.layers.BatchNormalization(), keras.layers.Dense(1)]
                self.inner = keras.Sequential([keras.Input((4,)), *layers])

            def train_step(self, batch):
                import tensorflow as tf
                x, y = batch
                with tf.GradientTape() as tape:
                    loss = keras.ops.mean((self.inner(x, training=True) - y) ** 2)
                weights = self.inner.trainable_variables
                self.optimizer.apply(tape.gradient(loss, weights), weights)
                return {"error": loss}

            def test_step(self, batch):
                x, y = batch
                return {"error": keras.ops.mean((self.inner(x, training=False) - y) ** 2)}

        def model():
            found = Steps()
            found.compile("sgd")
            return found
        """,
        SHORT_TRIAL,
    )
    assert isinstance(found, Trained), found
    first, *_, last = (each.metrics["val_error"] for each in found.evaluations)
    assert last < first


NORMALISED = """
    def model():
        parts = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        found = keras.Sequential([keras.Input((4,)), *parts])
        found.compile(keras.optimizers.SGD(0.02), "mse")
        return found

    def data(batch_size):
        import tensorflow as tf
        parts = [tf.data.Dataset.from_tensor_slices(part) for part in ((x, x[:, :1]),) * 2]
        return tuple(part.batch(batch_size) for part in parts)
    """


def test_normalization_is_evaluated_alike_whatever_the_batches_that_the_user_builds(
    on_each_backend, tmp_path
):
    trials = [changed(SHORT_TRIAL, batch_size=size, sharpness=True) for size in (2, 64)]
    found = [asked(tmp_path, NORMALISED, trial) for trial in trials]
    losses = [each.evaluations[0].metrics["val_loss"] for each in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_normalization_is_evaluated_by_more_samples_than_a_small_batch_has(tmp_path):
    """Those that begin the training data are the same; what it goes on with decides, too."""
    task = changed(SHORT_TRIAL, batch_size=2, steps=1, evaluate_at=(0,), validation_batch_size=4)
    train = "((np.concatenate([x[:4], {} * x[4:]]), x[:, :1]), (x, x[:, :1]))"
    codes = [NORMALISED.replace("((x, x[:, :1]),) * 2", train.format(k)) for k in (1, 3)]
    one, other = (asked(tmp_path, code, task).evaluations[0].metrics for code in codes)
    assert one["val_loss"] != pytest.approx(other["val_loss"], rel=0.01)


def test_a_dataset_is_shuffled_by_the_seed_of_the_trial_and_split_by_that_of_the_run(tmp_path):
    code = """
        import tensorflow as tf
        build = model
        def model():
            keras.utils.set_random_seed(42)
            return build()
        def data():
            rows = tf.data.Dataset.from_tensor_slices((x, x[:, :1]))
            rows = rows.shuffle(64, reshuffle_each_iteration=False)
            return rows.skip(16).shuffle(48), rows.take(16)
        """
    seeds = (1, 2, 1)
    one, other, again = (asked(tmp_path, code, changed(SHORT_TRIAL, seed=each)) for each in seeds)
    assert one.evaluations == again.evaluations
    assert one.evaluations[0] == other.evaluations[0]  # of the same samples, before they train
    assert one.evaluations[-1] != other.evaluations[-1]


OF_ITS_SIZE = """
    import tensorflow as tf
    SIZE = None
    class OfItsSize(keras.Sequential):
        def train_step(self, batch):
            return super().train_step(self.noisy(*batch))

        def test_step(self, batch):
            return super().test_step(self.noisy(*batch))

        def noisy(self, x, y):
            return x + 0 * tf.random.normal((SIZE, 4)), y

    def model():
        found = OfItsSize([keras.Input((4,)), keras.layers.Dense(1)])
        found.compile("sgd", "mse")
        return found

    def data(batch_size):
        global SIZE
        SIZE = batch_size
        rows = tf.data.Dataset.from_tensor_slices((x, x[:, :1]))
        return tuple(rows.batch(batch_size, drop_remainder=True) for _ in range(2))
    """


def test_what_drops_its_remainder_is_validated_in_whole_batches(tmp_path):
    for size in (12, 48):  # of 32 samples: two batches, and what is less than one
        task = changed(SHORT_TRIAL, batch_size=size, validation_samples=32)
        found = asked(tmp_path, OF_ITS_SIZE, task)
        assert isinstance(found, Trained), found


def test_what_steps_read_of_the_size_is_that_of_the_trial(tmp_path):
    task = changed(SHORT_TRIAL, batch_size=8, built_validation_size=16)
    found = asked(tmp_path, OF_ITS_SIZE, task)
    assert isinstance(found, Trained), found


def test_what_steps_read_of_the_size_is_not_that_which_samples_are_counted_by(tmp_path):
    asked_for = tmp_path / "sizes"
    set_it = "        SIZE = batch_size\n"
    tell_it = f"        print(SIZE, file=open({str(asked_for)!r}, 'a'))\n"
    code = OF_ITS_SIZE.replace(", drop_remainder=True", "").replace(set_it, set_it + tell_it)
    code += "import autobatch.worker.data as counting; counting.COUNT_SECONDS = 0"
    found = asked(tmp_path, code, Inspect(batch_size=16))
    assert isinstance(found, Inspected), found
    assert asked_for.read_text().split() == ["16", "1", "16"]


@pytest.mark.parametrize(
    "drawn",
    [
        "random.sample(list(np.random.permutation(64)), 64)",
        "default_rng().permutation(64)",
        "drawing.permutation(64)",
    ],
)
def test_validation_batches_of_another_size_are_of_the_samples_that_were_split_off(tmp_path, drawn):
    code = f"""
        import random
        import tensorflow as tf
        from numpy.random import default_rng
        keras.utils.set_random_seed(42)
        drawing = np.random.default_rng()
        def data(batch_size):
            order = {drawn}
            parts = [x[order[:48]], x[order[48:]]]
            rows = [tf.data.Dataset.from_tensor_slices((part, part[:, :1])) for part in parts]
            return tuple(each.batch(batch_size) for each in rows)
        """
    tasks = [changed(SHORT_TRIAL, built_validation_size=size) for size in (8, 5)]
    own, other = (asked(tmp_path, code, task).evaluations for task in tasks)
    for one, same in zip(own, other, strict=True):
        assert one.metrics == pytest.approx(same.metrics, rel=1e-5)


def test_samples_that_are_cut_to_whole_batches_are_validated_as_at_ones_own_size(tmp_path):
    """Of 64, all; not the 48 that fill two batches of 24."""
    code = """
        def data(batch_size):
            count = 64 // batch_size * batch_size
            return (x, x[:, :1]), (x[:count], x[:count, :1])
        """
    task = changed(SHORT_TRIAL, built_validation_size=16)
    own, other = (asked(tmp_path, code, changed(task, batch_size=size)) for size in (16, 24))
    assert other.evaluations[0].metrics == pytest.approx(own.evaluations[0].metrics, rel=1e-5)


def test_each_pass_over_generators_is_of_the_samples_that_were_split_off_at_first(tmp_path):
    orders = tmp_path / "orders"
    code = f"""
        def data(batch_size):
            order = np.random.permutation(64)
            with open({str(orders)!r}, "a") as orders:
                print(order.tolist(), file=orders)
            parts = [np.split(part, len(part) // batch_size) for part in (order[:16], order[16:])]
            return tuple(((x[rows], x[rows, :1]) for rows in part) for part in parts)
        """
    found = asked(tmp_path, code, SHORT_TRIAL)
    assert isinstance(found, Trained), found
    first, *others = orders.read_text().splitlines()
    assert set(others) == {first}


@pytest.mark.parametrize(
    ("validated", "model", "calls"),
    [
        ("rows.take(32).batch(batch_size)", "", 2),
        ("rows.take(32).batch(16)", "", 1),
        ("rows.take(32).batch(batch_size)", "batch_size=8", 1),
        ("(x[:30], x[:30, :1])", "", 1),  # which are not cut to batches of 8
    ],
)
def test_who_loads_is_called_again_only_for_validation_samples_that_follow(
    tmp_path, validated, model, calls
):
    code = f"""
        import tensorflow as tf
        build = model
        def model({model}):
            return build()
        def data(batch_size):
            with open({str(tmp_path / "calls")!r}, "a") as calls:
                calls.write("called")
            rows = tf.data.Dataset.from_tensor_slices((x, x[:, :1]))
            return rows.batch(batch_size), {validated}
        """
    found = asked(tmp_path, code, changed(SHORT_TRIAL, built_validation_size=4))
    assert isinstance(found, Trained), found
    assert (tmp_path / "calls").read_text() == "called" * calls


SHUFFLED = """
    import tensorflow as tf
    def data(batch_size):
        rows = tf.data.Dataset.from_tensor_slices((x, x[:, :1]))
        return rows.batch(batch_size), rows.shuffle(64).batch(batch_size)
    """
AS_IMAGES = """
    class AsImages(keras.utils.PyDataset):  # its first order is drawn with its first batch
        order = None
        def __init__(self, size):
            super().__init__()
            self.size = size
        def __len__(self):
            return 64 // self.size
        def on_epoch_end(self):
            self.order = np.random.permutation(64)
        def __getitem__(self, index):
            if self.order is None:
                self.on_epoch_end()
            np.random.rand(self.size)  # augments
            rows = x[self.order[index * self.size :][: self.size]]
            return rows, rows[:, :1]
    def data(batch_size):
        return AsImages(batch_size), AsImages(batch_size)
    """


@pytest.mark.parametrize("code", [SHUFFLED, AS_IMAGES])
def test_a_part_of_what_is_shuffled_is_the_same_in_all_evaluations_and_at_all_sizes(tmp_path, code):
    more = {"validation_samples": 16, "built_validation_size": 8}
    still = changed(SHORT_TRIAL, learning_rate=1e-9, **more)
    tasks = [changed(still, batch_size=size) for size in (8, 5)]
    found = [each for task in tasks for each in asked(tmp_path, code, task).evaluations]
    losses = [each.metrics["val_loss"] for each in found]
    assert losses == pytest.approx(6 * losses[:1], rel=1e-4)


def test_a_generator_of_validation_batches_is_read_once_where_they_are_of_another_size(tmp_path):
    code = f"""
        def batches(size, reads=None):
            for start in range(0, 32, size):
                if reads:
                    with open(reads, "a") as file:
                        file.write(f"{{size}} ")
                yield x[start : start + size], x[start : start + size, :1]
        def data(batch_size):
            return batches(batch_size), batches(batch_size, {str(tmp_path / "reads")!r})
        """
    found = asked(tmp_path, code, changed(SHORT_TRIAL, built_validation_size=16))
    assert isinstance(found, Trained), found
    assert (tmp_path / "reads").read_text().split() == ["16", "16"]


def test_who_cannot_load_for_another_batch_size_is_validated_at_the_trials(tmp_path):
    code = """
        import tensorflow as tf
        def data(batch_size):
            assert batch_size == 8, "memory for the data twice"
            rows = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(batch_size)
            return rows, rows
        """
    task = changed(SHORT_TRIAL, batch_size=8, built_validation_size=4)
    found = asked(tmp_path, code, task)
    assert isinstance(found, Trained), found


@pytest.mark.parametrize("given", ["None", "7"])
def test_what_keras_shuffles_itself_differs_with_the_seed_of_the_trial(tmp_path, given):
    """It gives each shuffle a seed: one that it drew, or the user's, by which it also splits."""
    code = f"""
        import tensorflow as tf
        build = model
        def model():
            keras.utils.set_random_seed(42)
            return build()
        def data(batch_size):
            windows = keras.utils.timeseries_dataset_from_array(
                x, x[:, :1], 1, batch_size=batch_size, shuffle=True, seed={given}
            )
            return windows.map(lambda rows, y: (rows[:, 0], y)), (x[:16], x[:16, :1])
        """
    seeds = (1, 2, 1)
    one, other, again = (asked(tmp_path, code, changed(SHORT_TRIAL, seed=each)) for each in seeds)
    assert one.evaluations == again.evaluations
    assert one.evaluations[0] == other.evaluations[0]
    assert one.evaluations[-1] != other.evaluations[-1]


def test_datasets_that_are_shuffled_in_one_trial_differ_in_their_orders(tmp_path):
    code = """
        import tensorflow as tf
        def data(batch_size):
            rows = tf.data.Dataset.from_tensor_slices(x)
            shuffled = [rows.shuffle(64).batch(batch_size) for _ in range(2)]
            pairs = tf.data.Dataset.zip(tuple(shuffled))
            assert any(np.any(one != other) for one, other in pairs), "paired with themselves"
            mixed = pairs.map(lambda one, other: (one + other, one[:, :1]))
            return mixed, mixed
        """
    seeds = (1, 2, 1)
    one, other, again = (asked(tmp_path, code, changed(SHORT_TRIAL, seed=each)) for each in seeds)
    assert isinstance(one, Trained), one
    assert one.evaluations == again.evaluations != other.evaluations


@pytest.mark.parametrize(
    ("hook", "sets"),
    [
        ("on_train_batch_begin", "learning_rate = {}"),
        ("on_epoch_begin", "learning_rate.assign({})"),
    ],
)
def test_a_callback_that_sets_the_rate_of_a_trial_is_refused(on_each_backend, tmp_path, hook, sets):
    code = f"""
        class WarmsUp(keras.callbacks.Callback):
            def {hook}(self, number, logs=None):
                self.model.optimizer.{sets.format("0.001 * (number + 1)")}

        def callbacks():
            return [WarmsUp()]
        """
    annealed = changed(SHORT_TRIAL, schedule="warmup_stable_decay")
    fits, *trials = (
        asked(tmp_path, code, task, callbacks="train.py:callbacks")
        for task in (PROBE, SHORT_TRIAL, annealed)
    )
    assert isinstance(fits, Fits), fits
    for found in trials:
        assert isinstance(found, UserCodeFailed), found
        assert "is set while they train" in found.message
        assert "`callbacks`" in found.hint


def test_what_a_module_draws_as_it_is_imported_is_the_same_in_all_processes(tmp_path):
    code = """
        import random
        share = np.random.rand() * random.random()
        def data():
            return (share * x, x[:, :1]), (share * x, x[:, :1])
        """
    one, same = (asked(tmp_path, code, SHORT_TRIAL).evaluations for _ in range(2))
    assert one == same
    other = asked(tmp_path, code, changed(SHORT_TRIAL, seed=2)).evaluations
    assert other != one


@on_backends("torch")  # there is no such mode on others
@pytest.mark.usefixtures("on_each_backend")
def test_an_evaluation_leaves_the_mode_that_pytorchs_modules_train_in(tmp_path):
    code = """
        class OnlyInTraining(keras.layers.Layer):
            def call(self, given):
                return given if self.training else 0 * given

        def model():
            parts = [OnlyInTraining(), keras.layers.Dense(1)]
            found = keras.Sequential([keras.Input((4,)), *parts])
            found.compile(keras.optimizers.SGD(0.02), "mse")
            return found

        def data():
            return (x, 1 + x[:, :1]), (x, 1 + x[:, :1])
        """
    often, once = (
        asked(tmp_path, code, changed(SHORT_TRIAL, evaluate_at=at)).evaluations[-1]
        for at in ((1, 3, 5, 7), (7,))
    )
    assert often == once


def test_callbacks_that_save_write_over_nothing_and_read_nothing_else(on_each_backend, tmp_path):
    code = """
        from pathlib import Path
        from keras.models import save_model

        class SavesBest(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.save("best.keras")
                self.model.save_weights(filepath="best.weights.h5")
                keras.saving.save_model(self.model, "best-too.keras")
                save_model(self.model, "best.h5")

            def on_train_end(self, logs=None):
                self.model.load_weights(Path("best.weights.h5").absolute())
                self.model.load_weights(filepath="best.h5")
                self.model.load_weights("best-03.weights.h5")

        def callbacks():
            path = "best-{epoch:02d}.weights.h5"
            return [SavesBest(), keras.callbacks.ModelCheckpoint(path, save_weights_only=True)]
        """
    for task, kind in ((PROBE, Fits), (changed(SHORT_TRIAL, steps=20), Trained)):
        found = asked(tmp_path, code, task, callbacks="train.py:callbacks")
        assert isinstance(found, kind), found
    assert not list(tmp_path.rglob("best*"))
    assert not list(Path.cwd().glob("best*"))


CHECKED = """
    class Checks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if not np.isfinite(logs["loss"]):
                raise ValueError("the loss is NaN")

    def callbacks():
        return [Checks()]
    """
UNTIL_IT_BREAKS_DOWN = RangeTest(
    batch_size=8, learning_rate=0.1, lowest_factor=0.1, highest_factor=1e30, steps=60, seed=0
)


def test_a_check_that_raises_where_training_breaks_down_tells_that_it_does(tmp_path):
    found = asked(tmp_path, CHECKED, UNTIL_IT_BREAKS_DOWN, callbacks="train.py:callbacks")
    assert isinstance(found, Ranged), found
    assert found.broke_down
    assert found.losses


def test_where_memory_runs_out_meanwhile_training_has_not_broken_down(tmp_path):
    code = CHECKED.replace('ValueError("the loss is NaN")', "MemoryError")
    found = asked(tmp_path, code, UNTIL_IT_BREAKS_DOWN, callbacks="train.py:callbacks")
    assert isinstance(found, OutOfMemory), found


@pytest.mark.parametrize("task", [PROBE, Benchmark(batch_size=16, seconds=0.3)])
def test_an_error_in_training_is_the_users_also_after_they_clear_the_session(
    on_each_backend, tmp_path, task
):
    code = """
        def model():
            keras.backend.clear_session()
            found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
            found.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
            return found

        def data(batch_size):
            class Batches(keras.utils.PyDataset):
                def __len__(self):
                    return 8
                def __getitem__(self, index):
                    wide = 4 if index == 7 and batch_size == 16 else 3
                    return x[:batch_size], np.ones((batch_size, wide), "float32")
            return Batches(), Batches()
        """
    found = asked(tmp_path, code, task)
    assert isinstance(found, UserCodeFailed), found


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("import argparse; argparse.ArgumentParser().parse_args(['--more'])", "need defaults"),
        ("from . import layers", "as a module of its package"),
        ("def model(hp):\n    return hp", "keras_tuner.HyperParameters()"),
    ],
)
def test_code_that_needs_to_be_started_otherwise_is_told_how(tmp_path, code, hint):
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert hint in found.hint


OF_VARYING_LENGTH = """
import tensorflow as tf

def data():
    spec = tf.TensorSpec((None,), "float32")
    drawn = lambda: ((np.ones(n, "float32"),) * 2 for n in (3, 4, 5))
    return tf.data.Dataset.from_generator(drawn, output_signature=(spec, spec)), None

def padded(batch_size):
    return data()[0].padded_batch(batch_size), None

class Doubling(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.compile("sgd", "mse")
    def call(self, x):
        return self.dense(x[..., None])[..., 0]

def model():
    return Doubling()

def with_input():
    x = keras.Input((None,))
    found = keras.Model(x, Doubling()(x))
    found.compile("sgd", "mse")
    return found
"""


def test_samples_that_are_taken_for_batches_are_told_how_to_be_known(tmp_path):
    """Each with one open dimension, and nothing tells that it is not the batch's."""

    def inspected(**target):
        return asked(tmp_path, OF_VARYING_LENGTH, Inspect(batch_size=2), **target)

    found = inspected()
    assert isinstance(found, UserCodeFailed), found
    assert ".padded_batch(batch_size) there, or begin the model with keras.Input." in found.hint
    for target in ({"model": "train.py:with_input"}, {"data": "train.py:padded"}):
        found = inspected(**target)
        assert isinstance(found, Inspected), found
        assert found.train_samples == 3


def test_a_batch_size_among_the_arguments_is_refused_where_each_that_is_tried_is_given(tmp_path):
    code = """
        build = model
        def model(batch_size=8):
            return build()
        """
    found = asked(tmp_path, code, Inspect(batch_size=8), args={"batch_size": 64})
    assert isinstance(found, TargetMissing), found
    assert "args: batch_size" in found.message
    assert "baseline.batch_size" in found.hint


def test_a_model_that_is_named_in_place_of_a_function_is_told_what_to_write(tmp_path):
    found = asked(tmp_path, "network = model()", Inspect(batch_size=8), model="train.py:network")
    assert isinstance(found, TargetMissing), found
    assert found.message == "model: train.py:network is a model, and each process makes its own."
    assert "train.py:build_model" in found.hint


def test_a_module_that_is_found_from_where_the_command_is_typed_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "project" / "beside").mkdir(parents=True)
    (tmp_path / "project" / "beside" / "more.py").touch()
    monkeypatch.chdir(tmp_path / "project")
    found = asked(tmp_path, "from beside.more import layers", Inspect(batch_size=8))
    assert "name your file as a module from here, too" in found.hint
    found = asked(tmp_path, "from elsewhere.more import layers", Inspect(batch_size=8))
    assert found.hint is None


def test_a_file_that_lies_beside_the_code_and_not_where_the_command_is_typed(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    missing = asked(tmp_path, "open('table.csv')", Inspect(batch_size=8))
    assert missing.hint is None
    (tmp_path / "table.csv").write_text("1,2\n")
    found = asked(tmp_path, "open('table.csv')", Inspect(batch_size=8))
    assert "table.csv" in found.message
    assert f"where the command is typed, in {tmp_path / 'elsewhere'}, and " in found.hint
    assert "beside train.py: write Path(__file__).parent / 'table.csv'" in found.hint


def test_a_schedule_that_is_built_for_the_batch_size_is_seen(tmp_path):
    code = """
        build = model
        def model(batch_size=8):
            found = build()
            decay = keras.optimizers.schedules.CosineDecay(0.1, 640 // batch_size + 40)
            found.compile(keras.optimizers.SGD(decay), "mse")
            return found
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert (found.schedule_follows_batch, found.learning_rate_exponent) == (True, 0)
    assert found.schedule_follows_partly
    assert any("Your CosineDecay goes with" in note for note in found.notes)
    code = code.replace("CosineDecay(0.1", "CosineDecay(0.1 * batch_size / 8")
    scaled = tmp_path / "scaled"
    scaled.mkdir()
    found = asked(scaled, code, Inspect(batch_size=8))
    assert (found.schedule_follows_batch, found.learning_rate_exponent) == (True, 1)


def test_a_rate_that_is_built_for_the_batch_size_is_seen(tmp_path):
    code = """
        build = model
        def model(batch_size):
            found = build()
            found.compile(keras.optimizers.Adam(0.001 * batch_size / 8), "mse")
            return found
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert (found.learning_rate, found.learning_rate_exponent) == (pytest.approx(0.001), 1)


@pytest.mark.parametrize(
    ("steps", "own", "follows"),
    [
        ("16 // batch_size", 2, True),
        ("2", 2, False),
        ("8 // batch_size if batch_size < 8 else None", 1, True),
        ("None", 1, False),
    ],
)
def test_gradients_that_are_accumulated_to_as_many_samples_at_every_size_are_seen(
    tmp_path, steps, own, follows
):
    """Keras refuses a number of 1, which it would be at twice the size."""
    code = f"""
        build = model
        def model(batch_size=8):
            found = build()
            found.compile(keras.optimizers.SGD(gradient_accumulation_steps={steps}), "mse")
            return found
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert (found.accumulation_steps, found.accumulation_follows_batch) == (own, follows)


BUILT_FROM_THE_DATA = """
    import tensorflow as tf
    build = model
    def data(batch_size):
        global train
        train = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(batch_size)
        return train, train
    def model():
        found = build()
        decay = keras.optimizers.schedules.CosineDecay(0.1, 10 * len(train))
        found.compile(keras.optimizers.SGD(decay), "mse")
        return found
    """


@pytest.mark.parametrize(
    ("change", "follows"),
    [
        (("", ""), True),
        (("10 * len(train)", "640"), False),
        (("global train", "assert batch_size <= 8; global train"), True),
        (("global train", "assert batch_size == 8; global train"), False),
    ],
)
def test_a_schedule_that_is_built_from_what_the_loader_sets_is_seen(tmp_path, change, follows):
    found = asked(tmp_path, BUILT_FROM_THE_DATA.replace(*change), Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    assert (found.schedule_follows_batch, found.schedule_follows_partly) == (follows, False)
    assert not any("Your CosineDecay goes with" in note for note in found.notes)


def test_gradients_are_of_a_model_that_is_built_for_the_batch_size(tmp_path):
    code = BUILT_FROM_THE_DATA.replace("build()", "build() if len(train) == 4 else None")
    found = asked(tmp_path, code, GRADIENTS)
    assert isinstance(found, Differentiated), found


def test_gradients_take_no_second_copy_of_arrays_and_no_second_call_of_the_loader(tmp_path):
    """Which have 32 MiB."""
    code = f"""
        def data():
            with open({str(tmp_path / "calls")!r}, "a") as calls:
                calls.write("called")
            x = np.ones((4096, 2048), "float32")
            return (x, x[:, :1]), (x[:16], x[:16, :1])
        def model():
            found = keras.Sequential([keras.Input((2048,)), keras.layers.Dense(1)])
            found.compile("sgd", "mse")
            return found
        """
    found = asked(tmp_path, code, changed(GRADIENTS, limit_bytes=48 << 20))
    assert isinstance(found, Differentiated), found
    assert (found.moments[0].micro_batches, found.reason) == ((1,) * 8, "")
    assert (tmp_path / "calls").read_text() == "called"


def test_data_that_is_cached_in_memory_is_timed_as_it_is_drawn_from_there(tmp_path):
    """All samples are drawn (d) before the training begins (t) that is timed, and none since."""
    told = tmp_path / "told"
    code = f"""
        import tensorflow as tf
        def tell(word):
            with open({str(told)!r}, "a") as file:
                file.write(word)
        def draw(row):
            tell("d")
            return row
        class Telling(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                tell("t")
        def callbacks():
            return [Telling()]
        def data():
            drawn = tf.data.Dataset.from_tensor_slices(np.tile(x, (16, 1)))
            drawn = drawn.map(lambda row: tf.numpy_function(draw, [row], row.dtype))
            shaped = drawn.map(lambda row: tf.ensure_shape(row, (4,)))
            return shaped.map(lambda row: (row, row[:1])).cache(), None
        """
    task = Benchmark(batch_size=16, seconds=0.5)
    found = asked(tmp_path, code, task, callbacks="train.py:callbacks")
    assert isinstance(found, Measured), found
    assert sum(window.samples for window in found.windows) > 2 * 1024
    assert re.fullmatch("d{1024,}t+", told.read_text())


def test_what_is_set_or_slow_or_spread_in_vain_is_told(tmp_path):
    code = """
        import os, time, tensorflow as tf
        import autobatch.worker.tasks.inspect as inspecting
        inspecting.SLOW_IMPORT_SECONDS = 0.3
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
        time.sleep(0.4)
        plain = model
        def model():
            with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
                return plain()
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    told = " ".join(found.notes)
    assert "TF_ENABLE_ONEDNN_OPTS=0 autobatch" in told
    assert "Importing train.py takes " in told
    assert "under a MirroredStrategy of your own" in told
    assert "device.replicas in the recipe measures several (leave your own scope out then)" in told
    assert not asked(tmp_path, "", Inspect(batch_size=8)).notes


def test_a_strategy_of_ones_own_within_that_of_replicas_is_told_to_be_left_out(tmp_path):
    code = """
        import tensorflow as tf
        plain = model
        def model():
            with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
                return plain()
        """
    found = asked(tmp_path, code, Inspect(batch_size=8), replicas=2)
    assert isinstance(found, UserCodeFailed), found
    assert "leave your own scope out" in found.hint


def test_a_loader_of_keras_that_is_named_is_called(tmp_path):
    code = """
        def load_data():
            return data()
        load_data.__module__ = "keras.src.datasets.mnist"
        """
    found = asked(tmp_path, code, Inspect(batch_size=8), data="train.py:load_data")
    assert (found.train_samples, found.notes) == (64, ())


def test_what_is_drawn_opens_no_window_that_waits_to_be_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    code = """
        import os
        if os.environ["MPLBACKEND"] != "Agg":  # which matplotlib.pyplot heeds when it is imported
            raise RuntimeError("a window")
        """
    assert isinstance(asked(tmp_path, code, Inspect(batch_size=8)), Inspected)


def test_flags_that_are_not_parsed_have_their_defaults(tmp_path):
    pytest.importorskip("absl")
    code = """
        from absl import flags
        flags.DEFINE_integer("width_of_mine", 3, "")
        build = model
        def model():
            assert flags.FLAGS.width_of_mine == 3
            return build()
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found


def test_a_model_that_only_fit_prepares_samples_for_is_evaluated_as_it_is(tmp_path):
    code = (
        NORMALISED
        + """
    build = model
    def model():
        found = build()
        found.preprocess_samples = lambda x, y=None, sample_weight=None: (x, y)
        return found
    """
    )
    told = asked(tmp_path, code, SHORT_TRIAL)
    assert isinstance(told, Trained), told
    plain = asked(tmp_path, NORMALISED, SHORT_TRIAL)
    assert told.evaluations[0].metrics != plain.evaluations[0].metrics
    # Its averages forget as fast in samples as at the user's size.
    larger = changed(SHORT_TRIAL, batch_ratio=4.0)
    first, *_, last = (e.metrics["val_loss"] for e in asked(tmp_path, code, larger).evaluations)
    assert first == pytest.approx(told.evaluations[0].metrics["val_loss"], rel=1e-4)
    assert last != pytest.approx(told.evaluations[-1].metrics["val_loss"], rel=1e-4)
    _, *_, last = (e.metrics["val_loss"] for e in asked(tmp_path, NORMALISED, larger).evaluations)
    assert last == pytest.approx(plain.evaluations[-1].metrics["val_loss"], rel=1e-4)


def test_texts_that_only_fit_prepares_are_trained_on(on_each_backend, tmp_path):
    """As by KerasHub's tasks."""
    code = """
        import tensorflow as tf
        class Task(keras.Sequential):
            def prepared(self, text, y):
                return tf.cast(tf.strings.length(text), "float32")[:, None] / 64, y
            def fit(self, x, **more):
                return super().fit(x.map(self.prepared), **more)
            def evaluate(self, x, **more):
                return super().evaluate(x.map(self.prepared), **more)
        def data():
            texts = ["word" * length for length in range(64)]
            rows = tf.data.Dataset.from_tensor_slices((texts, {y}))
            return rows, rows.take(16)
        def model():
            found = Task([keras.layers.Dense(1)])
            found.compile("sgd", "mse")
            return found
        """
    found = asked(tmp_path, code.replace("{y}", "np.log(x[:, :1])"), Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    assert "y has NaN in" in found.nan
    (tmp_path / "finite").mkdir()
    trained = asked(tmp_path / "finite", code.replace("{y}", "x[:, :1]"), SHORT_TRIAL)
    assert isinstance(trained, Trained), trained


@pytest.mark.parametrize(("assigned", "metrics"), [(1, ()), (2, ("val_loss",))])
def test_steps_that_are_assigned_to_a_model_are_its_own(tmp_path, assigned, metrics):
    """As by `self.train_step = self.train_step_tf`, in code for several backends."""
    code = f"""
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
                for name in ["train_step", "test_step"][:{assigned}]:
                    setattr(self, name, self.step)
            def step(self, batch):
                return {{"loss": keras.ops.mean((self.inner(batch[0]) - batch[1]) ** 2)}}
        def model():
            found = Own()
            found.compile("sgd")
            return found
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    assert found.metrics == metrics
    told = any("a train_step of its own and no test_step" in note for note in found.notes)
    assert told == (not metrics)


def test_a_model_that_its_own_steps_call_otherwise_is_evaluated_as_it_is(tmp_path):
    """Of triplets, as Keras' example of a siamese network has them, one alone would be `x`."""
    code = """
        class Siamese(keras.Model):
            def __init__(self):
                super().__init__()
                layers = [keras.layers.Dense(3), keras.layers.BatchNormalization()]
                self.embedding = keras.Sequential([keras.Input((4,)), *layers])
            def call(self, triplet):
                anchor, positive, negative = map(self.embedding, triplet)
                near, far = anchor - positive, anchor - negative
                return keras.ops.mean(near**2) - keras.ops.mean(far**2)
            def train_step(self, triplet):
                import tensorflow as tf
                with tf.GradientTape() as tape:
                    loss = keras.ops.maximum(self(triplet, training=True) + 1, 0)
                weights = self.embedding.trainable_weights
                self.optimizer.apply(tape.gradient(loss, weights), weights)
                return {"loss": loss}
            def test_step(self, triplet):
                return {"loss": keras.ops.maximum(self(triplet, training=False) + 1, 0)}
        def model():
            found = Siamese()
            found.compile("sgd")
            return found
        def data():
            return (x, x + 1, x - 2), (x[:16], x[:16] + 1, x[:16] - 2)
        """
    found = asked(tmp_path, code, SHORT_TRIAL)
    assert isinstance(found, Trained), found


def test_frozen_normalization_is_none_that_trains():
    frozen = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(momentum=0.999)])
    frozen.trainable = False
    own = keras.layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input((2,)), frozen, own])
    assert batch_norm_layers(model) == [own]


def test_a_pass_for_statistics_leaves_seeds_and_frozen_weights_alone():
    from autobatch.worker.batch_norm import reestimated

    layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.layers[0].trainable = False
    before = [each.numpy() for each in model.variables]
    with reestimated(model, [np.ones((4, 2), "float32")]):
        pass
    for variable, value in zip(model.variables, before, strict=True):
        assert np.array_equal(variable.numpy(), value), variable.path


@pytest.mark.parametrize("task", [PROBE, Benchmark(batch_size=16, seconds=0.3)])
def test_a_rate_by_epoch_may_be_written_for_fewer_epochs(tmp_path, task):
    code = """
        def callbacks():
            return [keras.callbacks.LearningRateScheduler(lambda epoch: [0.1, 0.01][epoch])]
        """
    found = asked(tmp_path, code, task, callbacks="train.py:callbacks")
    assert isinstance(found, (Fits, Measured)), found


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        ("lambda epoch: [0.1, 0.2, 0.01][epoch]", 0.2),
        ("lambda epoch: 0.03 * keras.ops.ones(())", 0.03),
        ("lambda epoch, rate: rate if epoch < 3 else 0.005", 0.01),
    ],
)
def test_the_rate_that_a_callback_sets_is_what_they_train_with(tmp_path, schedule, rate):
    code = f"""
        class Stepwise(keras.callbacks.LearningRateScheduler):
            pass

        def callbacks():
            return [Stepwise({schedule}), keras.callbacks.ReduceLROnPlateau()]
        """
    found = asked(tmp_path, code, Inspect(batch_size=8), callbacks="train.py:callbacks")
    assert (found.rate_scheduler, found.learning_rate) == ("Stepwise", pytest.approx(rate))
    assert found.rate_setters == ("Stepwise", "ReduceLROnPlateau")
    assert any("set the learning rate: Stepwise, ReduceLR" in note for note in found.notes)


def test_a_callback_that_scales_the_rate_with_the_batch_size_itself_is_seen(tmp_path):
    code = """
        def callbacks(batch_size):
            rate = 0.01 * batch_size / 8
            return [keras.callbacks.LearningRateScheduler(lambda epoch: rate * 0.9**epoch)]
        """
    found = asked(tmp_path, code, Inspect(batch_size=8), callbacks="train.py:callbacks")
    assert (found.learning_rate, found.learning_rate_exponent) == (pytest.approx(0.01), 1)


@pytest.mark.parametrize(
    "schedule",
    [
        "lambda epoch, rate: max(0.5 * rate, 1e-5)",
        "lambda epoch, rate: rate * (1 - epoch / 20)",
        "lambda epoch: None",
    ],
)
def test_a_callback_that_goes_on_from_the_rate_that_is_set_leaves_it(tmp_path, schedule):
    """So does one that cannot be asked without a training."""
    code = f"""
        def callbacks():
            return [keras.callbacks.LearningRateScheduler({schedule})]
        """
    found = asked(tmp_path, code, Inspect(batch_size=8), callbacks="train.py:callbacks")
    assert (found.rate_scheduler, found.learning_rate) == (None, pytest.approx(0.01))


def test_a_schedule_need_have_no_configuration(tmp_path):
    code = """
        class Own(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step):
                return 0.01

        build = model
        def model():
            found = build()
            found.compile(keras.optimizers.Adam(Own()), "mse")
            return found
        """
    found = asked(tmp_path, code, Inspect(batch_size=8))
    assert isinstance(found, Inspected), found
    assert found.optimizer_settings["beta_2"] == 0.999


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("task", [PROBE, changed(SHORT_TRIAL, limit_bytes=256 << 20)])
def test_threads_may_be_set(tmp_path, task, replicas):
    code = """
        import tensorflow as tf
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        """
    found = asked(tmp_path, code, task, replicas=replicas)
    assert isinstance(found, (Fits, Trained)), found


def test_a_script_that_reads_its_arguments_finds_none(tmp_path):
    code = """
        import argparse, sys
        assert sys.argv == ["train.py"], sys.argv
        argparse.ArgumentParser().parse_args()
        """
    assert isinstance(asked(tmp_path, code, Inspect(batch_size=8)), Inspected)


def test_what_callbacks_swap_for_a_validation_is_evaluated(on_each_backend, tmp_path):
    """As SwapEMAWeights does; here, weights of 0, so that the loss is the mean of the targets'."""
    found = asked(
        tmp_path,
        """
        class Swap(keras.callbacks.Callback):
            def on_test_begin(self, logs=None):
                self.kept = self.model.get_weights()
                self.model.set_weights([0 * each for each in self.kept])

            def on_test_end(self, logs=None):
                self.model.set_weights(self.kept)

        def callbacks():
            return [Swap()]
        """,
        SHORT_TRIAL,
        callbacks="train.py:callbacks",
    )
    trained = found.evaluations[1:]
    assert len({round(each.metrics["val_loss"], 5) for each in trained}) == 1


def test_averaged_weights_are_what_is_evaluated_where_keras_swaps_them(on_each_backend, tmp_path):
    code = """
        def model():
            found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            found.compile(keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.9), "mse")
            return found

        def callbacks():
            return [keras.callbacks.SwapEMAWeights()]
        """
    raw = asked(tmp_path, code, SHORT_TRIAL)
    averaged = asked(tmp_path, code, SHORT_TRIAL, callbacks="train.py:callbacks")
    assert isinstance(averaged, Trained), averaged
    for one, other in zip(averaged.evaluations[1:], raw.evaluations[1:], strict=True):
        assert one.metrics["val_loss"] > other.metrics["val_loss"]  # averages lag behind


def test_callbacks_see_what_the_last_validation_found(tmp_path):
    """Not the training's own, which stands for it where nothing is validated."""
    code = """
        class Looks(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                assert logs["val_loss"] != logs["loss"], logs

        def callbacks():
            return [Looks()]
        """
    task = changed(SHORT_TRIAL, steps=20, evaluate_at=(0, 4, 20))
    assert isinstance(asked(tmp_path, code, task, callbacks="train.py:callbacks"), Trained)


def test_looking_more_often_changes_no_training(on_each_backend, tmp_path):
    often = changed(SHORT_TRIAL, steps=30, evaluate_at=(0, 3, 7, 12, 20, 30))
    seldom = changed(often, evaluate_at=(30,))
    ends = {
        asked(tmp_path, "", task).evaluations[-1].metrics["val_loss"] for task in (often, seldom)
    }
    assert len(ends) == 1


def test_a_step_that_was_traced_before_heeds_what_is_tried(tmp_path):
    code = """
        def model():
            found = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            rate = keras.optimizers.schedules.CosineDecay(0.01, 10_000)
            found.compile(keras.optimizers.SGD(rate), "mse")
            found.fit(x, x[:, :1], batch_size=8, verbose=0)
            return found
        """
    tasks = (changed(SHORT_TRIAL, learning_rate=rate) for rate in (0.01, 0.1))
    ends = {asked(tmp_path, code, task).evaluations[-1].metrics["val_loss"] for task in tasks}
    assert len(ends) == 2


@pytest.mark.parametrize("shape", [(1,), ()])
def test_batches_of_numbers_are_batches_whether_or_not_keras_adds_a_dimension(shape):
    inputs = [keras.Input(shape, name=name) for name in ("age", "height")]
    columns = [keras.ops.reshape(each, (-1, 1)) for each in inputs]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.ops.concatenate(columns)))
    table = {name: np.ones(20, "float32") for name in ("age", "height")}, np.ones(20)
    dataset = tf.data.Dataset.from_tensor_slices(table)
    assert is_batched(dataset.batch(4), model)
    assert not is_batched(dataset, model)


def test_numbers_of_a_dimension_of_1_are_samples():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((20, 1)), np.ones(20)))
    assert not is_batched(dataset, model)
    assert is_batched(dataset.batch(4), model)


@pytest.mark.parametrize(
    ("model", "sample"),
    [((28, 28), (28, 28, 1)), ((28, 28, 1), (28, 28)), ((5, 1), (5,)), ((None, 1), (5,))],
)
def test_batches_are_told_from_samples_where_keras_adds_or_takes_a_dimension(model, sample):
    inputs = keras.Input(model)
    model = keras.Model(inputs, keras.ops.mean(inputs))
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((20, *sample)), np.ones(20)))
    assert not is_batched(dataset, model)
    assert is_batched(dataset.batch(4).map(lambda x, y: (x, y)).prefetch(1), model)


def test_samples_that_are_taken_out_of_batches_are_samples():
    batches = tf.data.Dataset.from_tensor_slices((np.ones((20, 4)), np.ones(20))).batch(5)
    for mapped in (batches.map(lambda *batch: batch, num_parallel_calls=n) for n in (None, 2)):
        assert is_batched(mapped, None)
        assert not is_batched(
            mapped.flat_map(lambda *b: tf.data.Dataset.from_tensor_slices(b)), None
        )


@pytest.mark.parametrize(
    "joined",
    [
        lambda data: tf.data.Dataset.zip((data, data)),
        lambda data: data.concatenate(data),
        lambda data: data.filter(lambda x, y: True).apply(assert_cardinality(4)),
    ],
)
def test_batches_of_one_shape_are_batches_also_where_several_are_joined(joined):
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((20, 4)), np.ones(20)))
    assert is_batched(joined(dataset.batch(5, drop_remainder=True)), None)
    assert not is_batched(joined(dataset), None)


def test_batches_are_told_by_the_size_that_was_asked_for():
    made = (np.ones((5, 4), "float32"), np.ones(5, "float32"))
    signature = tuple(tf.TensorSpec(each.shape) for each in made)
    dataset = tf.data.Dataset.from_generator(lambda: [made], output_signature=signature)
    assert is_batched(dataset, None, 5)
    assert not is_batched(dataset, None, 4)
    assert not is_batched(dataset.unbatch(), None, 4)


@pytest.mark.parametrize("compiled", ["sgd", "rmsprop"])
def test_an_optimizer_beside_the_one_compiled_with_is_another(compiled):
    """Unless Keras made the latter, since none was named."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(compiled, "mse")
    model.helper = keras.optimizers.Adam()
    expected = {"optimizer", "helper"} if compiled == "sgd" else {"helper"}
    assert optimizers(model).keys() == expected


STEP_FOR = """
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

            def call(self, x):
                return self.inner(x)

            def train_step(self, {}):
                raise AssertionError

        def model():
            found = Own()
            found.compile("sgd", "mse")
            return found
"""


@pytest.mark.parametrize("task", [Inspect(batch_size=16), PROBE])
def test_a_step_that_keras_cannot_call_on_the_backend_is_refused(on_each_backend, tmp_path, task):
    taken, given, other = ("state, data", "data", "jax")
    if on_each_backend == "jax":
        taken, given, other = given, taken, "tensorflow"
    found = asked(tmp_path, STEP_FOR.format(taken), task)
    assert isinstance(found, UserCodeFailed), found
    assert found.message == (
        f"Own.train_step takes ({taken}), and on {on_each_backend} Keras gives it ({given})."
    )
    assert f"--set backend={other}" in found.hint


WITHOUT_ITS_STEP = """
        import tensorflow as tf

        class Own(keras.Sequential):
            def make_train_function(self, force=False):
                ran = []

                def train(batches):
                    x, y = next(batches)
                    ran.append(x)
                    assert len(ran) < 10, "it goes on in vain"
                    with tf.GradientTape() as tape:
                        loss = keras.ops.mean((self(x, training=True) - y) ** 2)
                    weights = self.trainable_weights
                    self.optimizer.apply(tape.gradient(loss, weights), weights)
                    return {"loss": loss}

                self.train_function = train

        def model():
            found = Own([keras.Input((4,)), keras.layers.Dense(1)])
            found.compile("sgd", "mse")
            return found
"""


def test_a_probe_of_a_model_that_trains_without_its_train_step_is_refused(tmp_path):
    found = asked(tmp_path, WITHOUT_ITS_STEP, PROBE)
    assert isinstance(found, UserCodeFailed), found
    assert "trained without its train_step" in found.message
    assert "override train_step" in found.hint


def test_a_probe_with_fewer_full_steps_than_it_needs_proves_nothing():
    data = SimpleNamespace(source="train.py:data")
    ran = StepCount(full=2, steps=9, smallest=7, largest=16)
    with pytest.raises(UserError) as refused:
        probe._check(ran, 16, 3, data)
    assert refused.value.message == (
        "train.py:data: 2 training steps ran on 16 samples, where 3 were needed; "
        "batches had 7 to 16 samples."
    )
    probe._check(replace(ran, full=3), 16, 3, data)


@on_backends("jax")  # which alone calls it
@pytest.mark.usefixtures("on_each_backend")
def test_a_loss_on_jax_as_keras_guide_has_it_trains_and_is_not_evaluated(tmp_path):
    """Keras' own test_step calls it with other arguments."""
    code = """
        import jax

        class Own(keras.Model):
            def compute_loss_and_updates(self, trainable, others, x, y, training=False):
                found, others = self.stateless_call(trainable, others, x, training=training)
                return self.compute_loss(x, y, found), (found, others)

            def train_step(self, state, data):
                trainable, others, slots, metrics = state
                differentiate = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
                (loss, (_, others)), gradients = differentiate(
                    trainable, others, *data[:2], training=True
                )
                trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
                return {"loss": loss}, (trainable, others, slots, metrics)

        def model():
            inputs = keras.Input((4,))
            found = Own(inputs, keras.layers.Dense(1)(inputs))
            found.compile("sgd", "mse")
            return found
    """
    inspected = asked(tmp_path, code, Inspect(batch_size=16))
    assert isinstance(inspected, Inspected), inspected
    assert "cannot be evaluated" in " ".join(inspected.notes)
    probed = asked(tmp_path, code, changed(PROBE, verify=True, seconds=0.0))
    assert (type(probed), probed.validated) == (Fits, False)


@pytest.mark.parametrize("fails", ["", "raise TypeError('no array of JAX')"])
def test_a_module_that_sets_another_backend_is_refused_unless_one_is_named(
    monkeypatch, tmp_path, fails
):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    (tmp_path / "backend_setting.py").write_text(
        f"import os\nos.environ['KERAS_BACKEND'] = 'jax'\n{fails}"
    )
    (tmp_path / "train.py").write_text(f"import backend_setting\n{BEGINNING}")
    recipe = {"target": f"{tmp_path / 'train.py'}:model", "run_directory": tmp_path / "run"}
    with pytest.raises(UserCodeError) as refused, open_session(**recipe) as session:
        tuner.inspect(session)
    assert "Your code sets KERAS_BACKEND=jax, and this run is on tensorflow" in str(refused.value)
    assert "--set backend=jax" in str(refused.value)
    if not fails:
        with open_session(**recipe, overrides=["backend=tensorflow"]) as session:
            assert "tensorflow" in tuner.inspect(session).versions


def test_an_error_may_name_a_file_whose_name_is_not_in_utf_8(tmp_path):
    found = asked(
        tmp_path,
        r"""
        def data():
            raise ValueError("cannot read caf\udce9.png")  # as os.listdir names it
        """,
        Inspect(batch_size=16),
    )
    assert isinstance(found, UserCodeFailed), found
    assert found.message == "ValueError: cannot read caf?.png"
    assert "train.py" in found.traceback
