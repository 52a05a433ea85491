"""A plain `fit`, as its user would write it: `python bench/fit.py NAME SIZE STEPS`.

Nothing of autobatch is in it; the allocator and its limit are in the environment.
"""

import importlib
import math
import sys

import numpy as np


def main() -> None:
    name, size, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    from probe import MODELS

    folder, model, data, _ = MODELS[name]
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
    epochs = math.ceil(steps / math.ceil(len(train[1]) / size))
    arguments = {"x": train[0], "y": train[1], "batch_size": size, "epochs": epochs, "verbose": 0}
    if name != "gan":  # which has no test_step
        arguments["validation_data"] = validation
    network.fit(**arguments)


if __name__ == "__main__":
    main()
