"""Random numbers that a training draws, from one seed: PyTorch's too, on any backend.

A DataLoader takes its order of samples, and what its processes draw, from PyTorch's.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any


def set_seed(seed: int) -> None:
    """Of all that Keras seeds, and of PyTorch where the user's code has imported it."""
    import keras

    keras.utils.set_random_seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def shuffle_by(seed: int) -> None:
    """From now on a tf.data.Dataset that shuffles each epoch anew, without a seed, does so by it.

    It has a seed of its own from when it is made; and the loader is called with that of the run, as
    what it splits at random is to be split alike.
    """
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return
    theirs = tf.data.Dataset.shuffle

    @functools.wraps(theirs)
    def shuffle(
        dataset: Any,
        buffer_size: Any,
        seed: Any = None,
        reshuffle_each_iteration: bool | None = None,
        name: str | None = None,
    ) -> Any:
        if seed is None and reshuffle_each_iteration is not False:
            seed = given
        return theirs(dataset, buffer_size, seed, reshuffle_each_iteration, name)

    given = seed
    tf.data.Dataset.shuffle = shuffle


def random_state() -> Callable[[], None]:
    """What puts PyTorch's random state on the CPU back as it is now.

    The other frameworks have none: a tf.data.Dataset that shuffles has a generator of its own, and
    Keras' seeds are variables.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return lambda: None
    state = torch.get_rng_state()
    return lambda: torch.set_rng_state(state)
