"""What PyTorch's errors say of memory, its own and that of CUDA's libraries."""

from collections.abc import Callable

from autobatch.worker.backends import UNSPECIFIC_OF_CUDA, line_with, of_held

OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "bad_alloc", "CUDA out of memory"),
    *("CUDA error: out of memory", "CUDA driver error: out of memory"),
    "would exceed allowed memory",  # by its allocator that is CUDA's own (cudaMallocAsync)
    *("_STATUS_ALLOC_FAILED", "CUFFT_ALLOC_FAILED"),  # of cuBLAS, cuDNN and others
)
UNSPECIFIC = (
    *("could not create a primitive", "could not execute a primitive"),  # oneDNN
    *UNSPECIFIC_OF_CUDA,
    "CUDNN_STATUS_NOT_SUPPORTED",
    *("unable to find an engine", "nable to find a valid cuDNN algorithm"),
)
OF_MEMORY = "OutOfMemoryError"  # of a device, whatever it says
# Of Python itself, where not even an exception could be allocated.
NO_EXCEPTION = ("without exception set", "without setting an exception")


def evidence(
    error: BaseException, held_and_limit: Callable[[], tuple[int, int | None]]
) -> str | None:
    """The line that says so, if memory ran out; by what is held, where an error does not say."""
    text = str(error)
    said = line_with(text, OUT_OF_MEMORY)
    if _is_of_memory(error) or (said and isinstance(error, RuntimeError)):
        return said or (text.splitlines() or [OF_MEMORY])[0]
    lost = isinstance(error, SystemError) and any(sign in text for sign in NO_EXCEPTION)
    if lost or any(sign in text for sign in UNSPECIFIC):
        return of_held(text, *held_and_limit(), near=not lost)
    return None


def _is_of_memory(error: BaseException) -> bool:
    """By its type, which older versions have in torch.cuda."""
    kind = type(error)
    return kind.__name__ == OF_MEMORY and kind.__module__.partition(".")[0] == "torch"
