"""What a script defines, as a target: each test runs scripts in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from autobatch.engine.local import LocalExecutor
from autobatch.protocol import Fits, Inspect, Inspected, Probe, Target

PASSED = """
from autobatch.objects import target_of

KINDS = {"bird", "cat", "dog", "fish"}


class Network:
    def compiled(self):
        return self


def build_model():
    return Network().compiled()


def load_data(kind="cat"):
    return KINDS if kind in {"ant", "bee", "cat", "dog"} else build_model()


print(target_of(build_model, load_data, None))
"""


SHARING = """
from autobatch.objects import target_of

words = None


def build_model():
    return words


def load_data():
    global words
    words = ["of", "the", "data"]


print(target_of(build_model, load_data, None).partition(":")[0])
"""


def printed(folder, script, **variables):
    command = [sys.executable, "-c", script]
    ran = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_each_process_defines_anew_is_the_same_question(tmp_path):
    """Else nothing would be resumed. Sets have an order, and classes a name, of each process."""
    seeds = [f"{seed}" for seed in range(4)]
    targets = {printed(tmp_path, PASSED, PYTHONHASHSEED=seed) for seed in seeds}
    changed = PASSED.replace("return self", "return None")
    assert len(targets) == 1
    assert printed(tmp_path, changed, PYTHONHASHSEED="0") not in targets


def test_what_is_measured_stays_as_it_is_where_others_pass_the_same_with_another_path(tmp_path):
    """A notebook and a script, say: the run of the first would end for a change of its code."""
    path = Path(tmp_path, printed(tmp_path, PASSED).partition(":")[0])
    before = path.read_bytes()
    paths = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    assert printed(tmp_path, PASSED, PYTHONPATH=paths)
    assert path.read_bytes() == before


def test_what_the_loader_sets_the_model_reads_as_where_both_are_defined(tmp_path):
    path = printed(tmp_path, SHARING).strip()
    there = f"import runpy; there = runpy.run_path({path!r})"
    shown = printed(tmp_path, f"{there}; there['load_data'](); print(there['build_model']())")
    assert shown == "['of', 'the', 'data']\n"


def test_a_path_among_those_to_import_from_is_passed_over_as_python_does(tmp_path):
    adding = "import pathlib, sys\nsys.path.append(pathlib.Path('src'))\n"
    path = printed(tmp_path, adding + SHARING).strip()
    printed(tmp_path, f"import runpy; runpy.run_path({path!r})")


SLOW = """
import time
import numpy as np
from autobatch.objects import target_of

width = None


def build_model():
    import keras  # not by the script itself

    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def load_data():
    global width
    time.sleep(1.2)
    width = 3
    return (np.ones((40, 3)), np.ones(40)), (np.ones((8, 3)), np.ones(8))


print(target_of(build_model, load_data, None).partition(":")[0])
"""


def asked(tmp_path, path):
    """What an inspection finds of what a script passed, which is then probed."""
    target = Target(
        folder=str(tmp_path / path.parent),
        model=f"{path.name}:build_model",
        data=f"{path.name}:load_data",
    )
    executor = LocalExecutor(target, tmp_path / "logs")
    inspected = executor.run(Inspect(batch_size=8), deadline_seconds=60)
    assert isinstance(inspected, Inspected), inspected
    fits = executor.run(Probe(batch_size=8, limit_bytes=1 << 30, seconds=0), deadline_seconds=60)
    assert isinstance(fits, Fits), fits
    return inspected


def test_what_a_slow_loader_sets_the_model_reads_in_every_process(tmp_path):
    inspected = asked(tmp_path, Path(printed(tmp_path, SLOW).strip()))
    assert any("since it sets what" in note for note in inspected.notes), inspected.notes


def test_what_a_script_has_beside_its_loader_is_loaded_once(tmp_path):
    once = f"""
def load_once():
    with open({str(tmp_path / "calls")!r}, "a") as file:
        file.write("x")
    return np.ones((40, 3))


