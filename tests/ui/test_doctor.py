"""`autobatch doctor`: findings on made-up facts, the page at 60 columns, the command for real."""

import io
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from autobatch.doctor.facts import Facts, RunDirectory
from autobatch.doctor.gather import gather, look_at
from autobatch.doctor.judges import OLDEST_KERAS, OLDEST_TENSORFLOW, PYTHONS, diagnose
from autobatch.engine.cgroups import ControlGroup
from autobatch.engine.gpus import NO_LIBRARY, Gpu, GpuProcess
from autobatch.engine.kernel_limits import KernelLimit
from autobatch.engine.machine import Memory
from autobatch.frameworks import has_cudnn, users_backend
from autobatch.recipe import make_recipe
from autobatch.ui.doctor_tables import diagnosis_table

GIB = 1 << 30
ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "autobatch", "doctor"]
RECORDS = RunDirectory(path="autobatch-runs", writable=True, free_bytes=50 * GIB)
ROOMY = Memory(total_bytes=32 * GIB, available_bytes=20 * GIB)
SHELL = KernelLimit(
    name="address space (ulimit -v)", limit_bytes=3 * GIB, used_bytes=2 * GIB + GIB // 2
)
NO_GPU = {"gpus": ()}


def gpu(**changes):
    plain = Gpu(
        name="NVIDIA L4", total_bytes=24 * GIB, free_bytes=23 * GIB, driver="580.65", uuid="GPU-aa"
    )
    return replace(plain, **changes)


def facts(**changes):
    """A machine with a GPU, and nothing wrong."""
    plain = {
        "system": "Linux",
        "architecture": "x86_64",
        "python": (3, 12, 1),
        "packages": {"keras-autobatch": "0.1.0", "keras": "3.15.1", "tensorflow": "2.21.0"},
        "backend": "tensorflow",
        "backend_from": "Keras' default",
        "memory": ROOMY,
        "run_directory": RECORDS,
        "gpus": (gpu(),),
    }
    return Facts(**plain | changes)


def packages(**versions):
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return {"packages": {"keras-autobatch": "0.1.0", **named}}


def memory(left, *, of=32 * GIB, limit=None):
    if limit is None:
        return {"memory": Memory(total_bytes=of, available_bytes=left)}
    group = ControlGroup(path="/docker/abc", limit_bytes=limit, used_bytes=limit - left)
    return {"memory": replace(ROOMY, groups=(group,))}


def holders(*processes):
    return tuple(GpuProcess(pid=p, command=c, held_bytes=b) for p, c, b in processes)


