"""What backends do for a GPU, as far as it can be told without one: variables, and errors."""

import os
from types import SimpleNamespace

import pytest

from autobatch.engine.gpus import GpuSurvey
from autobatch.engine.used_gpus import UsedGpus
from autobatch.engine.verdict import of_dead_process
from autobatch.protocol import Benchmark, Inspect, Job, OutOfMemory, Probe, Target
from autobatch.worker import run
from autobatch.worker.backends import (
    compiled_steps,
    jax,
    load,
    tensorflow,
    tensorflow_errors,
    tensorflow_gpus,
    torch,
)
from autobatch.worker.mistakes import DeviceError, TargetError, UserError
from autobatch.worker.set_too_late import read_by_now, set_since


def job_on_gpu(backend, limit_bytes, device_bytes=None):
    """A job for a GPU that has so much."""
    target = Target(folder="/", model="m.py:m", backend=backend, device="gpu")
    task = Benchmark(batch_size=1, seconds=1, limit_bytes=limit_bytes)
    return Job(target=target, task=task, device_bytes=device_bytes)


@pytest.mark.parametrize(
    "line",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA driver error: out of memory",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "Allocation on device 0 would exceed allowed memory. (out of memory)",
    ],
)
def test_all_that_cuda_says_of_memory_is_out_of_memory(line):
    assert torch.out_of_memory_evidence(RuntimeError(f"{line}\nCUDA kernel errors ...")) == line


@pytest.mark.parametrize("module", ["torch", "torch.cuda"])
def test_pytorchs_own_type_of_it_is_out_of_memory_whatever_it_says(module):
    kind = type("OutOfMemoryError", (RuntimeError,), {"__module__": module})
    assert torch.out_of_memory_evidence(kind("no room\nmore")) == "no room"
    assert torch.out_of_memory_evidence(kind()) == "OutOfMemoryError"
    users = type("OutOfMemoryError", (RuntimeError,), {})
    assert torch.out_of_memory_evidence(users("no room")) is None


def test_other_errors_of_cuda_are_not():
    assert torch.out_of_memory_evidence(RuntimeError("CUDA error: device-side assert")) is None


@pytest.mark.parametrize(
    "line",
    [
        "GET was unable to find an engine to execute this computation",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
        "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasLtMatmul(...)`",
        "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`",
    ],
)
def test_what_cudas_libraries_say_near_the_limit_is_out_of_memory(monkeypatch, line):
    error = RuntimeError(line)
    for held, limit, is_memory in ((70, 80, True), (10, 80, False), (70, None, False)):
        monkeypatch.setattr(torch, "_held_and_limit", lambda told=(held, limit): told)
        assert (torch.out_of_memory_evidence(error) is not None) == is_memory


@pytest.mark.parametrize(
    ("line", "is_memory"),
    [
        ("Failed to create cuDNN handle: CUDNN_STATUS_ALLOC_FAILED", True),
        ("failed to create cublas handle: the resource allocation failed", True),
        ("Failed to load in-memory CUBIN: CUDA_ERROR_OUT_OF_MEMORY: out of memory", True),
        ("Matrix size-incompatible: In[0]: [8,4], In[1]: [5,1]", False),
    ],
)
def test_errors_of_cuda_of_another_type_are_out_of_memory(line, is_memory):
    framework = pytest.importorskip("tensorflow")
    said = f"Graph execution error:\n\n{line}\n\t [[{{{{node dense/MatMul}}}}]]"
    found = tensorflow.out_of_memory_evidence(framework.errors.InternalError(None, None, said))
    assert found == (line if is_memory else None)
    assert tensorflow.out_of_memory_evidence(ValueError(line)) is None
    assert jax.out_of_memory_evidence(XlaRuntimeError(line)) == (line if is_memory else None)


