"""KerasTuner on a recipe: `bench/tuners.py KIND RECIPE SIZES SIZE RATE SECONDS [OVERRIDE ...]`.

It chooses the batch size and the learning rate with the least validation loss after as many epochs
as its user gives it, not after as much time: it knows no such objective. Trials that diverge do not
end it, and the search is stopped when the time is up. Prints [batch size, rate] as JSON.
"""

import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
from typing import Any

from autobatch.opening import question_of, read_target

EPOCHS = 8


def main() -> None:
    kind, recipe_file, sizes, own, rate, seconds, *overrides = sys.argv[1:]
    recipe, folder = read_target(recipe_file, overrides)
    os.environ["KERAS_BACKEND"] = question_of(recipe, folder).backend
    import keras
    import keras_tuner

    assert recipe.data is not None  # `recommend`, which comes first, needs it
    sys.path.insert(0, str(folder))

    def call(reference: str, **arguments: Any) -> Any:
        module, _, function = reference.partition(":")
        return getattr(importlib.import_module(module.removesuffix(".py")), function)(**arguments)

    train, validation = call(recipe.data)
    deadline = time.monotonic() + float(seconds)

    class Model(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            hp.Choice("size", json.loads(sizes), default=int(own))
            model = call(recipe.model, **recipe.args)
            model.optimizer.learning_rate = hp.Float(
                "rate",
                float(rate) / 4,
                float(rate) * 512,
                sampling="log",
                default=float(rate),
            )
            return model

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            if time.monotonic() > deadline:
                raise KeyboardInterrupt  # which ends the search; what it found stays
            return model.fit(*args, batch_size=hp.get("size"), **kwargs)

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if time.monotonic() > deadline:
                raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as scratch:
        common: dict[str, Any] = {"objective": "val_loss", "directory": scratch, "seed": 0}
        common |= {"project_name": "x", "max_consecutive_failed_trials": 1_000_000}
        tuner = (
            keras_tuner.Hyperband(Model(), max_epochs=EPOCHS, hyperband_iterations=1000, **common)
            if kind == "Hyperband"
            else keras_tuner.RandomSearch(Model(), max_trials=100_000, **common)
        )
        with contextlib.suppress(KeyboardInterrupt):
            tuner.search(
                *train, validation_data=validation, epochs=EPOCHS, verbose=0, callbacks=[Clock()]
            )
        best = tuner.get_best_hyperparameters(1)[0]
    print(json.dumps([best.get("size"), best.get("rate")]))


if __name__ == "__main__":
    main()