BLOCKING = [
    ({"system": "Windows"}, "Windows cannot fork", "WSL2"),
    (
        {
            "system": "Darwin",
            "backend": "torch",
            **NO_GPU,
            **packages(keras="3.15.1", torch="2.9.0"),
        },
        "On macOS the memory that PyTorch holds cannot be measured.",
        "backend=jax",
    ),
    ({"python": (3, 10, 4)}, "Python is 3.10.4; autobatch supports 3.11 to 3.13", "python3.11"),
    ({"python": (3, 14, 0)}, "Python is 3.14.0", "python3.11"),
    (packages(tensorflow="2.21.0"), "Keras is not installed", 'pip install "keras>=3.5"'),
    (packages(keras="2.15.0", tensorflow="2.21.0"), "Keras is 2.15.0", "--upgrade"),
    (packages(keras="3.4.1", tensorflow="2.21.0"), "Keras is 3.4.1", '"keras>=3.5"'),
    (
        packages(keras="3.15.1"),
        "is not installed.",
        'pip install tensorflow (for a GPU, "tensorflow[and-cuda]")',
    ),
    (packages(keras="3.15.1", torch="2.9.0"), "not installed; torch is.", "tensorflow[and-cuda]"),
    (packages(keras="3.15.1", tensorflow="2.15.1"), "TensorFlow is 2.15.1", '"tensorflow>=2.16"'),
    (
        {"refusal": "backend is jax, which is not done.", "backend_from": "KERAS_BACKEND"},
        "backend is jax, which is not done. (KERAS_BACKEND)",
        "",
    ),
    (
        {"refusal": "engine is ray.", "refusal_hint": "--set engine=local"},
        "engine is ray.",
        "=local",
    ),
    ({"device_asked": "gpu", **NO_GPU}, "there is no GPU that can be used", "device.kind=cpu"),
    (
        {"device_asked": "gpu", **packages(keras="3.15.1", tensorflow_cpu="2.21.0")},
        "device.kind is gpu, but tensorflow-cpu 2.21.0 is built for the CPU alone",
        'pip uninstall tensorflow-cpu && pip install "tensorflow[and-cuda]"',
    ),
    (
        {"architecture": "aarch64", "device_asked": "gpu"},
        "tensorflow 2.21.0 is built for the CPU",
        "device.kind=cpu",
    ),
    (
        {"device_asked": "gpu", "unseen": True},
        "device.kind is gpu, but tensorflow 2.21.0 came without CUDA's libraries",
        'pip install "tensorflow[and-cuda]"; or train on the CPU: --set device.kind=cpu',
    ),
    (
        {"gpus": (gpu(free_bytes=GIB // 2),)},
        "GPU 0 has 512.0 MiB free of 24.0 GiB.",
        "CUDA_VISIBLE_DEVICES",
    ),
    (
        {"gpus": (gpu(), gpu(index=1)), "replicas": 4},
        "device.replicas is 4, and 2 GPUs can be used here.",
        "--set device.replicas=2",
    ),
    (
        {"gpus": (gpu(), gpu(index=1, free_bytes=GIB // 2)), "replicas": 2},
        "GPU 1 has 512.0 MiB free of 24.0 GiB.",
        "CUDA_VISIBLE_DEVICES",
    ),
    (
        memory(int(1.1 * GIB)),
        "1.1 GiB of memory left of 32.0 GiB in this machine, of which 1013.8 MiB may be taken; a "
        "training process needs 1.0 GiB.",
        "End what fills it",
    ),
    (memory(GIB // 2, limit=8 * GIB), "of 8.0 GiB in the control group /docker/abc", "--memory"),
    (
        {"memory": replace(ROOMY, kernel_limits=(SHELL,))},
        "512.0 MiB of memory left of 3.0 GiB in the address space (ulimit -v), of which",
        "ulimit",
    ),
    (
        {"run_directory": replace(RECORDS, writable=False)},
        "autobatch-runs cannot be written to",
        "--run-dir",
    ),
    ({"run_directory": replace(RECORDS, free_bytes=1000)}, "1000 B of disk space", "--run-dir"),
]

WARNING = [
    ({"legacy_keras": True}, "TF_USE_LEGACY_KERAS is set", "unset TF_USE_LEGACY_KERAS"),
    (
        packages(keras="3.15.1", tensorflow="2.21.0", tensorflow_cpu="2.21.0"),
        "tensorflow and tensorflow-cpu are both installed",
        "pip uninstall tensorflow tensorflow-cpu",
    ),
    (
        {"is_importable": True, **packages(keras="3.15.1", tensorflow_rocm="2.18.1")},
        "tensorflow is here under none of the names that are known (tensorflow, tf-nightly, ",
        "If measurements fail: pip install tensorflow",
    ),
    (
        {"shared_bytes": 64 << 20, **packages(keras="3.15.1", tensorflow="2.21.0", torch="2.9.0")},
        "/dev/shm has 64.0 MiB, in which the processes of a DataLoader hand over their batches.",
        "docker run --shm-size=2g",
    ),
    ({"gpu_problems": ("GPU 1 cannot be read: lost.",)}, "GPU 1 cannot be read", "nvidia-smi"),
    ({"nvidia_cards": 2, **NO_GPU}, "2 NVIDIA GPUs plugged in, but no driver", "--gpus all"),
    ({"visible_devices": "-1"}, "CUDA_VISIBLE_DEVICES=-1 hides 1 NVIDIA GPU.", "unset"),
    (
        {"gpus": (gpu(), gpu(name="NVIDIA T4", index=1))},
        "The GPUs differ",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
    ),
    (
        packages(keras="3.15.1", tensorflow_cpu="2.21.0"),
        "There is a GPU, but tensorflow-cpu 2.21.0 is built for the CPU alone: the CPU is used.",
        'pip uninstall tensorflow-cpu && pip install "tensorflow[and-cuda]"',
    ),
    (
        {"backend": "torch", **packages(keras="3.15.1", torch="2.13.0+cpu")},
        "There is a GPU, but torch 2.13.0+cpu is built for the CPU alone: the CPU is used.",
        'pip uninstall torch && pip install "torch"',
    ),
    (
        {"backend": "jax", **packages(keras="3.15.1", jax="0.10.2")},
        "There is a GPU, but jax 0.10.2 has no plugin for GPUs: the CPU is used.",
        'pip install "jax[cuda13]"',
    ),
    (
        {"unseen": True},
        "There is a GPU, but tensorflow 2.21.0 came without CUDA's libraries, and does not see it: "
        "the CPU is used.",
        'pip install "tensorflow[and-cuda]"',
    ),
    (
        {
            "backend": "jax",
            "cpu_told": "JAX_PLATFORMS=cpu",
            **packages(keras="3.15.1", jax="0.10.2", jax_cuda13_plugin="0.10.2"),
        },
        "There is a GPU, but the environment has JAX_PLATFORMS=cpu: the CPU is used.",
        "unset JAX_PLATFORMS",
    ),
    (
        {"gpus": (gpu(free_bytes=4 * GIB, processes=holders((7, "python a.py", 20 * GIB))),)},
        "GPU 0 has 4.0 GiB free of 24.0 GiB; held by python a.py (pid 7, 20.0 GiB).",
        "End what holds it",
    ),
    (
        {"gpus": (gpu(free_bytes=4 * GIB, processes=holders((7, None, None))),)},
        "held by a process that cannot be seen from here (pid 7).",
        "",
    ),
    ({"gpus": (gpu(free_bytes=4 * GIB, processes=None),)}, "the driver does not say who", ""),
    ({"wsl": True}, "WSL2: the driver may move GPU memory", "Prefer No Sysmem Fallback"),
    (memory(2 * GIB), "2.0 GiB of memory left of 32.0 GiB in this machine: little", "ps aux"),
    (memory(2 * GIB, limit=64 * GIB), "in the control group /docker/abc: little", "--memory"),
    ({"limit_asked_bytes": 30 * GIB}, "memory_limit is 30.0 GiB, more than the 20.7 GiB", "Lower"),
    (
        {"run_directory": replace(RECORDS, free_bytes=50 << 20)},
        "50.0 MiB of disk space left",
        "--run-dir",
    ),
]


@pytest.mark.parametrize(("changes", "fact", "remedy"), BLOCKING)
def test_what_blocks_is_said_with_what_to_do(changes, fact, remedy):
    diagnosis = diagnose(facts(**changes))
    (found,) = [finding for finding in diagnosis.findings if fact in finding.fact]
    assert (found.severity, diagnosis.ready) == ("blocks", False)
    assert remedy in found.remedy


@pytest.mark.parametrize(("changes", "fact", "remedy"), WARNING)
def test_what_may_surprise_is_a_warning_with_what_to_do(changes, fact, remedy):
    diagnosis = diagnose(facts(**changes))
    (found,) = diagnosis.findings
    assert fact in found.fact
    assert remedy in found.remedy
    assert (found.severity, diagnosis.ready) == ("warns", True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        NO_GPU,
        {"device_asked": "cpu", **packages(keras="3.15.1", tensorflow_cpu="2.21.0")},
        {"device_asked": "cpu", "visible_devices": "-1", "gpus": (gpu(free_bytes=0),)},
        {"architecture": "aarch64", **packages(keras="3.9.0", tensorflow="2.17.0+nv25.02")},
        {"gpus": (gpu(), gpu(index=1))},
        {"shared_bytes": 64 << 20},  # which PyTorch alone uses
        {"gpus": (gpu(), gpu(name="T4", index=1)), "device_order": "PCI_BUS_ID"},
        {"gpus": (gpu(free_bytes=0), gpu(index=1)), "visible_devices": "1"},
    ],
)
def test_a_sound_machine_has_no_findings(changes):
    diagnosis = diagnose(facts(**changes))
    assert (diagnosis.findings, diagnosis.ready) == ((), True)


@pytest.mark.parametrize(
    ("changes", "device", "limit_bytes", "reason"),
    [
        ({}, "gpu", 23 * GIB - (2400 << 20), "context and what TensorFlow leaves of it"),
        ({"backend": "jax"}, "gpu", 23 * GIB - (2400 << 20), "and what CUDA's libraries need"),
        ({"backend": "torch"}, "gpu", 23 * GIB - (600 << 20), "on the GPU, less CUDA's context"),
        (NO_GPU, "cpu", 18 * GIB, "90% of available memory"),
        (
            {"share_of_gpu": 0.75, "backend": "jax"},
            "gpu",
            18 * GIB,
            "and what CUDA's libraries need; at most the 75% of the GPU that JAX takes",
        ),
        (
            packages(keras="3.15.1", tensorflow_cpu="2.21.0"),
            "cpu",
            18 * GIB,
            "90% of available memory",
        ),
        ({"device_asked": "cpu"}, "cpu", 18 * GIB, "90% of available memory"),
        (NO_GPU | memory(10 * GIB, limit=16 * GIB), "cpu", 9 * GIB, "/docker/abc leaves"),
        ({"limit_asked_bytes": GIB}, "gpu", GIB, "memory_limit of the recipe"),
        (NO_GPU | {"limit_asked_share": 0.5}, "cpu", 9 * GIB, "50% of 90% of available memory"),
    ],
)
def test_the_limit_is_told_with_its_reason(changes, device, limit_bytes, reason):
    diagnosis = diagnose(facts(**changes))
    assert (diagnosis.device, diagnosis.limit_bytes) == (device, limit_bytes)
    assert reason in diagnosis.limit_reason


def test_on_a_mac_it_is_told_that_apples_gpu_is_not_used():
    told = diagnose(facts(system="Darwin", architecture="arm64", **NO_GPU)).device_reason
    assert told == "no NVIDIA GPU here; Apple's is not used"
    assert diagnose(facts(**NO_GPU)).device_reason == "no NVIDIA GPU here"


@pytest.mark.parametrize("version", ["2.21rc0", "2.21.0rc1", "2.21.0", "2.21"])
def test_the_first_candidate_of_a_release_is_not_older_than_those_before(version):
    changes = packages(keras=version.replace("2.21", "3.15"), tensorflow=version)
    assert diagnose(facts(**changes)).ready


@pytest.mark.parametrize(
    ("backend", "installed", "driver", "is_told"),
    [
        ("jax", {"jax": "0.10.2", "jax_cuda13_plugin": "0.10.2"}, "575.57.08", True),
        ("torch", {"torch": "2.13.0", "nvidia_cudnn_cu13": "9.1"}, "535.1", True),
        ("torch", {"torch": "2.13.0", "nvidia_cudnn_cu13": "9.1"}, "580.65.06", False),
        ("torch", {"torch": "2.13.0", "nvidia_cudnn_cu13": "9.1"}, "unknown", False),
        ("torch", {"torch": "2.8.0", "nvidia_cudnn_cu12": "9.1"}, "535.1", False),
        ("jax", {"jax": "0.10.2", "jax_cuda12_plugin": "0.10.2"}, "535.1", False),
        ("tensorflow", {"tensorflow": "2.21.0", "nvidia_cudnn_cu13": "9.1"}, "535.1", False),
    ],
)
def test_a_driver_that_is_too_old_for_cuda_13_is_told(backend, installed, driver, is_told):
    found = diagnose(
        facts(
            backend=backend,
            gpus=(gpu(driver=driver),),
            **packages(keras="3.15.1", **installed),
        )
    ).findings
    told = [finding for finding in found if "for CUDA 13, which needs 580" in finding.fact]
    assert len(told) == is_told
    assert all(driver in finding.fact and "CUDA 12: pip" in finding.remedy for finding in told)


def test_without_nvidias_library_a_card_that_is_there_is_told():
    blind = {"gpu_problems": (NO_LIBRARY,), **NO_GPU}
    found = diagnose(facts(**blind, nvidia_cards=1)).findings
    assert [each.remedy for each in found if each.fact == NO_LIBRARY] == [
        "pip install nvidia-ml-py"
    ]
    assert not [each for each in diagnose(facts(**blind)).findings if each.fact == NO_LIBRARY]


def test_what_blocks_comes_first():
    found = diagnose(facts(legacy_keras=True, system="Windows", wsl=True)).findings
    assert [finding.severity for finding in found] == ["blocks", "warns", "warns"]


def test_the_versions_asked_for_are_those_of_the_package():
    text = (ROOT / "pyproject.toml").read_text()
    low, beyond = PYTHONS
    assert f'">={low[0]}.{low[1]},<{beyond[0]}.{beyond[1]}"' in text
    assert f'"keras>={OLDEST_KERAS[0]}.{OLDEST_KERAS[1]}"' in text
    assert f'"tensorflow>={OLDEST_TENSORFLOW[0]}.{OLDEST_TENSORFLOW[1]}"' in text


# --- the page ------------------------------------------------------------------------------------


def page(diagnosis, width=60):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(diagnosis_table(diagnosis))
    return console.file.getvalue()


def test_the_page_fits_60_columns_and_tells_who_holds_the_gpu():
    processes = holders((4242, "python [train].py --epochs 100", 20 * GIB), (7, None, None))
    told = page(diagnose(facts(gpus=(gpu(free_bytes=3 * GIB, processes=processes),))))
    assert max(map(len, told.splitlines())) <= 60
    flat = re.sub(r"\s+", " ", told)
    assert "GPU 0 NVIDIA L4, 3.0 GiB free of 24.0 GiB, driver 580.65" in flat
    assert "20.0 GiB held by 4242 python [train].py --epochs 100" in flat
    assert "? held by 7 cannot be seen from here" in flat
    assert told.splitlines()[-1].strip() == "ready, 1 warning"


def test_the_last_line_says_how_much_is_to_be_mended():
    told = page(diagnose(facts(system="Windows", python=(3, 9, 0), legacy_keras=True)))
    assert told.splitlines()[-1].strip() == "not ready: 2 things to mend"


def test_the_page_shows_limits_swap_and_hidden_gpus():
    group = ControlGroup(path="/job", limit_bytes=8 * GIB, used_bytes=GIB)
    limits = {"groups": (group,), "kernel_limits": (SHELL,)}
    swapping = replace(ROOMY, swap_total_bytes=4 * GIB, swap_free_bytes=GIB, **limits)
    told = page(diagnose(facts(memory=swapping, shared_bytes=GIB, visible_devices="")), width=100)
    assert "shared memory  1.0 GiB in /dev/shm" in told
    assert "3.0 GiB of 4.0 GiB swap used" in told
    assert "1.0 GiB used of 8.0 GiB /job" in told
    assert "512.0 MiB left for training of 3.0 GiB address space (ulimit -v)" in told
    assert "(hidden by CUDA_VISIBLE_DEVICES)" in told


# --- gathering -----------------------------------------------------------------------------------


def test_a_run_directory_that_does_not_exist_is_judged_by_the_nearest_folder(tmp_path):
    there = look_at(tmp_path / "a" / "b")
    assert (there.writable, there.free_bytes > 0) == (True, True)
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_place_of_the_run_directory_is_told(tmp_path):
    (tmp_path / "file").touch()
    assert not look_at(tmp_path / "file" / "runs").writable


def test_cudnn_may_come_from_pip_the_system_or_the_environment(tmp_path):
    (tmp_path / "libcudnn.so.9").touch()
    assert has_cudnn({"nvidia-cudnn-cu12": "9.3"}, {}, [])
    assert has_cudnn({}, {}, [str(tmp_path)])
    assert has_cudnn({}, {"LD_LIBRARY_PATH": f"/nowhere:{tmp_path}"}, [])
    assert not has_cudnn({}, {"LD_LIBRARY_PATH": ""}, [str(tmp_path / "none")])


def test_what_the_recipe_asks_of_the_device_is_gathered(tmp_path):
    recipe = make_recipe({"model": "a.py:b", "device": {"kind": "cpu", "memory_limit": "2GiB"}})
    found = gather(recipe, tmp_path, {"TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "3"})
    assert (found.device_asked, found.limit_asked_bytes) == ("cpu", 2 * GIB)
    assert (found.legacy_keras, found.visible_devices) == (True, "3")
    assert found.is_importable  # TensorFlow


# --- the command ---------------------------------------------------------------------------------


def doctor(*arguments, cwd, **environment):
    plain = {
        name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ
    }
    ran = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=plain | {"COLUMNS": "60", "KERAS_BACKEND": "tensorflow"} | environment,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_doctor_needs_no_target_and_ends_with_its_verdict_in_a_pipe_in_whole_lines(tmp_path):
    code, stdout, stderr = doctor("--set", "device.kind=cpu", cwd=tmp_path)
    assert (code, stderr) == (0, "")
    assert stdout.splitlines()[-1].startswith("ready")
    assert "\x1b" not in stdout
    assert list(tmp_path.iterdir()) == []
    (versions,) = (line for line in stdout.splitlines() if line.startswith("versions"))
    assert "keras" in versions
    assert max(map(len, stdout.splitlines())) > 60


def test_doctor_answers_2_when_something_blocks(tmp_path):
    code, stdout, _ = doctor(cwd=tmp_path, KERAS_BACKEND="theano")
    assert code == 2
    assert "backend is theano" in stdout
    assert stdout.splitlines()[-1].startswith("not ready")


def test_doctor_prints_one_json_object(tmp_path):
    (tmp_path / "a.py").touch()
    (tmp_path / "recipe.yaml").write_text(
        "model: a.py:build_model\ndevice: {kind: cpu, memory_limit: 1GiB}\n"
    )
    code, stdout, _ = doctor("recipe.yaml", "--json", cwd=tmp_path)
    told = json.loads(stdout)
    assert (code, told["ready"], told["limit_bytes"]) == (0, True, GIB)
    assert told["facts"]["packages"]["keras"]


def test_doctor_honours_no_color_even_where_colour_is_forced(tmp_path):
    set_cpu = ("--set", "device.kind=cpu")
    forced = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[1;32m" in doctor(*set_cpu, cwd=tmp_path, **forced)[1]
    assert "\x1b[1;32m" not in doctor(*set_cpu, cwd=tmp_path, NO_COLOR="1", **forced)[1]


def test_doctor_imports_no_framework(tmp_path):
    code = (
        "import sys\n"
        "from autobatch.doctor.gather import examine\n"
        "examine(None)\n"
        "print(sorted({'tensorflow', 'keras', 'jax', 'torch', 'numpy'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_doctor_needs_no_module_that_windows_has_not():
    code = (
        "import sys\n"
        "sys.modules['fcntl'] = None\n"
        "import autobatch.ui.cli, autobatch.ui.doctor_tables, autobatch.ui.console\n"
        "from autobatch.doctor.gather import examine\n"
        "print(examine(None).facts.system)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == platform.system()


@pytest.mark.parametrize("text", ["[]", "3", '"jax"', "{}", "{"])
def test_a_configuration_of_keras_that_names_no_backend_is_left_aside(tmp_path, text):
    (tmp_path / "keras.json").write_text(text)
    found = users_backend({"KERAS_HOME": str(tmp_path)})
    assert found == ("tensorflow", "Keras' default")
