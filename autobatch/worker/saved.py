"""A saved model, as the user gives it."""

import re
from pathlib import Path
from typing import Any

import keras

from autobatch.worker.mistakes import TargetError, UserError


def load_saved(path: Path) -> Any:
    if not path.is_file():
        raise TargetError(f"There is no saved model {path}.")
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except (TypeError, ValueError) as error:
        if "safe_mode" in str(error) or "unsafe" in str(error):
            raise UserError(
                f"{path.name} contains code (a Lambda layer), which is not run from a saved model.",
                hint="Give the Python file that builds the model instead.",
            ) from None
        unknown = re.search("Could not locate (class|function) '(.+?)'", str(error))
        if unknown is None:
            raise
        raise UserError(
            f"{path.name} needs the {unknown[1]} {unknown[2]}, which nothing that was imported "
            "defines for saved models.",
            hint="Define it in the file of load_data, which is imported before, with "
            "@keras.saving.register_keras_serializable(); or give the Python file that builds the "
            "model.",
        ) from None
