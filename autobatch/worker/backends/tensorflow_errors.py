"""What TensorFlow's errors say of memory."""

from autobatch.protocol import OTHER_SHORTAGES
from autobatch.worker.frames import error_in_data

# Of CUDA and its libraries, in errors of other types.
OF_CUDA = (
    *("CUDA_ERROR_OUT_OF_MEMORY", "Status: out of memory"),
    *("_ALLOC_FAILED", "the resource allocation failed"),
)


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
