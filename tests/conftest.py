"""How tests are shared out where several processes run them (`-n 2`)."""

TOGETHER = ("test_recommended.py", "test_report_browser.py")  # their tests share a long set-up


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
