"""Claims to the machine's instance slots."""

from pathlib import Path
from typing import Any

import pytest

from installer import slots
from installer.errors import PreconditionError
from installer.processes import ProcessName
from installer.slots import SlotClaim, SlotOwner, lock_again


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "processes_of_slot", lambda slot: [])
    monkeypatch.setattr(slots, "facet_processes", lambda slot: [])


def claim_slot(
    instance_id: str, data_dir: Path, remembered: int | None, slots_dir: Path
) -> SlotClaim:
    """Claim a slot on a host where nothing was left in any."""
    return slots.claim_slot(instance_id, data_dir, remembered, lambda *_: True, slots_dir)


def test_instances_side_by_side_get_slots_of_their_own(tmp_path: Path) -> None:
    first = claim_slot("aaaaaaaa", Path("/a"), None, tmp_path)
    second = claim_slot("bbbbbbbb", Path("/b"), None, tmp_path)
    assert (first.slot, second.slot) == (0, 1)
    first.drop()
    second.drop()


def test_an_instance_gets_its_remembered_slot_again(tmp_path: Path) -> None:
    claim = claim_slot("aaaaaaaa", Path("/a"), 9, tmp_path)
    assert claim.slot == 9
    claim.drop()


def test_a_remembered_slot_that_is_taken_is_replaced(tmp_path: Path) -> None:
    other = claim_slot("bbbbbbbb", Path("/b"), 9, tmp_path)
    claim = claim_slot("aaaaaaaa", Path("/a"), 9, tmp_path)
    assert claim.slot == 0
    claim.drop()
    other.drop()


def test_a_slot_is_free_when_its_last_holder_is_gone(tmp_path: Path) -> None:
    claim_slot("aaaaaaaa", Path("/a"), None, tmp_path).drop()
    claim = claim_slot("bbbbbbbb", Path("/b"), None, tmp_path)
    assert claim.slot == 0
    claim.drop()


def test_what_a_killed_instance_left_goes_before_its_slot_is_anothers(tmp_path: Path) -> None:
    claim_slot("aaaaaaaa", Path("/a"), None, tmp_path).drop()
    asked: list[tuple[int, SlotOwner | None]] = []

    def clear(slot: int, former: SlotOwner | None) -> bool:
        asked.append((slot, former))
        return slot == 1

    own = slots.claim_slot("aaaaaaaa", Path("/a"), 0, clear, tmp_path)
    assert own.slot == 0
    assert asked == []  # what it left itself it takes up again
    own.drop()
    other = slots.claim_slot("bbbbbbbb", Path("/b"), None, clear, tmp_path)
    assert asked == [(0, SlotOwner("aaaaaaaa", Path("/a"))), (1, None)]
    assert other.slot == 1
    other.drop()


def test_a_slot_with_anothers_processes_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_slot("aaaaaaaa", Path("/a"), None, tmp_path).drop()
    left = {0: [ProcessName(1, 1)]}
    monkeypatch.setattr(slots, "processes_of_slot", lambda slot: left.get(slot, []))
    other = claim_slot("bbbbbbbb", Path("/b"), None, tmp_path)
    own = claim_slot("aaaaaaaa", Path("/a"), 0, tmp_path)
    assert (other.slot, own.slot) == (1, 0)
    other.drop()
    own.drop()


@pytest.fixture
def facets(monkeypatch: pytest.MonkeyPatch) -> list[ProcessName]:
    """Processes of facets in slot 9: the one of ID 1 is in a container of /a's."""
    there = [ProcessName(1, 1)]
    for found in ("processes_of_slot", "facet_processes"):
        monkeypatch.setattr(slots, found, lambda slot: list(there) if slot == 9 else [])

    def in_containers_of(data_dir: Path, processes: list[ProcessName]) -> list[ProcessName]:
        return [one for one in processes if data_dir == Path("/a") and one.pid == 1]

    monkeypatch.setattr(slots, "in_containers_of", in_containers_of)
    monkeypatch.setattr(slots, "kinds", lambda processes, slot: ["exec"] * len(processes))
    return there