@pytest.mark.parametrize(
    "line",
    [
        "Failed to create cuDNN handle: CUDNN_STATUS_INTERNAL_ERROR",
        "DNN library initialization failed. Look at the errors above for more details.",
        "CUBLAS_STATUS_NOT_INITIALIZED",
        "No algorithm worked!  Error messages:",
    ],
)
def test_what_cudas_libraries_say_in_tensorflow_near_the_limit_is_out_of_memory(monkeypatch, line):
    framework = pytest.importorskip("tensorflow")
    said = f"Graph execution error:\n\n{line}\n\t [[{{{{node conv2d/Conv2D}}}}]]"
    for held, limit, is_memory in ((70, 80, True), (10, 80, False), (70, None, False)):
        monkeypatch.setattr(tensorflow_errors, "held_and_limit", lambda told=(held, limit): told)
        found = tensorflow.out_of_memory_evidence(framework.errors.UnknownError(None, None, said))
        assert found == (f"{line} (with 70 bytes of 80 held)" if is_memory else None)
        assert tensorflow.out_of_memory_evidence(ValueError(line)) is None


@pytest.mark.parametrize(
    ("allocator", "is_hosts"), [("cpu", 1), ("mklcpu", 1), ("gpu_host_bfc", 1), ("GPU_0_bfc", 0)]
)
@pytest.mark.parametrize("on_gpu", [True, False])
def test_what_tensorflow_lacked_of_the_machine_is_none_of_a_gpus(
    monkeypatch, tmp_path, allocator, is_hosts, on_gpu
):
    framework = pytest.importorskip("tensorflow")
    line = f"OOM when allocating tensor on /job:localhost/device:CPU:0 by allocator {allocator}"

    def fails(*_):
        raise framework.errors.ResourceExhaustedError(None, None, line)

    monkeypatch.setattr(tensorflow, "configure", fails)
    target = Target(
        folder=str(tmp_path),
        model="m.py:m",
        backend="tensorflow",
        device="gpu" if on_gpu else "cpu",
    )
    limited = Probe(batch_size=1, limit_bytes=1 << 20)
    for task, on_cpu in ((Inspect(batch_size=1), True), (limited, False)):
        told = run.run(Job(target=target, task=task), print, print)
        found = UsedGpus(target, GpuSurvey, 0).judged(task, told)
        assert isinstance(found, OutOfMemory)
        assert found.host_memory == (bool(is_hosts) if on_gpu else on_cpu)


@pytest.mark.parametrize(
    ("line", "is_hosts"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("OSError: [Errno 12] Cannot allocate memory", True),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", True),
        ("  what():  std::bad_alloc: cudaErrorMemoryAllocation: out of memory", False),
        ("CUDA_ERROR_OUT_OF_MEMORY: out of memory", False),
    ],
)
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_a_death_for_want_of_the_machines_memory_is_none_of_a_gpus(line, is_hosts, device):
    """On a CPU it may be our limit."""
    task = Probe(batch_size=1, limit_bytes=1 << 20)
    target = Target(folder="/", model="m.py:m", device=device)
    dead = of_dead_process(exit_code=-6, log=line)
    found = UsedGpus(target, GpuSurvey, 0).judged(task, dead)
    assert found.host_memory == (is_hosts and device == "gpu")


@pytest.mark.parametrize(
    ("device", "task", "is_hosts"),
    [
        ("gpu", Probe(batch_size=1, limit_bytes=1 << 20), True),
        ("cpu", Probe(batch_size=1, limit_bytes=1 << 20), False),
        ("cpu", Inspect(batch_size=1), True),
    ],
)
def test_what_python_lacks_is_the_machines_unless_it_may_be_our_limit(
    monkeypatch, device, task, is_hosts
):
    def fails(*_):
        raise MemoryError

    pytest.importorskip("tensorflow")
    monkeypatch.setattr(tensorflow, "configure", fails)
    target = Target(folder="/", model="m.py:m", backend="tensorflow", device=device)
    assert run.run(Job(target=target, task=task), print, print).host_memory == is_hosts


