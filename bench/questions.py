"""What the comparisons with plain fits ask, and what these answer, kept in a file if wished."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
FIT_STEPS = 200
START_SECONDS = 600  # until a fit trains, at most: its data, and its compilation
SURVIVES = "survives"
OUT_OF_MEMORY = (
    *("ResourceExhausted", "RESOURCE_EXHAUSTED", "out of memory", "can't allocate memory"),
    *("bad_alloc", "MemoryError", "could not create a primitive", "could not execute a primitive"),
    *("_ALLOC_FAILED", "the resource allocation failed", "Dst tensor is not initialized"),
    *("CUDA_ERROR_OUT_OF_MEMORY", "CUSOLVER_STATUS_INTERNAL_ERROR", "ran out of memory trying"),
    *("DNN library initialization failed", "Autotuning failed"),
)

# Folder, model, data (None: synthetic), limit in MiB on the CPU (None: it is for GPUs).
Model = tuple[Path, str, str | None, int | None]
MODELS: dict[str, Model] = {
    "digits_mlp": (RECIPES, "digits.py:build_mlp", None, 64),
    "digits_cnn": (RECIPES, "digits.py:build_cnn", "digits.py:load_images", 150),
    "source_lm": (RECIPES, "source_lm.py:build_model", "source_lm.py:load_data", 300),
    "resnet50": (HERE, "models.py:resnet50", "models.py:images", 1000),
    "mobilenet_v2": (HERE, "models.py:mobilenet_v2", "models.py:images", 500),
    "two_inputs": (HERE, "models.py:two_inputs", "models.py:question_and_text", 300),
    "gan": (HERE, "models.py:gan", "models.py:small_images", 150),
    "convnet": (HERE, "models.py:convnet", "models.py:images", 600),
}
ON_GPU: dict[str, Model] = {
    "deep_convnet": (HERE, "models.py:deep_convnet", "models.py:patterns", None),
    "transformer": (HERE, "models.py:transformer", "models.py:topics", None),
}


@dataclass(frozen=True)
class Question:
    """A model, and where it is to train."""

    name: str
    exact: bool = False
    backend: str = "tensorflow"
    gpu: bool = False
    limit_mib: int | None = None  # on a GPU None is all that is free

    @property
    def key(self) -> list[str | int | bool | None]:
        """All that it asks, to tell it from others."""
        return [self.name, self.exact, self.backend, self.gpu, self.limit_mib]

    @property
    def limit(self) -> str:
        return "all" if self.limit_mib is None else f"{self.limit_mib} MiB"

    def overrides(self) -> list[str]:
        asked = [f"backend={self.backend}", f"device.kind={'gpu' if self.gpu else 'cpu'}"]
        return asked + ([f"device.memory_limit={self.limit_mib}MiB"] if self.limit_mib else [])

    def environment(self) -> dict[str, str]:
        """Of a process that knows nothing of autobatch."""
        limit = str(self.limit_mib or 0)
        level = "1" if self.backend == "jax" else "3"  # of JAX, what its allocator says is needed
        found = {"KERAS_BACKEND": self.backend, "LIMIT_MIB": limit, "TF_CPP_MIN_LOG_LEVEL": level}
        if not self.gpu:
            found |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
            if self.backend == "tensorflow" and self.limit_mib:
                found |= {"TF_CPU_ALLOCATOR_USE_BFC": "1", "TF_CPU_BFC_MEM_LIMIT_IN_MB": limit}
            return found
        found["ON_GPU"] = "1"
        if self.backend == "jax" and self.limit_mib:
            from autobatch.engine import gpus  # not at the top: fit.py has nothing of autobatch

            share = (self.limit_mib << 20) / gpus.usable()[0].total_bytes
            found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{share:.6f}"
        return found


class Kept:
    """Answers by question, one a line; without a file, for as long as the process lasts.

    A question is a list of what JSON can hold. A line that was cut off is skipped.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.answers: dict[str, Any] = {}
        text = file.read_text() if file is not None and file.exists() else ""
        for line in text.splitlines():
            try:
                question, answer = json.loads(line)
            except ValueError:
                continue
            self.answers[json.dumps(question)] = answer
        if text and not text.endswith("\n"):
            self._write("\n")

    def once(self, question: list[Any], find_out: Callable[[], Answer]) -> Answer:
        key = json.dumps(question)
        if key not in self.answers:
            self.answers[key] = find_out()
            self._write(json.dumps([question, self.answers[key]]) + "\n")
        answer: Answer = self.answers[key]
        return answer

    def _write(self, text: str) -> None:
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(text)


fits = Kept()


def keep_in(folder: Path) -> None:
    """Fits and runs; those that are there already are not run again."""
    global fits
    folder.mkdir(parents=True, exist_ok=True)
    fits = Kept(folder.absolute() / "fits.jsonl")


def plain_fit(question: Question, size: int, at_most_seconds: float = 3600, repeat: int = 0) -> str:
    """What a plain fit of FIT_STEPS steps says, under the same allocator and limit.

    It is run once for each `repeat`.
    """
    asked = ["fit", *question.key, size, at_most_seconds, repeat]
    return fits.once(asked, lambda: _run_fit(question, size, at_most_seconds))


def _run_fit(question: Question, size: int, at_most_seconds: float) -> str:
    command = [sys.executable, str(HERE / "fit.py"), question.name, str(size), str(FIT_STEPS)]
    environment = question.environment() | {"AT_MOST_SECONDS": str(at_most_seconds)}
    try:
        ended = subprocess.run(
            command,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=at_most_seconds + START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    if ended.returncode == 0:
        return SURVIVES
    log = ended.stdout + ended.stderr
    if "no such batch" in log:
        return "no such batch"
    if ended.returncode < 0 or any(sign in log for sign in OUT_OF_MEMORY):
        return "out of memory"
    raise SystemExit(f"{question.name}, batch {size}: {log[-2000:]}")


def head(*columns: str) -> None:
    """Of a table of answers."""
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|")


def recipe_in(folder: Path, name: str) -> Path:
    home, model, data, _ = (MODELS | ON_GPU)[name]
    given = f"data: {home}/{data}\n" if data else ""
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"model: {home}/{model}\n{given}")
    return recipe


@contextlib.contextmanager
def folder_of(part: str, question: Question) -> Iterator[Path]:
    """For a recipe and its run: where fits are kept, that is kept, too."""
    if fits.file is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    folder = fits.file.parent / "-".join(map(str, (part, *question.key)))
    folder.mkdir(exist_ok=True)
    yield folder
