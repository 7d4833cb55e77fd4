"""The list of instances, with one among them that can't be read."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.instance import Instance, default_options, save_instance
from installer.listing import Listed, list_at, to_text


@pytest.fixture
def here() -> Iterator[Path]:
    """Return a directory whose path is short enough for a data directory."""
    with tempfile.TemporaryDirectory(prefix="vic-") as name:
        yield Path(name)


def test_an_instance_that_cannot_be_read_hides_no_other(here: Path) -> None:
    good, bad, gone = here / "good", here / "bad", here / "gone"
    for path in (good, bad):
        path.mkdir()
    options = default_options(good)
    save_instance(Instance(good, "beef0123", 7, options))
    (bad / "instance.json").write_text('{"instance_id": "feed0123", "slot": 8}')

    listed = [line for line in list_at([gone, good, bad]) if line.data_dir.startswith(str(here))]

    assert listed == [
        Listed("-", "unreadable", "-", str(bad)),
        Listed("beef0123", "stopped", options.host, str(good)),
    ]
    assert to_text(listed).splitlines()[1].split() == ["-", "unreadable", "-", str(bad)]
