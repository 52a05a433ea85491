"""What the finders for PyTorch answer: Lightning's BatchSizeFinder and Accelerate's decorator.

The same Keras models as in bench/probe.py, on the PyTorch backend of Keras, under the same limit:
RLIMIT_DATA above what the process holds with model and data loaded. Each finder runs as its
documentation says, in a fresh process; the truth is bisected in fresh processes, with the same
three steps. It needs an environment of its own, without TensorFlow:

    pip install torch lightning accelerate keras psutil
    python bench/peers.py [NAME ...]
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
MIB = 1 << 20
STEPS = 3  # what Lightning's finder runs of each size
LIMITS = {"convnet": 600, "resnet50": 1000, "mobilenet_v2": 500}  # in MiB, as in bench/probe.py
DATA = 4096 - 512  # training samples, as there


class Training:
    """A Keras model on PyTorch and its data, under the limit; counts the sizes tried."""

    def __init__(self, name: str) -> None:
        sys.path.insert(0, str(HERE))
        import models
        import torch

        self.model = getattr(models, name)()
        (x, y), _ = models.images()
        self.dataset = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.tried: list[int] = []
        limit_memory(LIMITS[name])

    def loader(self, size: int):
        import torch

        return torch.utils.data.DataLoader(self.dataset, batch_size=size, shuffle=True)

    def loss(self, batch):
        import torch

        x, y = batch
        return torch.nn.functional.nll_loss(torch.log(self.model(x, training=True) + 1e-7), y)

    def steps(self, size: int, steps: int = STEPS) -> None:
        self.tried.append(size)
        for _, batch in zip(range(steps), self.loader(size), strict=False):
            self.optimizer.zero_grad()
            self.loss(batch).backward()
            self.optimizer.step()


def limit_memory(limit_mib: int) -> None:
    import resource

    held = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData")
    )
    resource.setrlimit(resource.RLIMIT_DATA, (held + limit_mib * MIB,) * 2)


def lightning(name: str, mode: str) -> tuple[int, int]:
    import lightning as lit
    from lightning.pytorch.tuner import Tuner

    training = Training(name)

    class Module(lit.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.batch_size = training.model, 2

        def train_dataloader(self):
            training.tried.append(self.batch_size)
            return training.loader(self.batch_size)

        def training_step(self, batch, index):
            return training.loss(batch)

        def configure_optimizers(self):
            return training.optimizer

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
    return int(found or 0), len(dict.fromkeys(training.tried))


def accelerate(name: str) -> tuple[int, int]:
    from accelerate.utils import find_executable_batch_size

    training = Training(name)

    @find_executable_batch_size(starting_batch_size=DATA)
    def train(batch_size: int) -> int:
        training.steps(batch_size)
        return batch_size

    return train(), len(training.tried)


def one(name: str, finder: str) -> tuple[int, int]:
    if finder.startswith("size "):
        Training(name).steps(int(finder[5:]))
        return int(finder[5:]), 1
    return accelerate(name) if finder == "accelerate" else lightning(name, finder)


def in_process(name: str, finder: str) -> tuple[int, int, float] | None:
    """(answer, sizes tried, seconds), or None if the process failed."""
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
        return None
    answer, tried = json.loads(ended.stdout.splitlines()[-1])
    return answer, tried, seconds


def truth(name: str) -> int:
    good, bad = 1, DATA + 1
    while bad - good > 1:
        size = (good + bad) // 2
        if in_process(name, f"size {size}"):
            good = size
        else:
            bad = size
    return good


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
        return
    print("| model | limit | finder | answer | truth | share | sizes tried | wall time |")
    print("| --- " * 8 + "|")
    for name in sys.argv[1:] or LIMITS:
        largest = truth(name)
        for finder in ("binsearch", "power", "accelerate"):
            found = in_process(name, finder)
            told = "failed | | | |"
            if found:
                answer, tried, seconds = found
                told = (
                    f"{answer} | {largest} | {answer / largest:.0%} | {tried} | {seconds:.0f} s |"
                )
            by = finder if finder == "accelerate" else f"Lightning, {finder}"
            print(f"| {name} | {LIMITS[name]} MiB | {by} | {told}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
