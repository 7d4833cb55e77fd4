"""What tests of several facets share."""

from collections.abc import Iterator

import pytest

from tests.databases import postgresql


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """An empty PostgreSQL's URL."""
    with postgresql() as url:
        yield url
