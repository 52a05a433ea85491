"""A GPU's counter of joules, of a made-up driver; and what the benchmark's clock counts by it."""

import time
from types import SimpleNamespace

import pynvml
import pytest
from nvml import Driver, card, error

from autobatch.worker.nvidia import EnergyCounter, visible_handles
from autobatch.worker.tasks.benchmark import WindowClock


def counted(driver, *, replicas=1, spent=0):
    """Joules per sample of 10 samples, for which the first GPU spends `spent` mJ."""
    counter = EnergyCounter("gpu", replicas, driver)
    counter.start()
    counter.trained(10)
    for device in driver.devices:
        if "millijoules" in device:
            device["millijoules"] += spent
    return counter.joules_per_sample()


def test_joules_are_counted_from_the_start_on():
    assert counted(Driver(card(millijoules=7_000_000)), spent=5000) == 0.5


def test_replicas_spend_together():
    driver = Driver(*(card(millijoules=k) for k in range(3)))
    assert counted(driver, replicas=2, spent=5000) == 1.0


@pytest.mark.parametrize(
    "driver",
    [
        Driver(card()),
        Driver(card(millijoules=1), starts=error(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)),
    ],
    ids=["a GPU before Volta", "no driver"],
)
def test_without_a_counter_nothing_is_known(driver):
    assert counted(driver) is None


def test_on_a_cpu_no_driver_is_asked():
    driver = Driver(card(millijoules=1))
    assert EnergyCounter("cpu", nvml=driver).joules_per_sample() is None
    assert driver.open == 0


def test_before_anything_was_trained_nothing_is_known():
    counter = EnergyCounter("gpu", nvml=Driver(card(millijoules=1)))
    counter.start()
    assert counter.joules_per_sample() is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(None, "GPU-a"), ("", "GPU-a"), ("1", "GPU-b"), ("GPU-b,GPU-a", "GPU-b"), ("MIG-c", "MIG-c")],
)
def test_the_first_visible_gpu_is_asked(monkeypatch, setting, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    driver = Driver(card(uuid="GPU-a"), card(uuid="GPU-b", instances=[card(uuid="MIG-c")]))
    assert [found["uuid"] for found in visible_handles(driver)] == [expected]


@pytest.mark.parametrize("steps_per_epoch", [4, 1000], ids=["whole epochs", "inside an epoch"])
def test_a_benchmark_counts_no_sample_without_its_joules(steps_per_epoch):
    """Each costs 1 J; where whole epochs are windows, the first begins after the warm-up's end."""
    device, size = card(millijoules=0), 8
    energy = EnergyCounter("gpu", nvml=Driver(device))
    samples = steps_per_epoch * size - 3  # a ragged batch
    source = SimpleNamespace(count=samples, steps_per_epoch=lambda size: steps_per_epoch)
    clock = WindowClock(0.2, source, size, lambda: None, energy, lambda progress: None)
    clock.set_model(model := SimpleNamespace(stop_training=False))
    epoch = 0
    while not model.stop_training:
        clock.on_epoch_begin(epoch)
        for batch in range(steps_per_epoch):
            clock.on_train_batch_begin(batch)
            time.sleep(0.001)
            device["millijoules"] += 1000 * (size - 3 if batch == steps_per_epoch - 1 else size)
            clock.executed(batch)
            if model.stop_training:
                break
        else:
            clock.on_epoch_end(epoch)
        epoch += 1
    assert len(clock.windows) >= 8
    assert energy.joules_per_sample() == pytest.approx(1.0)