def test_facets_that_docker_started_with_the_machine_keep_their_slot(
    facets: list[ProcessName], tmp_path: Path
) -> None:
    def clear(slot: int, former: SlotOwner | None) -> bool:
        raise AssertionError("they would be killed")

    other = claim_slot("bbbbbbbb", Path("/b"), 9, tmp_path)
    own = slots.claim_slot("aaaaaaaa", Path("/a"), 9, clear, tmp_path)
    assert (other.slot, own.slot) == (0, 9)
    other.drop()
    own.drop()


@pytest.mark.parametrize("case", ["another's lock", "another's record", "another's facet"])
def test_a_slot_in_which_facets_run_is_not_changed_for_another(
    facets: list[ProcessName], tmp_path: Path, case: str
) -> None:
    if case == "another's facet":
        facets.append(ProcessName(2, 2))
    else:
        kept, facets[:] = list(facets), []
        other = claim_slot("bbbbbbbb", Path("/b"), 9, tmp_path)
        facets[:] = kept
        if case == "another's record":
            other.drop()
    with pytest.raises(PreconditionError, match=r"\(exec\), and slot 9 .*`docker compose down`"):
        claim_slot("aaaaaaaa", Path("/a"), 9, tmp_path)
    assert not (tmp_path / "0").exists()
    if case == "another's lock":
        other.drop()


def test_a_claim_that_the_own_host_agent_holds_is_joined(tmp_path: Path) -> None:
    agent = claim_slot("aaaaaaaa", Path("/a"), None, tmp_path)
    watcher = claim_slot("aaaaaaaa", Path("/a"), 0, tmp_path)
    assert watcher.slot == 0
    agent.drop()
    lock_again(watcher.descriptor)
    other = claim_slot("bbbbbbbb", Path("/b"), 0, tmp_path)
    assert other.slot == 1
    watcher.drop()
    other.drop()


def test_a_claim_that_is_given_up_while_it_is_looked_at_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = claim_slot("aaaaaaaa", Path("/a"), None, tmp_path)
    stays = claim_slot("bbbbbbbb", Path("/b"), None, tmp_path)
    opened = Path.open

    def open_late(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == gone.path:
            path.unlink()
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", lambda path: opened(path).read())
    monkeypatch.setattr(Path, "open", open_late)
    assert slots.data_dirs(tmp_path) == [Path("/b")]
    gone.drop()
    stays.drop()


def test_a_copied_data_directory_does_not_run_beside_its_original(tmp_path: Path) -> None:
    original = claim_slot("aaaaaaaa", Path("/a"), None, tmp_path)
    with pytest.raises(PreconditionError, match="/copy is a copy of /a"):
        claim_slot("aaaaaaaa", Path("/copy"), 0, tmp_path)
    original.drop()
    claim_slot("aaaaaaaa", Path("/copy"), 0, tmp_path).drop()


def test_all_slots_taken_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SLOTS", 1)
    only = claim_slot("aaaaaaaa", Path("/a"), None, tmp_path)
    with pytest.raises(PreconditionError, match="slots of this machine are taken"):
        claim_slot("bbbbbbbb", Path("/b"), None, tmp_path)
    only.drop()


def test_a_slot_whose_file_goes_while_it_is_cleared_is_claimed_anew(tmp_path: Path) -> None:
    claim_slot("aaaaaaaa", Path("/a"), None, tmp_path).drop()
    cleared: list[SlotOwner | None] = []

    def clear(slot: int, former: SlotOwner | None) -> bool:
        cleared.append(former)
        if former is not None:
            (tmp_path / str(slot)).unlink()
        return True

    claim = slots.claim_slot("bbbbbbbb", Path("/b"), 0, clear, tmp_path)
    assert (claim.slot, cleared) == (0, [SlotOwner("aaaaaaaa", Path("/a")), None])
    assert slots.data_dirs(tmp_path) == [Path("/b")]
    other = claim_slot("cccccccc", Path("/c"), 0, tmp_path)
    assert other.slot == 1
    claim.drop()
    other.drop()
