"""`vic down` where facets are containers, which are Docker's to stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from installer import down
from installer.down import take_down
from installer.errors import NotRunningError, PreconditionError
from installer.instance import AS_CONTAINERS, Instance, Options, save_instance
from installer.processes import ProcessName
from portlayer.errors import Unavailable
from portlayer.identity import Role


class Host:
    """A machine with an instance: what runs on it, and what was done to it."""

    def __init__(self, data_dir: Path) -> None:
        options = Options(host=f"unix://{data_dir}/run/docker.sock", facets=AS_CONTAINERS)
        self.instance = Instance(data_dir, "0a1b2c3d", 3, options)
        self.facets: list[str] = []
        self.has_slot = True
        self.ours = True
        self.machines = 0
        self.stops: Callable[[], bool] = lambda: True
        self.done: list[str] = []
        self.said: list[str] = []
        save_instance(self.instance)
        self.instance.run_dir.mkdir()
        self.instance.socket(Role.HOSTAGENT).touch()

    def refused(self) -> str:
        """Take it down, which must be refused; return why."""
        with pytest.raises(PreconditionError) as refused:
            take_down(self.instance.data_dir, self.said.append)
        return str(refused.value)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)

    async def stop_containers(instance: Instance, say: object) -> bool:
        made.done.append("stopped")
        return made.stops()

    async def kill_machines(instance: Instance) -> bool:
        made.done.append("killed")
        return True

    async def count_machines(instance: Instance) -> int:
        return made.machines

    def tear_down(*_: object) -> list[str]:
        made.done.append("swept")
        return []

    def ask(*_: object) -> Any:
        raise NotRunningError("no watcher")

    running = [ProcessName(1, 1)]
    for name, fake in {
        "require_root": lambda _: None,
        "ask": ask,
        "holds_slot": lambda *_: made.has_slot,
        "facet_processes": lambda _: running if made.facets else [],
        "in_containers_of": lambda _, processes: processes if made.ours else [],
        "kinds": lambda processes, _: made.facets if processes else [],
        "stop_containers": stop_containers,
        "kill_machines": kill_machines,
        "count_machines": count_machines,
        "tear_down": tear_down,
    }.items():
        monkeypatch.setattr(down, name, fake)
    return made


def test_facets_are_left_to_docker_and_the_containers_stopped(host: Host) -> None:
    host.facets = ["database", "exec"]
    assert host.refused() == (
        "the containers are stopped, and database, exec still there: run `docker compose "
        f"--env-file {host.instance.data_dir}/compose.env down`, and `vic down` again"
    )
    assert host.done == ["stopped"]
    host.facets = []
    take_down(host.instance.data_dir, host.said.append)
    assert host.done == ["stopped", "killed", "swept"]
    assert host.said == []


def away() -> bool:
    raise Unavailable("exec does not answer")


@pytest.mark.parametrize("stops", [lambda: False, away])
def test_containers_that_did_not_stop_are_not_said_to_have(
    host: Host, stops: Callable[[], bool]
) -> None:
    host.facets, host.stops = ["exec"], stops
    assert host.refused().startswith("exec still there: run ")
    assert host.done == ["stopped"]
    assert "killed" not in "".join(host.said)


def test_one_that_is_slow_is_neither_killed_nor_are_its_machines(host: Host) -> None:
    host.facets = ["storage"]
    assert "storage still there" in host.refused()
    assert host.done == []


def test_machines_that_nobody_can_stop_in_order_are_told_of(host: Host) -> None:
    host.machines = 2
    take_down(host.instance.data_dir, host.said.append)
    assert [line for line in host.said if "2 virtual machines of theirs still run" in line]


def test_facets_that_docker_started_with_the_machine_are_left_to_it(host: Host) -> None:
    host.facets, host.has_slot = ["exec"], False
    assert "exec still there" in host.refused()
    host.ours, host.done = False, []
    take_down(host.instance.data_dir, host.said.append)
    assert "stopped" not in host.done
