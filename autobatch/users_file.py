"""What stands in a Python file of the user's: read, and not run."""

import ast
import re
import symtable
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from importlib.util import decode_source
from pathlib import Path

from autobatch.errors import RecipeError
from autobatch.locator import look_at, neighbour

OF_KERAS = {  # arguments of `fit` that no other library has
    *("epochs", "batch_size", "validation_data", "validation_split", "callbacks"),
    *("steps_per_epoch", "validation_batch_size"),
}
NO_MODELS = ("re", "regex", "torch")  # modules that have a function `compile`
TO_SPLIT = (
    "Have `def build_model():` return the compiled model and `def load_data():` the data, and put "
    'the training under `if __name__ == "__main__":`.'
)
FOR_ALL = (  # what Keras and the backends read as a model is made or runs, set once for all
    *("set_global_policy", "set_dtype_policy", "set_floatx", "set_image_data_format"),
    *("set_jit", "set_float32_matmul_precision"),
)
LEFT_OUT = {  # arguments of `fit` that measurements have from elsewhere, if at all
    "class_weight": "class_weight, and what is measured does not: give the weights as class_weight "
    "in the recipe.",
    "sample_weight": "sample_weight, and what is measured does not: return (x, y, sample_weight) "
    "where you return the data.",
    "callbacks": "a LearningRateScheduler, of which what is measured knows nothing: name the "
    "function that returns your callbacks, --set callbacks=FILE.py:FUNCTION.",
}
BODIES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)  # run when called


def parsed(path: Path) -> tuple[ast.Module, symtable.SymbolTable]:
    """What stands in it, and its names. Raises SyntaxError or ValueError if it is not Python."""
    code = decode_source(path.read_bytes())
    with warnings.catch_warnings():  # of escapes such as "\d"
        warnings.simplefilter("ignore")
        return ast.parse(code, str(path)), symtable.symtable(code, str(path), "exec")


def refuse_unusable(path: Path, named_at: str = "") -> None:
    """Raises RecipeError where it cannot be read, or would train when it is imported."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise RecipeError(f"{named_at}There is no file {path}.", hint=neighbour(path)) from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.", hint=look_at(path)) from None
    if path.suffix == ".py":
        _refuse_training(path)


def defined(path: Path) -> tuple[dict[str, ast.FunctionDef], set[str], bool]:
    """(its own functions, all names that it gives a value to or imports, whether it compiles)"""
    try:
        tree, table = parsed(path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}:{line}" if line else str(path)
        raise RecipeError(f"{where}: this is not Python: {getattr(error, 'msg', error)}.") from None
    names = {each.get_name() for each in table.get_symbols() if each.is_local()}
    return _functions(tree), names, _compiles(tree)


def tree_of(path: Path) -> ast.Module:
    """What stands in it; nothing, where it cannot be read: whoever imports it says so."""
    try:
        return parsed(path)[0]
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def builders(functions: dict[str, ast.FunctionDef]) -> list[str]:
    """Those that compile a model and return it, and do not train it."""
    return [
        name
        for name, node in functions.items()
        if _compiles(node)
        and _returns(node)
        and not any(map(_trains, _calls(node.body, functions, {name})))
    ]


def loaders(functions: dict[str, ast.FunctionDef]) -> list[str]:
    """Those that are named after data, return something, and can be called as `load_data` is."""
    return [
        name
        for name, node in functions.items()
        if re.match(r"(?i)(?!.*(augment|meta_?data|(?<!from_)(dir|directory|path)s?$)).*data", name)
        and _returns(node)
        and _required(node.args) <= {"batch_size", "loaded"}
    ]


def _compiles(code: ast.AST) -> bool:
    """Whether it calls something's `compile`, as who builds a model does."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "compile"
        and ast.unparse(node.func.value) not in NO_MODELS
        for node in ast.walk(code)
    )


def unlike_measurements(
    path: Path, used: Iterable[str], *, alike: Collection[str], batch_size: int
) -> dict[str, str]:
    """Sentences on what the file's own training has, and no measurement does, by what it is.

    That calls `used` of its functions. Of arguments of `fit` that are `alike`, none is told.
    `batch_size` is what they train with where a call has no number.
    """
    tree = tree_of(path)
    functions = _functions(tree)
    run = [tree.body, *(functions[name].body for name in used if name in functions)]
    set_there = {_called(call) for body in run for call in _calls(body, functions, set())}
    told, calls, constants = {}, _all_calls(tree), _constants(tree)
    if "LearningRateScheduler" not in map(_called, calls):
        alike = {*alike, "callbacks"}
    for call in calls:
        name = _called(call)
        where = f"{path.name}, line {call.lineno}"
        if name in FOR_ALL and name not in set_there:
            told[name] = (
                f"{where}, calls {name}, which nothing that is measured does: put it at the top of "
                "the file, or into the function that builds the model."
            )
        if _trains(call):
            told |= {
                what: f"{where}, {how}"
                for what, how in _unlike_fit(_given(call, constants), batch_size)
                if what not in alike
            }
    return told


