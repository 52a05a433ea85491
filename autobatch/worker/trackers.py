"""Records of trainings that are written by themselves, once the user's code has asked for that."""

import sys
from contextlib import suppress


def switch_off_autologging() -> None:
    """Of MLflow, which would write a run for each process that measures.

    What `mlflow.keras.autolog()` has switched on, it alone switches off; and `mlflow.autolog()`
    what a library switches on that is imported later.
    """
    flavours = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("mlflow.") and name.count(".") == 1 and "autolog" in vars(module)
    ]
    for module in (sys.modules["mlflow"], *flavours) if flavours else ():
        with suppress(Exception):  # of a version that cannot: a run too many fails no measurement
            module.autolog(disable=True)
