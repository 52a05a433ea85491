"""When is training warm: compiled, its optimizer's slots made, caches filled?

Steps are timed in stretches. As long as one is faster than the stretch before it, something still
settles. A step time that never does is measured too, once there is no patience left. Times are in
seconds, of any one clock, and of steps that have ended: the device is idle.
"""

from math import inf

MIN_STEPS = 3  # before which nothing is compared
STRETCH_SECONDS = 0.25
SETTLED_SHARE = 0.95  # of the stretch before: what is not faster than that by more is warm
PATIENCE = 1.0  # times the seconds that are to be measured, after the first execution


class WarmUp:
    """Told of every execution while it lasts; `step_seconds` is that of the latest stretch."""

    def __init__(self, seconds: float) -> None:
        """For a measurement of `seconds`."""
        self.step_seconds = inf
        self._stretch_seconds = min(STRETCH_SECONDS, seconds / 4)
        self._patience = seconds * PATIENCE
        self._first: float | None = None  # when the first execution, which compiles, had ended
        self._since, self._steps = 0.0, 0  # of the stretch: when it began, after which step

    def is_over(self, now: float, steps: int) -> bool:
        """After `steps` in all: whether what follows is to be measured."""
        if self._first is None:
            self._first, self._since, self._steps = now, now, steps
            return False
        if steps < MIN_STEPS or now - self._since < self._stretch_seconds:
            return False
        before, self.step_seconds = self.step_seconds, (now - self._since) / (steps - self._steps)
        self._since, self._steps = now, steps
        return self.step_seconds >= SETTLED_SHARE * before or now - self._first >= self._patience
