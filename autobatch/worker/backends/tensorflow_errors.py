"""What TensorFlow's errors say: of memory, and of Python code that its pipelines call."""

import re

from autobatch.protocol import OTHER_SHORTAGES


def error_in_data(error: BaseException) -> tuple[str, str] | None:
    """Python code that tf.data called: its exception comes as text, its traceback within."""
    import tensorflow as tf

    if not isinstance(error, tf.errors.OpError):
        return None
    head, mark, rest = str(error).partition("Traceback (most recent call last):\n")
    lines = [line.strip() for line in head.strip().splitlines()]
    if not mark or not lines:
        return None
    message = re.sub(r"^\{\{function_node .*?\}\} ?", "", lines[-1])
    return message.removeprefix("UserError: "), rest


def out_of_memory_evidence(error: BaseException) -> str | None:
    import tensorflow as tf

    if any(shortage in str(error) for shortage in OTHER_SHORTAGES):
        return None
    if not isinstance(error, tf.errors.ResourceExhaustedError):
        told = error_in_data(error)  # of a tf.py_function, too, where it has another type
        return told[0] if told and told[0].startswith("ResourceExhaustedError: ") else None
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "OOM" in line or "memory" in line), lines[0])
