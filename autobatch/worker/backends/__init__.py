"""The boundary to a deep-learning framework: memory, its limit, and the end of a step.

One module per backend implements `Backend`; nothing else in autobatch knows which one runs.
Importing such a module imports no framework: its functions do, in the worker process.
"""

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from autobatch.protocol import Abilities, Job

NEAR_LIMIT = 0.8  # of the limit: an unspecific failure up there is for want of memory
# By CUDA's libraries, of errors that want of memory is one cause of.
UNSPECIFIC_OF_CUDA = (
    *("CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED"),
    *("CUBLAS_STATUS_INTERNAL_ERROR", "CUDNN_STATUS_INTERNAL_ERROR"),
    *("CUBLAS_STATUS_EXECUTION_FAILED", "CUDNN_STATUS_EXECUTION_FAILED"),
    *("CUSOLVER_STATUS_INTERNAL_ERROR", "DNN library initialization failed"),
)


@dataclass(frozen=True)
class StepCount:
    """Batches that the training step was seen to run on."""

    full: int  # of exactly the size asked
    steps: int
    smallest: int  # samples; of no meaning before the first step
    largest: int


class StepLog:
    """Sizes of the batches that a training step ran on, for backends whose steps Python calls.

    A batch has the size asked if at least half of its components have it, else that of the last.
    """

    def __init__(self, batch_size: int, synchronise: Callable[[], None]) -> None:
        self.batch_size, self.synchronise = batch_size, synchronise
        self._sizes: list[int] = []

    def add(self, batch: Any) -> None:
        import keras

        leaves = [leaf for leaf in keras.tree.flatten(batch) if getattr(leaf, "ndim", 0)]
        sizes = [int(leaf.shape[0]) for leaf in leaves] or [0]
        full = 2 * sizes.count(self.batch_size) >= len(sizes)
        self._sizes.append(self.batch_size if full else sizes[-1])

    def count(self) -> StepCount:
        self.synchronise()
        return StepCount(
            full=self._sizes.count(self.batch_size),
            steps=len(self._sizes),
            smallest=min(self._sizes, default=0),
            largest=max(self._sizes, default=0),
        )


