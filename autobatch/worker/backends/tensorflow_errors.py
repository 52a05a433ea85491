"""What TensorFlow's errors say of memory."""

from autobatch.protocol import OTHER_SHORTAGES
from autobatch.worker.backends import UNSPECIFIC_OF_CUDA, line_with, of_held
from autobatch.worker.backends.tensorflow_gpus import held_and_limit
from autobatch.worker.frames import error_in_data

# Of CUDA and its libraries, in errors of other types.
OF_CUDA = (
    *("CUDA_ERROR_OUT_OF_MEMORY", "Status: out of memory"),
    *("_ALLOC_FAILED", "the resource allocation failed"),
)
# The last where no way to compute a convolution has room for what it needs beside it.
UNSPECIFIC = (*UNSPECIFIC_OF_CUDA, "No algorithm worked!")


def out_of_memory_evidence(error: BaseException) -> str | None:
    import tensorflow as tf

    text = str(error)
    if any(shortage in text for shortage in OTHER_SHORTAGES):
        return None
    if not isinstance(error, tf.errors.ResourceExhaustedError):
        told = error_in_data(error)  # of a tf.py_function, too, where it has another type
        if told is not None:
            return told[0] if told[0].startswith("ResourceExhaustedError: ") else None
        return _of_cuda(text) if isinstance(error, tf.errors.OpError) else None
    return line_with(text, ("OOM", "memory")) or text.splitlines()[0].strip()


def _of_cuda(text: str) -> str | None:
    """The line that says so; by what is held, where none says what ran out."""
    if said := line_with(text, OF_CUDA):
        return said
    found = line_with(text, UNSPECIFIC)
    return of_held(found, *held_and_limit()) if found else None
