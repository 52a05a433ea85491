"""How tests are shared out among processes (`-n 2`), and on which backends they are asked."""

import importlib.util
import os
import tempfile
from collections import Counter
from pathlib import Path

import asking
import hypothesis
import pytest

# A slow machine fails no property; each run asks the same, since bounds are of the worst known.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")

TOGETHER = ("test_recommended.py", "test_report_browser.py")  # their tests share a long set-up
LONGEST = "test_a_step_that_pytorch_compiles"
# Whose records, of many pretend jobs, would reach the disk after each of them.
IN_MEMORY = (
    "test_annealed_trials",
    "test_interruption",
    "test_null",
    "test_tuner",
    "test_unusual_jobs",
)
MEMORY = Path("/dev/shm")


def pytest_xdist_make_scheduler(config, log):
    """One test at a time to whoever is free, but those files as a whole.

    (The mark xdist_group would say so, but pytest-xdist 3.8 does not heed it under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneByOne(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return path if path.endswith(TOGETHER) else nodeid

    return OneByOne(config, log)


@pytest.hookimpl(trylast=True)  # after pytest has ordered them by their fixtures
def pytest_collection_modifyitems(items):
    """Those of a backend together: each has a template, which takes seconds to start.

    Last those that start one for themselves, first the longest: else it alone goes on at the end.
    """

    def place(item):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        backend = asking.BACKENDS.index(parameters.get("backend", asking.BACKEND))
        starts_another = item.get_closest_marker("another_template") is not None
        return backend, starts_another, not item.name.startswith(LONGEST)

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter):
    """How many tests were skipped, by reason: `-rs` has a line for each of them."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture
def tmp_path(request, tmp_path):
    """In memory, for who writes often, where there is such a folder."""
    if request.path.stem not in IN_MEMORY or not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session", params=asking.BACKENDS)
def backend(request):
    """Those that are installed."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed (`make backends` does)")
    return request.param


@pytest.fixture
def on_each_backend(backend, monkeypatch):
    """What `ask` asks goes to it."""
    monkeypatch.setattr(asking, "BACKEND", backend)
    return backend
