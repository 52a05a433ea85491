"""Benchmark points made up for tests."""

from autobatch.protocol import BenchmarkPoint


def point(batch_size, rate, *, spread=0.01, device=None, **more):
    return BenchmarkPoint(
        batch_size=batch_size,
        samples_per_second=rate,
        low=rate * (1 - spread),
        high=rate * (1 + spread),
        device_samples_per_second=device,
        step_seconds=batch_size / rate,
        epoch_seconds=1000 / rate,
        samples_per_epoch=1000,
        steps_per_epoch=-(-1000 // batch_size),
        **({"peak_bytes": None} | more),
    )
