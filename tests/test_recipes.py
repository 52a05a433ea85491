"""The recipes that ship: each is read, each works, each learns."""

from pathlib import Path

import pytest
from asking import BACKENDS

from autobatch import frameworks
from autobatch.engine.local import LocalExecutor
from autobatch.errors import RecipeError
from autobatch.opening import question_of, read_target
from autobatch.protocol import (
    Fits,
    Inspect,
    Inspected,
    Probe,
    Target,
    Trained,
    Trial,
    changed,
)

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
# (steps at the baseline's setting, validation loss to be below after them); untrained, the digits
# start at ln 10 = 2.3 and the text at ln 256 = 5.5.
LEARNS = {"digits_mlp": (600, 1.2), "digits_cnn": (150, 0.5), "source_lm": (60, 3.5)}


@pytest.fixture(scope="module", params=RECIPES, ids=lambda path: path.stem)
def worker(request, tmp_path_factory):
    recipe, folder = read_target(str(request.param), ())
    target = Target(folder=str(folder), model=recipe.model, data=recipe.data, args=recipe.args)
    return request.param.stem, recipe, LocalExecutor(target, tmp_path_factory.mktemp("logs"))


@pytest.mark.parametrize(
    ("backend", "on_gpus"), [("jax", ' (for a GPU, "jax[cuda13]")'), ("torch", "")]
)
def test_a_backend_that_is_not_installed_is_refused_with_what_to_install(
    monkeypatch, backend, on_gpus
):
    monkeypatch.setattr(frameworks, "is_importable", "tensorflow".__eq__)
    recipe, folder = read_target(str(RECIPES[0]), [f"backend={backend}"])
    with pytest.raises(RecipeError, match=f"backend is {backend}, which is not installed") as error:
        question_of(recipe, folder)
    assert error.value.hint == (
        f"pip install {backend}{on_gpus}; or use what is installed: --set backend=tensorflow."
    )


@pytest.mark.parametrize(
    ("backend", "name"),
    [("tensorflow", "digits_mlp"), *((backend, "digits_cnn") for backend in BACKENDS)],
    indirect=["backend"],
)
def test_a_recipe_works_on_a_backend_as_it_stands(on_each_backend, name, tmp_path):
    """The language model, whose steps are long, trains below alone."""
    path = RECIPES[0].with_stem(name)
    recipe, folder = read_target(str(path), [f"backend={on_each_backend}"])
    executor = LocalExecutor(question_of(recipe, folder), tmp_path)
    size = recipe.baseline.batch_size
    probe = Probe(batch_size=size, limit_bytes=2 << 30, verify=True, seconds=0)
    fits = executor.run(probe, deadline_seconds=300)
    assert isinstance(fits, Fits), fits
    assert fits.validated
    if on_each_backend == "tensorflow":  # on which it trains below, longer
        return
    trial = Trial(
        batch_size=size,
        learning_rate=1e-3,
        steps=10,
        evaluate_at=(0, 10),
        validation_batch_size=64,
        validation_samples=64,
        seed=1,
    )
    trained = executor.run(trial, deadline_seconds=300)
    assert isinstance(trained, Trained), trained
    before, after = (each.metrics["val_loss"] for each in trained.evaluations)
    assert after < before


def test_a_recipe_is_what_it_says_and_learns_and_the_same_seed_gives_the_same_losses(worker):
    name, recipe, executor = worker
    steps, loss = LEARNS[name]
    inspected = executor.run(Inspect(batch_size=recipe.baseline.batch_size), deadline_seconds=120)
    assert isinstance(inspected, Inspected), inspected
    assert inspected.validation_samples >= 300
    optimizers = {"digits_mlp": "SGD", "digits_cnn": "Adam", "source_lm": "AdamW"}
    assert inspected.optimizer == optimizers[name]
    few = steps // 5
    task = Trial(
        batch_size=recipe.baseline.batch_size,
        learning_rate=inspected.learning_rate,
        steps=steps,
        evaluate_at=(0, few, steps),
        validation_batch_size=256,
        validation_samples=256,
        seed=1,
    )
    whole = executor.run(task, deadline_seconds=300)
    assert isinstance(whole, Trained), whole
    assert whole.evaluations[-1].metrics["val_loss"] < loss
    again = executor.run(changed(task, steps=few), deadline_seconds=300)
    assert again.evaluations == whole.evaluations[:2]
