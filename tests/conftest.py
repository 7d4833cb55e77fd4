"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings

from tests.longest import Order, Timekeeper

# How long an example takes says more about the machine than about the code, and what decides
# whether a change lands must decide alike each time. `--hypothesis-profile=default` explores.
settings.register_profile(
    "everywhere",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("everywhere")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Order(config.workerinput["seconds"]))
        return
    config.pluginmanager.register(FailuresAtOnce(config))
    if config.getoption("dist", "no") != "no":
        config.pluginmanager.register(Timekeeper())


class FailuresAtOnce:
    """Tells of a failure when it happens: a run that is ended from outside has no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message if crash is not None else report.longreprtext
            terminal.write_line(f"\nfailed in {report.when}: {report.nodeid}: {why[:1000]}")
