"""Memory on a CPU where the kernel counts it."""

import pytest

from autobatch.worker.backends.private_memory import PrivateMemory
from autobatch.worker.mistakes import TargetError


def test_a_system_that_does_not_count_it_is_refused_with_what_to_use(tmp_path):
    with pytest.raises(TargetError, match="neither measured nor limited") as refused:
        PrivateMemory().start(1 << 30, statm=tmp_path / "statm")
    assert "--set backend=tensorflow" in refused.value.hint
