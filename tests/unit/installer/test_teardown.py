"""Taking an instance off the host, and nothing of another one."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import slots, sweep, teardown
from installer.endpoint import UnixEndpoint, note_bound
from installer.errors import PreconditionError
from installer.instance import Instance, Options
from installer.slots import SlotClaim, claim_slot

MINE, OTHERS = "0a1b2c3d", "99999999"


@pytest.fixture
def instance() -> Iterator[Instance]:
    with tempfile.TemporaryDirectory() as directory:
        made = Instance(Path(directory), MINE, 3, Options(host=f"unix://{directory}/docker.sock"))
        made.run_dir.mkdir()
        yield made


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What is taken away, on a host that has everything of slot 3."""
    gone: list[str] = []

    def found(*names: str) -> object:
        return lambda *_: [
            sweep.Leftover(name, lambda name=name: gone.append(name))  # type: ignore[misc]
            for name in names
            if name not in gone
        ]

    monkeypatch.setattr(teardown, "_tear_down_networks", lambda instance, say: gone.append("nets"))
    monkeypatch.setattr(sweep, "_processes", found("process"))
    monkeypatch.setattr(sweep, "_interfaces", found("bridge"))
    monkeypatch.setattr(sweep, "_tables", found("table"))
    monkeypatch.setattr(sweep, "_cgroups", found("cgroup"))
    # Suites of other tests may run here meanwhile, in slot 3 as in any other.
    monkeypatch.setattr(slots, "processes_of_slot", lambda slot: [])
    monkeypatch.setattr(teardown, "SLOTS_DIR", tmp_path)
    return gone


def claim(slots_dir: Path, instance_id: str, data_dir: Path) -> SlotClaim:
    """Claim slot 3."""
    return claim_slot(instance_id, data_dir, 3, lambda *_: True, slots_dir)


def test_all_of_an_instance_goes_with_its_slot(
    instance: Instance, removed: list[str], tmp_path: Path
) -> None:
    claim(tmp_path, MINE, instance.data_dir).drop()
    assert teardown.tear_down(instance, print) == []
    assert removed == ["nets", "process", "bridge", "table", "cgroup"]
    assert not (tmp_path / "3").exists()


def test_a_slot_that_is_anothers_by_now_is_left_alone(
    instance: Instance, removed: list[str], tmp_path: Path
) -> None:
    theirs = claim(tmp_path, OTHERS, Path("/var/lib/vic-other"))
    # Both are told of one endpoint; at present it is the other's.
    socket = instance.data_dir / "docker.sock"
    socket.touch()
    assert teardown.tear_down(instance, print) == []
    assert removed == ["table", "cgroup"]
    assert (tmp_path / "3").exists()
    assert socket.exists()
    theirs.drop()


def test_an_instance_that_was_taken_down_before_has_nothing_by_its_slot(
    instance: Instance, removed: list[str]
) -> None:
    assert teardown.tear_down(instance, print) == []
    assert removed == ["table", "cgroup"]


def test_nobody_gets_the_slot_while_it_is_taken_down(
    instance: Instance, removed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path, MINE, instance.data_dir).drop()
    monkeypatch.setattr(slots, "SLOTS", 1)
    tried: list[SlotClaim] = []

    def meanwhile(instance: Instance, say: object) -> None:
        with pytest.raises(PreconditionError, match="slots of this machine are taken"):
            tried.append(claim_slot(OTHERS, Path("/other"), 3, lambda *_: True, tmp_path))

    (tmp_path / "0").touch()
    blocker = claim_slot("88888888", Path("/third"), 0, lambda *_: True, tmp_path)
    monkeypatch.setattr(teardown, "_tear_down_networks", meanwhile)
    assert teardown.tear_down(instance, print) == []
    assert not tried
    claim(tmp_path, OTHERS, Path("/other")).drop()
    blocker.drop()


def test_who_looks_at_the_slot_meanwhile_is_waited_for(
    instance: Instance, removed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = claim(tmp_path, MINE, instance.data_dir)
    monkeypatch.setattr(time, "sleep", lambda seconds: looks.drop())
    assert teardown.tear_down(instance, print) == []
    assert not (tmp_path / "3").exists()


def test_a_slot_that_another_is_just_clearing_is_left_to_it(
    instance: Instance, removed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "LOCK_PAUSE_SECONDS", 0)
    claim(tmp_path, MINE, instance.data_dir).drop()
    told: list[list[str]] = []

    def clear(*_: object) -> bool:
        told.append(teardown.tear_down(instance, print))
        return True

    theirs = claim_slot(OTHERS, Path("/other"), 3, clear, tmp_path)
    assert told == [["slot 3, which another process has locked"]]
    assert (theirs.slot, removed) == (3, ["table", "cgroup"])
    assert slots.holds_slot(OTHERS, Path("/other"), 3, tmp_path)
    assert teardown.tear_down(instance, print) == []
    assert slots.holds_slot(OTHERS, Path("/other"), 3, tmp_path)
    theirs.drop()


def test_who_has_claimed_the_slot_itself_takes_it_down(
    instance: Instance, removed: list[str], tmp_path: Path
) -> None:
    own = claim(tmp_path, MINE, instance.data_dir)
    assert teardown.tear_down(instance, print, own) == []
    assert removed == ["nets", "process", "bridge", "table", "cgroup"]
    assert not (tmp_path / "3").exists()
    own.drop()


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_the_endpoints_socket_goes_where_it_is_the_one_that_was_bound(
    instance: Instance,
    removed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whose: str,
) -> None:
    monkeypatch.setattr("installer.instance.VOLATILE_DIR", tmp_path / "volatile")
    claim(tmp_path, MINE, instance.data_dir).drop()
    endpoint = UnixEndpoint(instance.data_dir / "docker.sock")
    endpoint.listen().close()
    note_bound(endpoint, instance.endpoint_note)
    if whose == "another's":
        endpoint.path.rename(instance.data_dir / "moved")
        endpoint.listen().close()
    assert teardown.tear_down(instance, print) == []
    assert endpoint.path.exists() is (whose == "another's")
