"""Our answer beside those of the finders for PyTorch, on the same model under the same limit.

Keras models on Keras' PyTorch backend; the limit is RLIMIT_DATA above what the process holds once
PyTorch and Keras are imported. Lightning's BatchSizeFinder (both modes) and Accelerate's decorator
run as their documentation says, `autobatch probe` as its users call it, each in a process of its
own, whose two answers are the largest that fits and the largest that keeps the headroom. The truth:
bisecting all sizes in fresh processes, each of which trains two epochs and validates. Then each
answer meets a plain `fit` of 200 steps with validation. Beside each of the other finders stands
`autobatch probe` again, with a time_limit of a little less than theirs.

It needs an environment of its own, without TensorFlow:

    pip install -e '.[torch]' lightning accelerate
    python bench/peers.py [NAME ...]
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from questions import FIT_STEPS, HERE, MODELS, head

STEPS = 3  # what Lightning's finder runs of each size
NAMES = ("convnet", "resnet50", "mobilenet_v2")
LIMITS = {name: limit for name in NAMES if (limit := MODELS[name][3])}  # MiB
DATA = 4096 - 512  # training samples
Found = tuple[list[int], int]  # answers, and how many sizes were tried
FINDERS = {
    "binsearch": "Lightning, binsearch",
    "power": "Lightning, power",
    "accelerate": "Accelerate",
}
OVERTIME_SECONDS = 5  # of autobatch, after its time_limit: the job that runs, and a verification
Decorator = Callable[[Callable[[int], int]], Callable[[], int]]


class Training:
    """A Keras model on PyTorch and its data, under the limit; counts the sizes tried."""

    def __init__(self, name: str) -> None:
        sys.path.insert(0, str(HERE))
        import torch
        from fit import limit_data

        limit_data(LIMITS[name])
        import models

        self.model = getattr(models, name)()
        self.train, self.validation = models.images()
        self.torch = torch
        self.tried: list[int] = []

    def loader(self, size: int) -> Any:
        data = self.torch.utils.data
        x, y = self.train
        dataset = data.TensorDataset(self.torch.from_numpy(x), self.torch.from_numpy(y))
        return data.DataLoader(dataset, batch_size=size, shuffle=True)

    def loss(self, batch: Any) -> Any:
        x, y = batch
        chances = self.model(x, training=True)
        return self.torch.nn.functional.nll_loss(self.torch.log(chances + 1e-7), y)

    def optimizer(self) -> Any:
        return self.torch.optim.Adam(self.model.parameters(), 1e-3)

    def steps(self, size: int) -> None:
        self.tried.append(size)
        optimizer = self.optimizer()
        for _, batch in zip(range(STEPS), self.loader(size), strict=False):
            optimizer.zero_grad()
            self.loss(batch).backward()
            optimizer.step()

    def fit(self, size: int, steps: int) -> None:
        epochs = max(2, math.ceil(steps / math.ceil(len(self.train[1]) / size)))
        self.model.fit(
            *self.train,
            batch_size=size,
            epochs=epochs,
            validation_data=self.validation,
            validation_batch_size=size,
            verbose=0,
        )


def ours(name: str, time_limit: str) -> Found:
    import autobatch

    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch, "recipe.yaml")
        recipe.write_text(
            f"model: {HERE}/models.py:{name}\ndata: {HERE}/models.py:images\nbackend: torch\n"
            f"device: {{kind: cpu, memory_limit: {LIMITS[name]}MiB}}\n"
            f"time_limit: {time_limit}\n"
        )
        found = autobatch.probe(recipe, run_directory=Path(scratch, "run"))
    return [found.largest_fitting, found.ceiling], len(found.probes)


def lightning(name: str, mode: str) -> Found:
    import lightning as lit
    from lightning.pytorch.tuner import Tuner

    training = Training(name)

    class Module(lit.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.batch_size = training.model, 2

        def train_dataloader(self) -> Any:
            training.tried.append(self.batch_size)
            return training.loader(self.batch_size)

        def training_step(self, batch: Any, index: int) -> Any:
            return training.loss(batch)

        def configure_optimizers(self) -> Any:
            return training.optimizer()

    trainer = lit.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir="/tmp",
    )
    margin = {"margin": 0.0} if mode == "binsearch" else {}
    found = Tuner(trainer).scale_batch_size(Module(), mode=mode, steps_per_trial=STEPS, **margin)
    return [int(found or 0)], len(dict.fromkeys(training.tried))


def accelerate(name: str) -> Found:
    from accelerate.utils import find_executable_batch_size

    training = Training(name)
    until_it_fits: Decorator = find_executable_batch_size(starting_batch_size=DATA)

    @until_it_fits
    def train(batch_size: int) -> int:
        training.steps(batch_size)
        return batch_size

    return [train()], len(training.tried)


def one(name: str, finder: str) -> Found:
    what, *given = finder.split()
    match what:
        case "fit":
            size, steps = map(int, given)
            Training(name).fit(size, steps)
            return [size], 1
        case "autobatch":
            return ours(name, *given)
        case "accelerate":
            return accelerate(name)
        case _:
            return lightning(name, what)


def in_process(name: str, finder: str) -> tuple[Found, float] | str:
    """What was found, and the seconds that it took; or why the process failed."""
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, __file__, "--one", name, finder],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if ended.returncode != 0:
        return (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1][:80]
    return json.loads(ended.stdout.splitlines()[-1]), seconds


def fits(name: str, size: int, steps: int) -> bool:
    return not isinstance(in_process(name, f"fit {size} {steps}"), str)


def truth(name: str) -> int:
    good, bad = 1, DATA + 1
    while bad - good > 1:
        size = (good + bad) // 2
        if fits(name, size, steps=1):
            good = size
        else:
            bad = size
    return good


def row(name: str, by: str, largest: int, found: tuple[Found, float] | str) -> None:
    told = f"{found} | | | | |"
    if not isinstance(found, str):
        (answers, tried), seconds = found
        different = dict.fromkeys(answers)  # each of which is asked once
        fates = {size: "survives" if fits(name, size, FIT_STEPS) else "fails" for size in different}
        columns = (
            [str(size) for size in answers],
            [f"{size / largest:.0%}" for size in answers],
            [fates[size] for size in answers],
        )
        sizes, shares, survives = map(", ".join, columns)
        told = f"{sizes} | {shares} | {tried} | {seconds:.0f} s | {survives} |"
    print(f"| {name} | {LIMITS[name]} MiB | {by} | {told}")
    sys.stdout.flush()


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
        return
    columns = ("model", "limit", "finder", "answer", "of the truth", "sizes tried", "wall time")
    head(*columns, f"fit of {FIT_STEPS} steps")
    for name in sys.argv[1:] or LIMITS:
        largest = truth(name)
        print(f"| {name} | {LIMITS[name]} MiB | truth | {largest} | | | | |")
        row(name, "autobatch", largest, in_process(name, "autobatch 20min"))
        for finder, by in FINDERS.items():
            found = in_process(name, finder)
            row(name, by, largest, found)
            if not isinstance(found, str):
                limit = f"{max(1, round(found[1]) - OVERTIME_SECONDS)}s"
                told = f"autobatch, time_limit {limit}"
                row(name, told, largest, in_process(name, f"autobatch {limit}"))


if __name__ == "__main__":
    main()
