"""What a worker can be asked. Importing it imports all of them, and what they need (SciPy).

The template process does that once. A worker that did so by itself would take longer to start, and
what it imports would count as the user's memory.
"""

from autobatch.worker.tasks import benchmark, gradients, inspect, probe, range_test, trial

__all__ = ["benchmark", "gradients", "inspect", "probe", "range_test", "trial"]