class Backend(Protocol):
    """What a backend module provides."""

    PRELOAD: tuple[str, ...]  # modules that the template process imports
    EQUAL_PARTS: bool  # whether every batch, the last one too, must be shared so by the replicas
    COPIES_DATA: bool  # whether on the CPU `fit` copies arrays, whole, into the memory it trains in

    def abilities(self) -> Abilities:
        """On the device that operations run on."""

    def template_environment(self, folder: str, device: str) -> dict[str, str]:
        """Variables for all processes of a run, from before the framework is imported.

        `folder` is theirs to keep things in.
        """

    def environment(self, job: Job, notes: str | None) -> dict[str, str]:
        """Variables that the runtime reads when it initialises.

        `notes` is how the paths begin that it may write at; None: it is to write nothing.
        """

    def configure(self, device: str, limit_bytes: int | None, replicas: int) -> None:
        """Bind the process to its devices and their hard limit; before the first operation.

        Of several GPUs each has the limit; replicas on the CPU share its memory, and the limit.
        """

    def watch_memory(self, give_up: Callable[[str], None]) -> None:
        """Call `give_up(evidence)` from a thread, if ever it is seen that memory has run out while
        the framework waits for some to be freed. After `configure`; returns at once."""

    def scope(self) -> AbstractContextManager[Any]:
        """Where a model is built and compiled, so that it trains on all replicas."""

    def device(self) -> tuple[str, str]:
        """(kind, name) of the device that operations run on, e.g. ("gpu", "NVIDIA H200").

        Of a CPU the name is of no meaning.
        """

    def versions(self) -> dict[str, str]:
        """Versions of the framework and what it was built with."""

    def peak_bytes(self) -> int | None:
        """Most bytes held at once on the device since the start, or since `reset_peak()`.

        None where it cannot be known.
        """

    def held_bytes(self) -> int | None:
        """Bytes held on the device now; None where it cannot be known."""

    def reset_peak(self) -> None:
        """Let `peak_bytes` count from now."""

    def synchronise(self) -> None:
        """Wait until the device has done all that it was given."""

    def resident_batch(self, fit_arguments: dict[str, Any]) -> Any:
        """The first batch as `fit` gives it to the training step, shared among the replicas."""

    def execution(self, model: Any, batch: Any) -> Callable[[], int]:
        """What calls the very function that `fit` calls, on a resident batch, and returns how many
        steps it ran: the model's `steps_per_execution`."""

    def batches(self, fit_arguments: dict[str, Any]) -> Iterator[Any]:
        """The batches of an epoch, as `fit` draws them: whole, on the (first) device."""

    def gradients(self, model: Any) -> Callable[[Any, float], list[Any]]:
        """A function of a whole batch and a scale: the gradient of the loss as it is compiled.

        One dense float32 tensor for each trainable weight, in their order; not clipped. The loss is
        multiplied by the scale, which is divided out again: of float16, small gradients would
        vanish. It updates no weight, but what layers keep (moving averages, seeds).
        """

    def full_precision(self) -> AbstractContextManager[None]:
        """Within, products of float32 numbers have all their digits, also on GPUs that can do with
        fewer (TF32)."""

    def input_epoch(self, fit_arguments: dict[str, Any]) -> Callable[[], Callable[[], bool]]:
        """An epoch, with all made that `fit` makes once before its first: a function that begins
        it, and returns one that draws its next batch as `fit` does; False at its end."""

    def only_predict(self) -> None:
        """Steps that are counted end with Predicted before they run, where that is known."""

    def count_steps(self, model: Any, batch_size: int) -> Callable[[], StepCount]:
        """Make the model's own training step count the batches that it ran on, of all replicas."""

    def out_of_memory_evidence(self, error: BaseException) -> str | None:
        """The line of `error` that says the device's memory ran out; None if it says otherwise."""


def adapter(fit_arguments: dict[str, Any]) -> Any:
    """What `fit` itself makes of its arguments, for every kind of data, class weights included.

    It shuffles what can be shuffled unless told otherwise; Keras' adapters do not.
    """
    from keras.src.trainers.data_adapters import get_data_adapter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a tf.data.Dataset, that it is not shuffled
        return get_data_adapter(**({"shuffle": True} | fit_arguments))


def moved(batches: Iterable[Any]) -> Iterator[Any]:
    """For `batches`: with all arrays on the device."""
    import keras

    for batch in batches:
        yield keras.tree.map_structure(
            lambda leaf: None if leaf is None else keras.ops.convert_to_tensor(leaf), batch
        )


def epochs_of(batches: Callable[[], Iterable[Any]]) -> Callable[[], Callable[[], bool]]:
    """For `input_epoch`, of what makes the batches of one."""
    end = object()

    def begin() -> Callable[[], bool]:
        drawn = iter(batches())
        return lambda: next(drawn, end) is not end

    return begin


def line_with(text: str, signs: Iterable[str]) -> str | None:
    """The first line that has one of `signs`."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if any(sign in line for sign in signs)), None)


def of_held(text: str, held: int, limit: int | None, *, near: bool = True) -> str | None:
    """Evidence for an error `text` that does not say what ran out: that memory was nearly all held.

    Where it can be nothing else, `near` the limit is not asked for; without a limit it is none.
    """
    if limit is None or (near and held < NEAR_LIMIT * limit):
        return None
    return f"{text.splitlines()[0]} (with {held} bytes of {limit} held)"


def hide_gpus_from_tensorflow() -> None:
    """Before it starts. Where it only draws another framework's data, it would take all of a GPU's
    memory for itself."""
    with contextlib.suppress(ImportError):
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def load(name: str) -> Backend:
    return cast(Backend, importlib.import_module(f"autobatch.worker.backends.{name}"))