def test_scripts_may_let_a_gpus_memory_grow_and_set_no_limit_of_their_own(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    names = ("set_memory_growth", "set_visible_devices", "set_virtual_device_configuration")
    for name in names:  # to be put back
        monkeypatch.setattr(tf.config.experimental, name, getattr(tf.config.experimental, name))
    for name in ("set_visible_devices", "set_logical_device_configuration"):
        monkeypatch.setattr(tf.config, name, getattr(tf.config, name))
    gpu, other = (tf.config.PhysicalDevice(f"/physical_device:GPU:{k}", "GPU") for k in (0, 1))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [gpu])
    tensorflow_gpus.keep_memory_settings()
    tf.config.experimental.set_memory_growth(gpu, True)
    for same in (gpu, [gpu]):
        tf.config.set_visible_devices(same, "GPU")
    tf.config.set_visible_devices(tf.config.list_physical_devices("CPU"))
    limit = tf.config.LogicalDeviceConfiguration(memory_limit=4096)
    with pytest.raises(UserError, match="sets a memory limit") as refused:
        tf.config.set_logical_device_configuration(gpu, [limit])
    assert "device.memory_limit" in refused.value.hint
    for others in (other, [gpu, other], []):
        with pytest.raises(UserError):
            tf.config.set_visible_devices(others, "GPU")


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("limit_bytes", [(3 << 30) + 5, None])
def test_of_tensorflows_gpus_those_that_are_used_are_seen_with_the_limit(
    monkeypatch, limit_bytes, replicas
):
    """In MiB, each; without one their memory grows."""
    tf = pytest.importorskip("tensorflow")
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{k}", "GPU") for k in range(3)]
    visible, growing, limits = [], [], {}

    def limit(gpu, configurations):
        limits[gpu] = [each.memory_limit for each in configurations]

    for module, name, stand_in in (
        (tf.config, "list_physical_devices", lambda kind: gpus),
        (tf.config, "get_visible_devices", lambda kind: gpus[:replicas]),
        (tf.config, "set_visible_devices", lambda *given: visible.append(given)),
        (tf.config, "set_logical_device_configuration", limit),
        (tf.config.experimental, "set_memory_growth", lambda *given: growing.append(given)),
        (tf.config.experimental, "set_visible_devices", None),  # to be put back
        (tf.config.experimental, "set_virtual_device_configuration", None),
        (tensorflow_gpus, "_limits", []),
    ):
        monkeypatch.setattr(module, name, stand_in)
    tensorflow_gpus.configure_gpus(limit_bytes, replicas)
    used = gpus[:replicas]
    assert visible == [(used, "GPU")]
    assert limits == ({gpu: [3072] for gpu in used} if limit_bytes else {})
    assert growing == ([] if limit_bytes else [(gpu, True) for gpu in used])


@pytest.mark.parametrize(
    ("limit_bytes", "shares"), [(20 << 30, [0.25]), (90 << 30, [1.0]), (None, [])]
)
def test_on_pytorch_a_limit_is_a_share_of_the_gpus_memory(monkeypatch, limit_bytes, shares):
    framework, told = pytest.importorskip("torch"), []
    has = SimpleNamespace(total_memory=80 << 30)
    monkeypatch.setattr(torch, "start_cuda", lambda: None)
    monkeypatch.setattr(torch, "hide_gpus_from_tensorflow", lambda: None)
    monkeypatch.setattr(torch, "_gpu_limits", [])
    monkeypatch.setattr(framework.cuda, "get_device_properties", lambda device: has)
    monkeypatch.setattr(framework.cuda, "set_per_process_memory_fraction", told.append)
    torch.configure("gpu", limit_bytes, 1)
    assert told == shares


def test_on_the_cpu_tensorflow_sees_no_gpu_of_whatever_make(monkeypatch):
    framework = pytest.importorskip("tensorflow")
    told = []
    monkeypatch.setattr(framework.config, "set_visible_devices", lambda *given: told.append(given))
    tensorflow.configure("cpu", None, 1)
    assert told == [([], "GPU")]


def test_an_allocator_of_tensorflow_that_heeds_no_limit_gives_way_to_its_usual_one(monkeypatch):
    for told, expected in (("cuda_malloc_async", ""), ("cuda_malloc", None), (None, None)):
        monkeypatch.delenv("TF_GPU_ALLOCATOR", raising=False)
        if told:
            monkeypatch.setenv("TF_GPU_ALLOCATOR", told)
        found = tensorflow.environment(job_on_gpu("tensorflow", 1 << 30), None)
        assert found.get("TF_GPU_ALLOCATOR") == expected


def test_an_allocator_of_tensorflow_that_does_not_count_is_refused(monkeypatch):
    monkeypatch.setenv("TF_GPU_ALLOCATOR", "cuda_malloc")
    with pytest.raises(TargetError, match="has TF_GPU_ALLOCATOR=cuda_malloc, "):
        tensorflow.configure("gpu", 1 << 30, 1)