def _unlike_fit(given: dict[str, object], batch_size: int) -> Iterator[tuple[str, str]]:
    """What a call of `fit` is given that those of measurements are not."""
    for what, how in LEFT_OUT.items():
        if what in given:
            yield what, f"trains with {how}"
    if given.get("shuffle") is False:
        yield (
            "shuffle",
            "trains with shuffle=False; what is measured shuffles arrays, as `fit` does by default "
            "(but for stateful layers).",
        )
    validates, trains = given.get("validation_batch_size"), given.get("batch_size")
    trains = trains if isinstance(trains, int) else batch_size
    if isinstance(validates, int) and validates > trains:
        yield (
            "validation_batch_size",
            f"validates with validation_batch_size={validates}; where memory is measured, "
            "validation has batches of the size that is tried: larger ones may need more.",
        )


def batch_sizes(path: Path) -> set[int | None]:
    """Numbers that calls of `fit` in it have as their batch size; None: of one that has none."""
    tree = tree_of(path)
    constants = _constants(tree)
    calls = [call for call in _all_calls(tree) if _trains(call) and _called(call) == "fit"]
    given = [_given(call, constants).get("batch_size") for call in calls]
    return {size if type(size) is int else None for size in given}


def _all_calls(tree: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What names stand for that are given a value once in all of the file, outside of functions."""
    bound = Counter(
        node.arg if isinstance(node, ast.arg) else ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) or isinstance(getattr(node, "ctx", None), ast.Store)
    )
    return {
        name: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and bound[name := ast.unparse(node.targets[0])] == 1
    }


def _given(call: ast.Call, constants: dict[str, ast.expr]) -> dict[str, object]:
    """Arguments by name, those that are None left out; of an expression its code."""
    found = {each.arg: constants.get(ast.unparse(each.value), each.value) for each in call.keywords}
    return {
        name: value.value if isinstance(value, ast.Constant) else value
        for name, value in found.items()
        if name and ast.unparse(value) != "None"
    }


def _returns(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Return) and node.value is not None for node in _run(function))


def _required(arguments: ast.arguments) -> set[str]:
    """The arguments that have no default."""
    by_place = [*arguments.posonlyargs, *arguments.args]
    by_place = by_place[: len(by_place) - len(arguments.defaults)]
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {each.arg for each in (*by_place, *(arg for arg, default in by_name if default is None))}


def _refuse_training(path: Path) -> None:
    """Raises RecipeError where the file trains a model outside of functions, unguarded.

    Each process that measures would, and write over what the training saves.
    """
    tree = tree_of(path)
    for call in filter(_trains, _calls(tree.body, _functions(tree), set())):
        raise RecipeError(
            f"{path.name} trains when it is imported (line {call.lineno}), and every process that "
            "measures imports it.",
            hint=TO_SPLIT,
        )


def _calls(
    statements: list[ast.stmt], functions: dict[str, ast.FunctionDef], seen: set[str]
) -> Iterator[ast.Call]:
    """Those that run when `statements` do."""
    for statement in statements:
        if isinstance(statement, BODIES):
            continue
        if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            continue
        for node in _run(statement):
            if not isinstance(node, ast.Call):
                continue
            yield node
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in functions and name not in seen:
                yield from _calls(functions[name].body, functions, seen | {name})


def _run(statement: ast.AST) -> Iterator[ast.AST]:
    """All in it, without the bodies of functions."""
    yield statement
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, BODIES):
            yield from _run(child)


def _trains(call: ast.Call) -> bool:
    function = call.func
    if not isinstance(function, ast.Attribute):
        return False
    if function.attr not in ("fit", "search"):  # the other one is KerasTuner's
        return function.attr == "train_on_batch"
    is_kerass = not OF_KERAS.isdisjoint(keyword.arg for keyword in call.keywords)
    of_model = function.attr == "fit" and "model" in ast.unparse(function.value).lower()
    return is_kerass or of_model
