"""What a bench has to do with: a suite of its own, and an image that it has pulled."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.suite import Suite
from tests.images import Image, Registry


@contextmanager
def suite_with(image: Image, name: str) -> Iterator[tuple[Suite, str]]:
    """Start a suite and a registry, and pull an image; yield the suite and the image's reference.

    All of it is gone in the end, with every container.
    """
    with Registry() as registry:
        suite = Suite()
        try:
            suite.up()
            reference = registry.push(image, name)
            suite.ok("pull", reference)
            yield suite, reference
        finally:
            suite.remove()