def test_an_allocator_that_the_users_module_sets_is_no_other(monkeypatch):
    framework = pytest.importorskip("tensorflow")
    monkeypatch.setenv("TF_GPU_ALLOCATOR", "cuda_malloc")
    tensorflow.scope()  # on the CPU it is nobody's
    monkeypatch.setattr(framework.config, "list_physical_devices", lambda kind: ["GPU:0"])
    with pytest.raises(TargetError, match="has TF_GPU_ALLOCATOR=cuda_malloc, "):
        tensorflow.scope()
    os.environ["TF_GPU_ALLOCATOR"] = "cuda_malloc_async"
    tensorflow.scope()
    assert not os.environ["TF_GPU_ALLOCATOR"]


@pytest.mark.parametrize(("device", "backend"), [("gpu", "jax"), ("gpu", "torch"), ("cpu", "jax")])
def test_what_a_gpu_read_as_it_started_is_told_to_be_set_too_late(monkeypatch, device, backend):
    names = ("XLA_PYTHON_CLIENT_PREALLOCATE", "CUDA_DEVICE_ORDER", "PYTORCH_ALLOC_CONF")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    before = read_by_now(Target(folder="/", model="m", backend=backend, device=device))
    for name in names:
        monkeypatch.setenv(name, "x")
    told = [name for name in names if any(f"sets {name}=x, " in note for note in set_since(before))]
    expected = {"jax": names[:2], "torch": names[1:]}[backend] if device == "gpu" else ()
    assert told == list(expected)


@pytest.mark.parametrize(
    ("backend", "variable"),
    [("jax", ("JAX_PLATFORMS", "cpu")), ("torch", ("CUDA_VISIBLE_DEVICES", "-1"))],
)
def test_where_the_cpu_is_asked_for_no_import_sees_a_gpu(backend, variable):
    name, value = variable
    assert load(backend).template_environment("/logs", "cpu")[name] == value
    assert name not in load(backend).template_environment("/logs", "gpu")


class XlaRuntimeError(RuntimeError):
    """Named as JAX's."""

    __module__ = "jaxlib._jax"


def test_memory_that_ran_out_while_cuda_started_is_out_of_memory():
    said = "Unable to initialize backend 'cuda': {}: no context (you may need to ...)"
    for code in ("RESOURCE_EXHAUSTED", "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY"):
        error = RuntimeError(said.format(code))
        assert jax.out_of_memory_evidence(error) == str(error)
    for other in (RuntimeError(said.format("UNKNOWN")), RuntimeError("RESOURCE_EXHAUSTED: users'")):
        assert jax.out_of_memory_evidence(other) is None


@pytest.mark.parametrize(("code", "is_device"), [("OUT_OF_MEMORY", False), ("UNKNOWN", True)])
def test_where_jax_cannot_start_cuda_for_want_of_memory_the_device_is_not_to_blame(
    monkeypatch, code, is_device
):
    framework = pytest.importorskip("jax")

    def fails():
        raise RuntimeError(f"Unable to initialize backend 'cuda': CUDA_ERROR_{code}")

    monkeypatch.setattr(framework, "default_backend", fails)
    with pytest.raises((RuntimeError, DeviceError)) as raised:
        jax.configure("gpu", None, 1)
    assert isinstance(raised.value, DeviceError) == is_device


