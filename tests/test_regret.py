"""How what is recommended is compared with a grid (bench/regret.py), on a pretend device."""

import sys
from pathlib import Path

import pytest
from pretend import TARGET, PretendDevice, telling

from autobatch.engine.record import Record

sys.path.append(str(Path(__file__).parent.parent / "bench"))

from regret import Workload


@pytest.mark.parametrize(
    ("late", "rate", "missed"), [((), 0.01, 0), ((1,), 0.01, 1), ((0, 1, 2), 0.01, 3), ((), 1.0, 3)]
)
def test_a_seed_that_does_not_get_there_counts_as_all_the_time(tmp_path, late, rate, missed):
    """It levels off above, or diverges. Others learn alike."""

    def levels_off(task, loss):
        return max(0.9, loss) if task.seed in late else loss

    device = telling(PretendDevice(noise=0.0), levels_off)
    with Record(tmp_path, TARGET, free_bytes=0, version="bench") as record:
        timed = Workload(device, record, {32: 0.001}).timed(0.5, (32, rate), 3.0, range(3))
    assert timed.missed == missed
    assert sum(seconds == 3.0 for seconds in timed.seconds) == missed
    assert all(seconds < 1.0 for seconds in timed.seconds if seconds != 3.0)
