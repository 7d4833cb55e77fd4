"""What holds for the installer's tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory of few letters: pytest's own grow with the test's name, and a data directory's
    path has a bound.
    """
    with tempfile.TemporaryDirectory(prefix="vic-unit-") as directory:
        yield Path(directory)
