"""Random numbers that a training draws, from one seed: PyTorch's too, on any backend.

A DataLoader takes its order of samples, and what its processes draw, from PyTorch's.
"""

import sys
from collections.abc import Callable


def set_seed(seed: int) -> None:
    """Of all that Keras seeds, and of PyTorch where the user's code has imported it."""
    import keras

    keras.utils.set_random_seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


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
