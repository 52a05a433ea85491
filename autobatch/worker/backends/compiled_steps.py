"""JAX's steps compiled ahead of time, and what XLA says that they need."""

from collections.abc import Callable
from typing import Any

from autobatch.protocol import OverBudget, Predicted
from autobatch.worker.mistakes import NotRun


class Memory:
    """The most that compiled steps that ran need, on a device that does not count."""

    def __init__(self) -> None:
        self.limit_bytes: int | None = None
        self.peak_bytes = 0
        self.sharing = 1  # devices that are one memory, the CPU's
        self.only_predicts = False

    def count(self, needed_bytes: int | None) -> None:
        """Before a step runs, with what it needs on each device; raises where it is too much."""
        if needed_bytes is None:
            return
        needed_bytes *= self.sharing
        if self.limit_bytes is not None and needed_bytes > self.limit_bytes:
            raise NotRun(OverBudget(peak_bytes=needed_bytes))
        if self.only_predicts:
            raise NotRun(Predicted(peak_bytes=needed_bytes))
        self.peak_bytes = max(self.peak_bytes, needed_bytes)


memory = Memory()


def analysed(model: Any, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`step`, jitted as Keras does it, compiled for each shape of its batch."""
    import jax
    import keras

    if model.run_eagerly or not model.jit_compile:
        return step
    programs: dict[Any, tuple[Any, int | None]] = {}

    def run(state: Any, data: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(data)
        shapes = structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        if shapes not in programs:
            # Among replicas the state comes back laid out as it came, or is copied at every step.
            layouts = jax.tree_util.tree_map(lambda leaf: leaf.sharding, state)
            shared = keras.distribution.distribution() is not None
            jitted = jax.jit(
                step, donate_argnums=0, out_shardings=(None, layouts) if shared else None
            )
            compiled = jitted.lower(state, data).compile()
            programs[shapes] = compiled, _needed_bytes(compiled)
        compiled, needed_bytes = programs[shapes]
        memory.count(needed_bytes)
        return compiled(state, data)

    return run


def _needed_bytes(compiled: Any) -> int | None:
    """Arguments, temporaries and results at once; what is donated and returned counts once.

    None where XLA cannot tell, as some of its devices cannot.
    """
    found = compiled.memory_analysis()
    if found is None:
        return None
    return int(
        found.argument_size_in_bytes
        + found.temp_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
    )
