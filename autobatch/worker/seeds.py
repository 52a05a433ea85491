"""Random numbers that a training draws, from one seed: PyTorch's too, on any backend.

A DataLoader takes its order of samples, and what its processes draw, from PyTorch's.
"""

import contextlib
import functools
import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# image_dataset_from_directory and the like: what they shuffle by it was split before.
KERAS_UTILITIES = "keras.src.utils."

_default_rng_of_numpy = np.random.default_rng
_made: list[Any] = []  # what generators that the user's modules and loader made draw from
_unseeded: list[Any] = []  # those of them that were given no seed
_last = [0]  # seed that was set
_later = itertools.count(1)  # of generators that draw by it, made when the loader has returned
_calls: list[int] = []  # of the loader, that go on
_process = [0]  # that calls it, not one of those that draw samples for it
MOST_MADE = 100  # that are known: a loader may make one for each sample


def set_seed(seed: int) -> None:
    """Of all that Keras seeds, of PyTorch where the user's code has imported it, and of generators
    that it gave no seed."""
    import keras

    keras.utils.set_random_seed(seed)
    _last[:] = [seed]
    for index, each in enumerate(_unseeded):
        each.state = _default_rng_of_numpy([seed, index]).bit_generator.state
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def seed_of_training(seed: int) -> int:
    """Another: the order of a pass that was drawn before, as by `seed`, is not drawn once more."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])


def shuffle_by(seed: int | None) -> Callable[[], None]:
    """From now on a tf.data.Dataset that shuffles each epoch anew, without a seed, does so by it.

    It has a seed of its own from when it is made; and the loader is called with that of the run, as
    what it splits at random is to be split alike. No two shuffle alike: of two that are zipped,
    each sample would be paired with itself. A seed that Keras' utilities give is mixed with it; one
    that the user gives is left, by which samples may be split. With `seed` None nothing changes.

    Of each it is known from now on whether it has the same order with all seeds: `order_is_set`.
    Returns what has seeds begin anew.
    """
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return lambda: None
    theirs = tf.data.Dataset.shuffle

    @functools.wraps(theirs)
    def shuffle(
        dataset: Any,
        buffer_size: Any,
        seed: Any = None,
        reshuffle_each_iteration: bool | None = None,
        name: str | None = None,
    ) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        is_set = seed is not None and not caller.startswith(KERAS_UTILITIES)
        is_set = is_set or reshuffle_each_iteration is False
        seed = seed if is_set else anew(seed)
        made = theirs(dataset, buffer_size, seed, reshuffle_each_iteration, name)
        made.order_is_set = is_set
        return made

    seeds = _default_rng_of_numpy(seed)
    at_first = seeds.bit_generator.state
    anew: Callable[[Any], Any] = (lambda given: given) if seed is None else _mixed(seed, seeds)
    tf.data.Dataset.shuffle = shuffle
    return lambda: setattr(seeds.bit_generator, "state", at_first)


def shuffle_arrays_by(seed: int, epoch: Callable[[], int]) -> None:
    """From now on Keras on TensorFlow shuffles arrays by `seed`, and by which epoch it is then.

    It shuffles their indices in a function of a tf.data.Dataset, which in each epoch begins anew
    with TensorFlow's seed: with one set, all epochs have one order, and without, as in most
    trainings, each has its own. (Passes begun do not tell the epoch: replicas begin more.)
    """
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    theirs, once_set = ArrayDataAdapter.get_tf_dataset, tf.random.shuffle

    def drawn(indices: Any) -> Any:
        return np.random.default_rng([seed, epoch()]).permutation(indices)

    def shuffle(indices: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(drawn, [indices], indices.dtype), indices.shape)

    def get_tf_dataset(adapter: Any) -> Any:
        tf.random.shuffle = shuffle  # what it calls, and nobody else meanwhile
        try:
            return theirs(adapter)
        finally:
            tf.random.shuffle = once_set

    ArrayDataAdapter.get_tf_dataset = get_tf_dataset


def _mixed(seed: int, seeds: np.random.Generator) -> Callable[[int | None], int]:
    """A function that gives another seed each time, or one by the seed that it is given."""

    def mixed(given: int | None) -> int:
        drawn_from = seeds if given is None else _default_rng_of_numpy([seed, given])
        return int(drawn_from.integers(2**31))

    return mixed


@contextlib.contextmanager
def generators_seeded() -> Iterator[None]:
    """Within, generators of NumPy's that are given no seed are seeded by its global state.

    Else each process, and each call of a loader, would split otherwise. What these and others, of a
    seed of their own, draw next is part of `random_state`. Those that this process makes later, as
    in the body of a generator, draw by the seed that was set.
    """
    np.random.default_rng, _process[0] = _default_rng, os.getpid()
    _calls.append(1)
    try:
        yield
    finally:
        _calls.pop()


def _default_rng(seed: Any = None) -> np.random.Generator:
    if not _calls:
        is_later = seed is None and os.getpid() == _process[0]
        return _drawing_later() if is_later else _default_rng_of_numpy(seed)
    made = _default_rng_of_numpy(np.random.randint(2**31 - 1) if seed is None else seed)
    if len(_made) < MOST_MADE:
        _made.append(made.bit_generator)
        if seed is None:
            _unseeded.append(made.bit_generator)
    return made


def _drawing_later() -> np.random.Generator:
    """By the seed that was set last, and unlike all before it.

    `set_seed` has `[seed, 0]`, which is `[seed, 0, 0]`, too.
    """
    return _default_rng_of_numpy([*_last, 0, next(_later)])


@contextlib.contextmanager
def drawing_anew() -> Iterator[None]:
    """Generators that are made within, and given no seed, draw alike in it, and anew afterwards."""
    known, unseeded = len(_made), len(_unseeded)
    yield
    for each in _unseeded[unseeded:]:
        each.state = _drawing_later().bit_generator.state
    del _made[known:], _unseeded[unseeded:]


@contextlib.contextmanager
def random_state_kept(*, unless: bool = False) -> Iterator[None]:
    """Whatever is drawn in it: what is drawn afterwards is as if nothing had been."""
    put_back = random_state()
    yield
    if not unless:
        put_back()


def random_state() -> Callable[[], None]:
    """What puts it back as it is now.

    Python's and NumPy's, from which Keras shuffles arrays on JAX, those of generators that
    `generators_seeded` knows, and PyTorch's, from which a DataLoader takes its order. The other
    frameworks have none: a tf.data.Dataset that shuffles has a generator of its own, and Keras'
    seeds are variables.
    """
    python, numbers, torch = random.getstate(), np.random.get_state(), sys.modules.get("torch")
    made = [(each, each.state) for each in _made]
    on_cpu = torch.get_rng_state() if torch else None
    on_gpus = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else []

    def put_back() -> None:
        random.setstate(python)
        np.random.set_state(numbers)
        for each, state in made:
            each.state = state
        if torch:
            torch.set_rng_state(on_cpu)
            torch.cuda.set_rng_state_all(on_gpus)

    return put_back
