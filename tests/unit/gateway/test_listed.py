"""Entries of a list are made once, and are those of what there is now."""

import time

import pytest
from vic.exec.v1.container_pb2 import (
    CONTAINER_STATE_EXITED,
    CONTAINER_STATE_RUNNING,
    Container,
    ContainerSpec,
)

from gateway import listed
from gateway.listed import ListedContainers
from gateway.translate.containers import summary_json


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes: what runs since now does so less than a second."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


def container(number: int, labels: dict[str, str] | None = None) -> Container:
    found = Container(id=f"{number:064x}", spec=ContainerSpec(name=f"c{number}", labels=labels))
    found.created_at.seconds = 1_700_000_000
    found.status.state = CONTAINER_STATE_RUNNING
    found.status.started_at.GetCurrentTime()
    return found


def test_what_has_changed_is_told() -> None:
    entries, one = ListedContainers(), container(1)
    first = entries.summary(one)
    assert first == summary_json(one)
    assert list(first) == list(summary_json(one))
    one.status.state, one.spec.name = CONTAINER_STATE_EXITED, "later"
    one.status.finished_at.GetCurrentTime()
    assert entries.summary(one) == summary_json(one)
    assert entries.summary(one)["Names"] == ["/later"]


def test_how_long_it_runs_is_told_as_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    entries, one = ListedContainers(), container(1)
    now = one.status.started_at.seconds
    assert entries.summary(one)["Status"] == "Up Less than a second"
    monkeypatch.setattr(time, "time", lambda: now + 185.0)
    assert entries.summary(one)["Status"] == "Up 3 minutes"


def test_few_entries_are_kept_and_no_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def summary(of: Container) -> dict[str, object]:
        made.append(of.id)
        return summary_json(of)

    monkeypatch.setattr(listed, "KEPT", 2)
    monkeypatch.setattr(listed, "summary_json", summary)
    entries = ListedContainers()
    large = container(9, {"large": "x" * listed.LARGEST_KEPT_BYTES})
    first, second, third = (container(number) for number in (1, 2, 3))
    for one in (first, large, second, third):
        assert entries.summary(one)["Id"] == one.id
    made.clear()
    for one in (second, third, large, first):
        assert entries.summary(one)["Id"] == one.id
    assert made == [large.id, first.id]
