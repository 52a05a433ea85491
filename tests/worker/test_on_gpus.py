"""What backends do for a GPU, as far as it can be told without one: variables, and errors."""

import pytest

from autobatch.worker.backends import jax, load, torch


@pytest.mark.parametrize(
    "line",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_all_that_cuda_says_of_memory_is_out_of_memory(line):
    assert torch.out_of_memory_evidence(RuntimeError(f"{line}\nCUDA kernel errors ...")) == line


def test_other_errors_of_cuda_are_not():
    assert torch.out_of_memory_evidence(RuntimeError("CUDA error: device-side assert")) is None


@pytest.mark.parametrize(
    ("backend", "variable"),
    [("jax", ("JAX_PLATFORMS", "cpu")), ("torch", ("CUDA_VISIBLE_DEVICES", "-1"))],
)
def test_where_the_cpu_is_asked_for_no_import_sees_a_gpu(backend, variable):
    name, value = variable
    assert load(backend).template_environment("/logs", "cpu")[name] == value
    assert name not in load(backend).template_environment("/logs", "gpu")


def test_on_jax_a_limit_is_a_share_and_the_users_own_share_gives_way(monkeypatch):
    monkeypatch.setattr(jax, "_total_bytes", lambda: 80 << 30)
    found = jax.environment("gpu", 20 << 30, 1, None)
    assert found == {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.250000",
        "XLA_CLIENT_MEM_FRACTION": "",  # jaxlib refuses both
    }
