"""Runs docker-py's tests by name against an endpoint; skips are counted, with their reasons.

    python -m tests.conformance.harness            all, against a suite of its own
    python -m tests.conformance.harness NAME…      those, by file, class or test

``skips/*.txt`` say what isn't run: a name (a file, class or test) and the reason on each line. A
facet's own file is its developers'.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.images import push_all
from tests.conformance.sources import docker_py
from tests.e2e.suite import Suite
from tests.images import Registry

HERE = Path(__file__).resolve().parent
# Of one test; images are small, and so is what the tests do.
TEST_SECONDS = 120
RUN_SECONDS = 7200


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the result of each test, and all that pytest said."""

    results: Mapping[str, str]
    output: str

    def count(self) -> Counter[str]:
        """How many passed, failed and were skipped."""
        return Counter(result.partition(":")[0] for result in self.results.values())

    def failed(self) -> list[str]:
        """The tests that failed, each with why."""
        failures = ((n, r) for n, r in self.results.items() if r.startswith("failed"))
        return sorted(f"{name} {result}" for name, result in failures)


def skips() -> dict[str, str]:
    """Return the reason for each name that isn't run."""
    found: dict[str, str] = {}
    for path in sorted((HERE / "skips").glob("*.txt")):
        for line in path.read_text().splitlines():
            name, _, reason = line.partition(" ")
            if not name or name.startswith("#"):
                continue
            if not reason.strip():
                raise ValueError(f"{path.name}: {name} is skipped without a reason")
            found[name] = reason.strip()
    return found


def run(endpoint: str, names: Sequence[str] = ()) -> Outcome:
    """Run tests by their names, all of them by default, and return what came of it.

    Each file has a process of its own: some of the tests change their environment.
    """
    integration = docker_py() / "tests" / "integration"
    everything = sorted(path.relative_to(integration) for path in integration.rglob("*_test.py"))
    wanted: dict[str, list[str]] = {}
    for name in names or map(str, everything):
        wanted.setdefault(name.partition("::")[0], []).append(name)
    outcomes = [_run_file(endpoint, chosen) for chosen in wanted.values()]
    results = {name: result for outcome in outcomes for name, result in outcome.results.items()}
    return Outcome(results, "".join(outcome.output for outcome in outcomes))


def _run_file(endpoint: str, names: Sequence[str]) -> Outcome:
    project = docker_py()
    chosen = [str(project / "tests" / "integration" / name) for name in names]
    with tempfile.TemporaryDirectory() as directory:
        skipped, results = Path(directory) / "skips.json", Path(directory) / "results.json"
        skipped.write_text(json.dumps(skips()))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "docker_py_plugin", "-c", os.devnull),
                *("--rootdir", str(project), "-p", "no:cacheprovider", "-p", "no:asyncio"),
                *("-q", "--timeout", str(TEST_SECONDS), *chosen),
            ],
            cwd=project,
            env={
                "PATH": os.environ["PATH"],
                "HOME": directory,
                "DOCKER_HOST": endpoint,
                "PYTHONPATH": f"{HERE / 'plugin'}:{project}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "DOCKER_PY_SKIPS": str(skipped),
                "DOCKER_PY_RESULTS": str(results),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        found = json.loads(results.read_text()) if results.exists() else {}
    return Outcome(found or dict.fromkeys(names, "failed: no result"), done.stdout)


def provide(suite: Suite, registry: Registry) -> None:
    """Have the images in a suite under the names that the tests use."""
    for name, reference in push_all(registry).items():
        suite.ok("pull", reference)
        suite.ok("tag", reference, name)


def main(arguments: Iterable[str] | None = None) -> int:
    """Run against a suite of its own. Returns 1 when a test fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="files, classes or tests of docker-py's")
    chosen = parser.parse_args(None if arguments is None else list(arguments)).names
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite = Suite()
        stack.callback(suite.remove)
        suite.up("--registry-mirror", f"http://{registry.address}")
        provide(suite, registry)
        outcome = run(suite.endpoint, chosen)
    if chosen:
        print(outcome.output)
    counted = outcome.count()
    reasons = Counter(skips().values())
    print(f"{counted['passed']} passed, {counted['failed']} failed, {counted['skipped']} skipped")
    for reason, entries in reasons.most_common():
        print(f"  {entries} entries skipped: {reason}")
    for name in outcome.failed():
        print(f"failed: {name}")
    return 1 if outcome.failed() or not counted["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
