"""What only running it shows to train, as it is imported."""

import sys

import pytest

from autobatch.worker.imported import imported
from autobatch.worker.mistakes import TargetError

TRAINS = """
import keras, numpy as np

class Trainer:
    def __init__(self):
        self.network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        self.network.compile("sgd", "mse")

    def run(self):
        self.network.CALL(np.ones((4, 1)), np.ones((4, 1)))

{}Trainer().run()
"""


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
@pytest.mark.parametrize("source", ["importing_{}.py", "importing_{}", "training_{}.py"])
def test_a_module_that_trains_as_it_is_imported_is_refused_however_it_does(
    monkeypatch, tmp_path, source, call
):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("importing", "training"):
        sys.modules.pop(f"{name}_{call}", None)  # of the test before
    (tmp_path / f"importing_{call}.py").write_text(f"import training_{call}\n")
    (tmp_path / f"training_{call}.py").write_text(TRAINS.replace("CALL", call).format(""))
    told = rf"training_{call}\.py trains when it is imported \(line 12\)"
    with pytest.raises(TargetError, match=told):
        imported(source.format(call), tmp_path)


def test_a_module_that_does_not_is_imported_and_its_functions_train(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "train_later.py").write_text(
        TRAINS.replace("CALL", "fit").format("def main():\n    ")
    )
    imported("train_later.py", tmp_path).main()
