"""One suite, one registry and one small image for all end-to-end tests."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.host import look
from tests.e2e.suite import Suite
from tests.images import Registry, busybox_image


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry on loopback."""
    with Registry() as running:
        yield running


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """A suite that runs for the whole session, and must leave nothing when it is stopped."""
    assert os.geteuid() == 0, "end-to-end tests need root: run `make test`"
    before = look()
    running = Suite()
    try:
        running.up()
        yield running
        running.down()
        assert look().new_since(before) == {}
    finally:
        running.remove()


@pytest.fixture(scope="session")
def image(suite: Suite, registry: Registry) -> str:
    """A busybox image, pulled; by its reference."""
    reference = registry.push(busybox_image(), "library/busybox")
    suite.ok("pull", reference)
    return reference


@pytest.fixture
def containers(suite: Suite) -> Iterator[None]:
    """Remove what containers a test has left."""
    yield
    left = suite.ok("ps", "--all", "--quiet").split()
    if left:
        suite.ok("rm", "--force", "--volumes", *left)