def test_a_gpu_is_refused_where_jax_was_told_to_use_the_cpu(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(TargetError, match="has JAX_PLATFORMS=cpu, ") as refused:
        jax.configure("gpu", None, 1)
    assert not isinstance(refused.value, DeviceError)  # a fresh interpreter would not help


@pytest.mark.parametrize(("replicas", "devices"), [(1, "0"), (2, "0,1")])
def test_jax_opens_those_gpus_alone_that_are_used(monkeypatch, replicas, devices):
    framework = pytest.importorskip("jax")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    told = {}
    monkeypatch.setattr(framework.config, "update", told.__setitem__)
    monkeypatch.setattr(framework, "default_backend", lambda: "cpu")
    with pytest.raises(DeviceError):
        jax.configure("gpu", None, replicas)
    assert told == {"jax_cuda_visible_devices": devices}


def test_an_allocator_of_jax_that_heeds_no_limit_gives_way_to_its_usual_one(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_ALLOCATOR", "cuda_async")
    for limit in (None, 20 << 30):
        found = jax.environment(job_on_gpu("jax", limit, 80 << 30), None)
        assert found["XLA_PYTHON_CLIENT_ALLOCATOR"] == "default"


def test_memory_that_jax_shares_with_the_machine_would_heed_no_limit(monkeypatch):
    monkeypatch.setenv("TF_FORCE_UNIFIED_MEMORY", "1")
    found = jax.environment(job_on_gpu("jax", 20 << 30, 80 << 30), None)
    assert found["TF_FORCE_UNIFIED_MEMORY"] == "0"


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_what_an_allocator_warns_of_is_in_the_log_whatever_the_shell_says(monkeypatch, backend):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    assert load(backend).template_environment("/logs", "gpu")["TF_CPP_MIN_LOG_LEVEL"] == "1"


def test_what_cudnn_says_in_jax_near_the_limit_is_out_of_memory(monkeypatch):
    error = XlaRuntimeError("FAILED_PRECONDITION: DNN library initialization failed. Look at ...")
    for held, limit, is_memory in ((70, 80, True), (10, 80, False), (70, None, False)):
        monkeypatch.setattr(jax, "_held_and_limit", lambda told=(held, limit): told)
        assert (jax.out_of_memory_evidence(error) is not None) == is_memory


@pytest.mark.parametrize(
    ("module", "reads", "usual"),
    [
        (
            tensorflow,
            lambda tf: tf.config.experimental.tensor_float_32_execution_enabled(),
            (False, True),
        ),
        (torch, lambda torch: torch.backends.cudnn.allow_tf32, (False, True)),
        (torch, lambda torch: torch.backends.cuda.matmul.allow_tf32, (False, False)),
        (jax, lambda jax: jax.config.jax_default_matmul_precision, ("highest", None)),
    ],
)
def test_products_have_all_their_digits_where_that_is_asked_and_no_longer(module, reads, usual):
    framework = pytest.importorskip(module.__name__.rpartition(".")[2])
    with module.full_precision():
        within = reads(framework)
    assert (within, reads(framework)) == usual


def test_keras_is_told_to_use_cuda_so_that_it_does_not_look_for_it(monkeypatch):
    monkeypatch.delenv("KERAS_TORCH_DEVICE", raising=False)
    for device, expected in (("gpu", "cuda"), ("cpu", "cpu")):
        assert torch.template_environment("/logs", device)["KERAS_TORCH_DEVICE"] == expected
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "cuda:0")
    for device, expected in (("gpu", "cuda:0"), ("cpu", "cpu")):
        assert torch.template_environment("/logs", device)["KERAS_TORCH_DEVICE"] == expected


def test_pytorch_looks_for_a_gpu_without_starting_cuda_which_forks_could_not_use():
    for device in ("gpu", "cpu"):
        told = torch.template_environment("/logs", device)
        assert told["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


@pytest.mark.parametrize("told", ["cpu", "cuda:1"])
def test_a_gpu_is_refused_where_keras_was_told_to_use_another_device(monkeypatch, told):
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_TORCH_DEVICE", told)
    with pytest.raises(TargetError, match=f"has KERAS_TORCH_DEVICE={told}, ") as refused:
        torch.configure("gpu", None, 1)
    assert not isinstance(refused.value, DeviceError)  # a fresh interpreter would not help


def test_where_xla_does_not_know_what_a_step_needs_it_runs():
    silent = SimpleNamespace(memory_analysis=lambda: None)
    memory = compiled_steps.Memory()
    memory.limit_bytes, memory.only_predicts = 1, True
    memory.count(compiled_steps._needed_bytes(silent))
    assert memory.peak_bytes == 0


def test_on_jax_a_limit_is_a_share_and_the_users_own_share_gives_way():
    found = jax.environment(job_on_gpu("jax", 20 << 30, 80 << 30), None)
    assert found == {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.250000",
        "XLA_CLIENT_MEM_FRACTION": "",  # jaxlib refuses both
    }
    whole = jax.environment(job_on_gpu("jax", 90 << 30, 80 << 30), None)
    assert whole["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "1.000000"
    for limit, of in ((None, 80 << 30), (20 << 30, None)):
        found = jax.environment(job_on_gpu("jax", limit, of), None)
        assert found == {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
