"""What TensorFlow's errors say: of memory, and of Python code that its pipelines call."""

import re

from autobatch.protocol import OTHER_SHORTAGES

# Of CUDA and its libraries, in errors of other types.
OF_CUDA = (
    *("CUDA_ERROR_OUT_OF_MEMORY", "Status: out of memory"),
    *("_ALLOC_FAILED", "the resource allocation failed"),
)


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
        if told is not None:
            return told[0] if told[0].startswith("ResourceExhaustedError: ") else None
        of_cuda = str(error).splitlines() if isinstance(error, tf.errors.OpError) else []
        return next((s.strip() for s in of_cuda if any(sign in s for sign in OF_CUDA)), None)
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "OOM" in line or "memory" in line), lines[0])
