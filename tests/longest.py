"""Files of tests side by side: those that take longest begin first, so that all end together.

How long each took is kept on the machine, in ``/var/cache/vic/tests`` where that can be written. A
file that is new there is reckoned by the number of its tests.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

SECONDS_FILE = Path("/var/cache/vic/tests/seconds.json")
# What a test takes at a guess, by the directory of its suite: one with virtual machines takes long.
GUESSES = {"integration": 3.0, "conformance": 3.0, "e2e": 6.0}
GUESS = 0.1


def file_of(nodeid: str) -> str:
    """Return the file of a test's ID."""
    return nodeid.partition("::")[0]


def longest_first(nodeids: Sequence[str], known: Mapping[str, float]) -> list[str]:
    """Return the files of tests, those that take longest first; `known` are seconds by file."""

    def seconds(file: str) -> float:
        suite = next((part for part in Path(file).parts if part in GUESSES), "")
        return known.get(file, counts[file] * GUESSES.get(suite, GUESS))

    counts = Counter(map(file_of, nodeids))
    return sorted(counts, key=seconds, reverse=True)


def read_seconds(path: Path = SECONDS_FILE) -> dict[str, float]:
    """Return the seconds of each file that is known; what can't be read is nothing."""
    try:
        return {str(file): float(took) for file, took in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep_seconds(took: Mapping[str, float], path: Path = SECONDS_FILE) -> None:
    """Add what files took to what is known, where that can be written."""
    made = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps(read_seconds(path) | dict(took), indent=1, sort_keys=True))
        made.replace(path)
    except OSError:
        return  # The next run guesses.


class Timekeeper:
    """Of the process that hands files out: tells the others what is known, and notes what was."""

    def __init__(self) -> None:
        self._took: dict[str, float] = defaultdict(float)
        self._known = read_seconds()

    def pytest_configure_node(self, node: Any) -> None:
        """Give all processes the same, for they must put their tests in the same order."""
        node.workerinput["seconds"] = self._known

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took[file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        chosen = session.config.option.keyword or session.config.option.markexpr
        parts = any("::" in argument for argument in session.config.args)
        # Of a run that was broken off, or of some tests only, a file's seconds would be too few.
        if exitstatus == pytest.ExitCode.OK and not chosen and not parts:
            keep_seconds({file: round(seconds, 1) for file, seconds in self._took.items()})


class Order:
    """Of the processes that run tests: the files' order."""

    def __init__(self, known: Mapping[str, float]) -> None:
        self._known = known

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = longest_first([item.nodeid for item in items], self._known)
        places = {file: place for place, file in enumerate(order)}
        items.sort(key=lambda item: places[file_of(item.nodeid)])