def load_data(batch_size, loaded):
    return (loaded, loaded[:, 0]), (loaded[:8], loaded[:8, 0])


print("""
    script = SLOW.replace("width = None", "width = 3").replace("\nprint(", once)
    asked(tmp_path, Path(printed(tmp_path, script).strip()))
    assert (tmp_path / "calls").read_text() == "x"


LOADING = """
import functools
from pathlib import Path
from autobatch.objects import target_of

def build_model():
    return 0

def load_once():
    return 0

def load_data(loaded, size=1):
    return loaded

class Loader:
    def load(self, loaded):
        return loaded

    def __call__(self, loaded):
        return loaded

@functools.wraps(load_data)
def decorated(*given, **named):
    return load_data(*given, **named)

partial = functools.partial
alike = [load_data, decorated, partial(load_data, size=2), Loader().load, Loader()]

def sends(data):
    path = Path(target_of(build_model, data, None).partition(":")[0])
    return b"load_once" in path.with_suffix(".pickle").read_bytes()

print(*map(sends, alike))
print(*map(sends, [partial(load_data, 0), partial(load_data, loaded=0), [1, 2], build_model]))
load_once = [1, 2]
print(*map(sends, alike))
"""


def test_what_is_loaded_once_is_found_beside_whatever_is_called_in_the_end(tmp_path):
    found = [line.split() for line in printed(tmp_path, LOADING).splitlines()]
    assert found == [["True"] * 5, ["False"] * 4, ["False"] * 5]


GLOBALS = """
import keras, numpy as np, tensorflow as tf
from autobatch.objects import target_of

keras.utils.set_random_seed(1)


def lowered(texts):
    return tf.strings.lower(texts)


class Shifted(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0


class Distance(keras.losses.Loss):
    def call(self, truth, predicted):
        return keras.ops.mean(keras.ops.abs(truth - predicted), axis=-1)


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.01

    def get_config(self):
        return {}


def near(truth, predicted):
    return keras.ops.cast(keras.ops.abs(truth - predicted) < 0.1, "float32")


words = keras.layers.TextVectorization(standardize=lowered, output_sequence_length=3)
words.adapt(["The cat", "the dog"])
encoder = keras.Sequential([keras.Input((3,)), Shifted(), keras.layers.Dense(2)])
distance = Distance()
closeness = keras.metrics.MeanMetricWrapper(near, name="closeness")
optimizer = keras.optimizers.SGD(Schedule())


class Predictor(keras.Model):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.last = keras.layers.Dense(1)

    def call(self, inputs):
        return self.last(self.encoder(inputs))


def build_model():
    assert any(isinstance(layer, Shifted) for layer in encoder.layers)
    model = Predictor(encoder)
    model.compile(optimizer, distance, metrics=[closeness])
    return model


def load_data():
    x = np.array(words(np.array(["A cat", "The DOG"] * 20))).astype("float32")
    return (x, x[:, 0]), (x[:8], x[:8, 0])


def target():
    return target_of(build_model, load_data, None)


print(target().partition(":")[0])
"""


CHANGED = """
network = keras.Sequential([keras.Input((1,), dtype="string"), words])
for model in (network, encoder):
    model.compile("sgd", "mse")


def targets():
    return [target(), *(target_of(model, [1, 2], None) for model in (network, encoder))]


first = targets()
encoder.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
print(targets() == first)
words.adapt(["the cow"])
print(*(one != other for one, other in zip(targets(), first)))
"""


def test_globals_of_keras_are_sent_with_code_of_theirs_and_are_one_question_until_they_change(
    tmp_path,
):
    """What Keras saves them as has the second of it in. What metrics counted is no change."""
    path = printed(tmp_path, GLOBALS).strip()
    later, counted, adapted = printed(tmp_path, GLOBALS + CHANGED).splitlines()[-3:]
    assert later == path
    assert (counted, adapted) == ("True", "True True False")
    asked(tmp_path, Path(path))
