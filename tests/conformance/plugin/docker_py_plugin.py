"""Loaded into the pytest that runs docker-py's tests: which of them, and what came of each.

DOCKER_PY_SKIPS names a JSON file: what is out of scope or not there yet, with the reason, by the
test's name ("api_exec_test.py::ExecTest::test_x", or a beginning of one). DOCKER_PY_RESULTS names
the file for the results.
"""

import json
import os
import re
import sys
import types
from collections.abc import Generator

import pytest

# The tests' helpers import it for tests over SSH, which aren't among these.
_paramiko = types.ModuleType("paramiko")
_paramiko.Channel = type("Channel", (), {})  # type: ignore[attr-defined]
sys.modules.setdefault("paramiko", _paramiko)

# Some of the tests change the environment.
_RESULTS = os.environ["DOCKER_PY_RESULTS"]
_results: dict[str, str] = {}


def _name(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("tests/integration/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    with open(os.environ["DOCKER_PY_SKIPS"], encoding="utf-8") as file:
        skips: dict[str, str] = json.load(file)
    for item in items:
        for beginning, reason in skips.items():
            if re.match(re.escape(beginning) + r"(/|::|$)", _name(item)):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    name = _name(item)
    if report.failed:
        why = str(call.excinfo.value).splitlines() if call.excinfo else []
        _results.setdefault(name, f"failed: {why[0] if why else report.when}")
    elif report.skipped:
        _results.setdefault(name, "skipped")
    elif report.when == "call":
        _results.setdefault(name, "passed")
    return report


def pytest_sessionfinish() -> None:
    with open(_RESULTS, "w", encoding="utf-8") as file:
        json.dump(_results, file)
