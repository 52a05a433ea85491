"""What the user's callbacks see where nothing is validated."""

import keras
import numpy as np

from autobatch.worker.callbacks import ValidationLogs


class Seen(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.at_epoch = dict(logs)

    def on_train_end(self, logs=None):
        self.at_end = dict(logs)


class ReportsItsLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, batch):
        return {"loss": super().train_step(batch)["loss"]}


def seen_logs(model, known):
    model.compile("sgd", "mse", metrics=["mae"])
    seen = Seen()
    x = np.ones((8, 2), "float32")
    model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[ValidationLogs(known), seen])
    return seen


def test_the_trainings_own_logs_stand_for_those_of_the_validation():
    seen = seen_logs(keras.Sequential([keras.layers.Dense(1)]), {})
    for logs in (seen.at_epoch, seen.at_end):
        assert set(logs) == {"loss", "mae", "val_loss", "val_mae"}
        assert (logs["val_loss"], logs["val_mae"]) == (logs["loss"], logs["mae"])


def test_the_last_validations_are_known_and_others_stay_as_they_are():
    seen = seen_logs(keras.Sequential([keras.layers.Dense(1)]), {"val_loss": 7.0})
    assert seen.at_end["val_loss"] == seen.at_epoch["val_loss"] == 7.0
    assert seen.at_end["loss"] != 7.0


def test_what_a_validation_alone_would_report_is_there_too():
    seen = seen_logs(ReportsItsLoss(), {})
    assert set(seen.at_end) == {"loss", "val_loss", "val_mae"}
