"""Those of docker-py's own tests that are quick; `make conformance` runs all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.harness import provide, run, skips
from tests.e2e.suite import Suite
from tests.images import Registry

SELECTED = Path(__file__).parent / "selected.txt"


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    """A suite with the images that the tests expect of Docker Hub."""
    running = Suite()
    try:
        with Registry() as registry:
            running.up("--registry-mirror", f"http://{registry.address}")
            provide(running, registry)
            yield running
    finally:
        running.remove()


def test_the_life_of_containers_is_what_docker_py_expects(suite: Suite) -> None:
    names = [line for line in SELECTED.read_text().splitlines() if not line.startswith("#")]
    outcome = run(suite.endpoint, names)
    assert outcome.failed() == [], outcome.output + suite.logs()
    assert outcome.count()["passed"] >= len(names)


def test_what_is_skipped_has_a_reason() -> None:
    reasons = skips()
    assert reasons
    assert all(len(reason) > 3 for reason in reasons.values())
