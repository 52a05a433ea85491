"""Dependencies point one way, modules stay small, and starting up imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "autobatch"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 270
RECORD = Path(__file__).parent / "engine" / "records" / "recommended.jsonl"
HEAVY = {
    *("tensorflow", "keras", "jax", "torch", "numpy", "scipy", "ray", "plotly", "yaml", "psutil")
}

# Which of our own modules each part may import, besides its own.
BASE = ("errors", "protocol", "units")
MAY_IMPORT = {
    "errors": (),
    "units": (),
    "protocol": (),
    "core": (*BASE,),
    "locator": ("protocol",),
    "recipe_source": (*BASE, "locator"),
    "recipe_keys": ("units",),
    "recipe": (*BASE, "locator", "recipe_keys", "recipe_source"),
    "worker": ("protocol", "units", "core"),
    "engine": (*BASE, "locator"),
    "stages": (*BASE, "locator", "core", "recipe", "engine", "users_file"),
    "tuner": (*BASE, "core", "recipe", "engine", "stages"),
    "users_file": (*BASE, "locator"),
    "frameworks": ("locator", "users_file"),
    "budget": (*BASE, "recipe", "engine", "frameworks"),
    "opening": (
        *BASE,
        "locator",
        "recipe",
        "engine",
        "stages",
        "budget",
        "frameworks",
        "users_file",
    ),
    "recipe_text": (*BASE, "recipe_source"),
    "starter": (
        *BASE,
        "locator",
        "recipe",
        "recipe_text",
        "engine",
        "stages",
        "frameworks",
        "opening",
        "users_file",
    ),
    "doctor": (*BASE, "recipe", "engine", "budget", "frameworks", "opening"),
    "ui": (
        *BASE,
        "locator",
        "core",
        "recipe",
        "engine",
        "stages",
        "tuner",
        "opening",
        "starter",
        "doctor",
        "frameworks",
    ),
    "objects": (*BASE, "locator", "engine"),
    "__main__": ("ui",),
    "__init__": (*BASE, "locator", "stages", "tuner", "opening", "objects", "ui"),
}
LIBRARIES_OF_CORE = {"numpy", "scipy"}
# The entry of another process, and the names of what to import there.
EXCEPTIONS = {("engine/local.py", "worker"), ("engine/template.py", "worker")}


def imports(path: Path) -> set[str]:
    """Dotted names imported anywhere in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parts_imported(path: Path) -> set[str]:
    dotted = [name.split(".") for name in imports(path) if name.startswith("autobatch.")]
    return {name[1] for name in dotted if (PACKAGE / name[1]).exists() or _is_module(name[1])}


def _is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists()


def of_each(modules):
    names = [str(path.relative_to(PACKAGE)) for path in modules]
    return pytest.mark.parametrize("path", modules, ids=names)


@of_each(MODULES)
def test_dependencies_point_one_way(path):
    part = part_of(path)
    allowed = {part, *MAY_IMPORT[part]}
    name = str(path.relative_to(PACKAGE))
    excepted = {target for module, target in EXCEPTIONS if module == name}
    assert parts_imported(path) <= allowed | excepted


@of_each([path for path in MODULES if part_of(path) != "worker"])
def test_only_the_worker_imports_keras_and_its_backends(path):
    heavy = {"keras", "tensorflow", "jax", "torch"}
    assert not {name.split(".")[0] for name in imports(path)} & heavy


def test_core_imports_the_standard_library_numpy_and_scipy_alone():
    for path in (PACKAGE / "core").glob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)} - {"autobatch"}
        assert roots - set(sys.stdlib_module_names) <= LIBRARIES_OF_CORE, path


@of_each(MODULES)
def test_modules_stay_small(path):
    if path.name != "protocol.py":  # every value of every boundary, in one place
        assert len(path.read_text().splitlines()) <= MAX_LINES


def imported_by(*commands, cwd):
    """(What each command imports of what takes long, and all that it prints), each in a fork."""
    code = (
        "import os, sys\n"
        "from autobatch.ui.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    if os.fork() == 0:\n"
        "        sys.argv = ['autobatch', *command.split()]\n"
        "        try:\n            main()\n        except SystemExit:\n            pass\n"
        f"        print(*sorted({HEAVY} & sys.modules.keys()), end='\\0', flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *commands],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    *told, rest = ran.stdout.split("\0")
    assert (len(told), rest) == (len(commands), ""), ran.stdout
    for each in told:
        printed, _, names = each.rpartition("\n")
        yield {*names.split()}, printed


def test_help_imports_nothing_heavy(tmp_path):
    for names, printed in imported_by("--help", "init --help", cwd=tmp_path):
        assert names == set()
        assert "Usage:" in printed


MEASURES_NOTHING = {
    "schema": "batch_sizes",
    "runs": "sooner",
    "report typo": "There is no run typo",
    "report empty": "holds no measurement yet",
    "report --compare made empty": "holds no measurement yet",
    "report made --output recipe.yaml": "exists already",
    "verify empty": "holds no recommendation yet",
    "probe nowhere.yaml": "There is no file nowhere.yaml",
    "benchmark recipe.yaml": "batch_size is not a known key",
    "recommend recipe.yaml": "batch_size is not a known key",
    "init train.py": "Its functions: none",
    "doctor recipe.yaml": "batch_size is not a known key",
}


def test_what_measures_nothing_and_what_is_refused_needs_no_numpy(tmp_path):
    (tmp_path / "recipe.yaml").write_text("model: train.py:build\nbatch_size: {max: 8}\n")
    (tmp_path / "train.py").write_text("")
    made = RECORD.read_text()
    for name, text in (("made", made), ("empty", made.splitlines()[0] + "\n")):
        (tmp_path / "autobatch-runs" / name).mkdir(parents=True)
        (tmp_path / "autobatch-runs" / name / "record.jsonl").write_text(text)
    found = imported_by(*MEASURES_NOTHING, cwd=tmp_path)
    for (command, told), (names, printed) in zip(MEASURES_NOTHING.items(), found, strict=True):
        assert told in printed, command
        assert names <= {"yaml", "psutil"}, command


def test_a_run_begins_without_a_framework_in_its_own_process(tmp_path):
    """Before its template, which is ended here, has imported one either."""
    code = (
        "import os, signal, sys\n"
        "from multiprocessing import forkserver\n"
        "from pathlib import Path\n"
        "import autobatch.opening, autobatch.tuner\n"
        "from autobatch.engine.local import LocalExecutor\n"
        "from autobatch.protocol import Target\n"
        "LocalExecutor(Target(folder='.', model='train.py:model'), Path('logs'))\n"
        "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
