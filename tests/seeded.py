"""Code that sets the random seed itself, as many examples do. Named `seeded.py:function`."""

import keras
import targets

keras.utils.set_random_seed(42)


def model():
    return targets.model()


def model_that_seeds():
    keras.utils.set_random_seed(42)
    return targets.model()


MADE = targets.model()


def model_made_at_import():
    return MADE


def data():
    return targets.data()
