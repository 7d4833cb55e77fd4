"""`vic create` on this machine, where what is asked for is refused at its end."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from vic.exec.v1 import exec_pb2

from installer import embedded
from installer.errors import InstallerError, LeftoverError
from installer.instance import Instance, default_options
from installer.vsphere.wishes import VchLimits


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a data directory of allowed length, whose suite comes up at once."""
    with tempfile.TemporaryDirectory(prefix="vic-") as name:
        path = Path(name).resolve() / "vch"
        path.mkdir()
        made = Instance(path, "0a1b2c3d", 0, default_options(path))
        monkeypatch.setattr(embedded, "require_root", lambda _: None)
        monkeypatch.setattr(embedded, "bring_up", lambda _wishes, _say: made)
        monkeypatch.setattr(embedded, "map_recorded", lambda _instance, _say: None)
        yield path


def test_where_its_limits_are_refused_nothing_is_left(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[exec_pb2.ConfigureRequest] = []
    deleted: list[Path] = []

    def refuse(_: Path, request: exec_pb2.ConfigureRequest) -> None:
        asked.append(request)
        raise InstallerError("the memory limit must be between 256 MiB and 2048 MiB")

    monkeypatch.setattr(embedded, "configure", refuse)
    monkeypatch.setattr(embedded, "delete", lambda path, _say, *, force: deleted.append(path))
    with pytest.raises(InstallerError, match="between 256 MiB"):
        embedded.create(data_dir, "one", None, VchLimits(memory_bytes=1 << 50), print)
    assert asked == [exec_pb2.ConfigureRequest(memory_bytes=1 << 50)]
    assert deleted == [data_dir]


def test_why_it_was_refused_is_told_also_where_it_cannot_be_removed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InstallerError("the memory limit must be between 256 MiB and 2048 MiB")

    def fail(*_: object, force: bool) -> None:
        raise LeftoverError("/srv/x could not be removed: busy")

    monkeypatch.setattr(embedded, "configure", refuse)
    monkeypatch.setattr(embedded, "delete", fail)
    said: list[str] = []
    with pytest.raises(InstallerError, match="between 256 MiB"):
        embedded.create(data_dir, "one", None, VchLimits(memory_bytes=1 << 50), said.append)
    (line,) = said
    assert "/srv/x could not be removed: busy" in line
    assert f"vic delete --force --data-dir {data_dir}" in line


def test_interrupted_before_it_has_its_limits_nothing_is_left(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    deleted: list[Path] = []
    monkeypatch.setattr(embedded, "configure", interrupt)
    monkeypatch.setattr(embedded, "delete", lambda path, _say, *, force: deleted.append(path))
    with pytest.raises(KeyboardInterrupt):
        embedded.create(data_dir, "one", None, VchLimits(cpus=1), print)
    assert deleted == [data_dir]


def test_without_limits_nothing_is_configured(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "configure", lambda *_: pytest.fail("nothing was asked for"))
    made = embedded.create(data_dir, "one", None, VchLimits(), print)
    assert made.options.name == "one"
