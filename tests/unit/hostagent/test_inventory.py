"""Machines that come, and machines that go."""

import asyncio
import errno
import logging
import os
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from hostagent import inventory as module
from hostagent import leaving
from hostagent.cgroups import MachineGroups
from hostagent.inventory import Inventory, LiveMachine
from hostagent.journal import EXITED, LAUNCHED, ExitCause, Journal
from hostagent.launchpad import Launcher
from hostagent.layout import Layout
from hostagent.machine import MachineKind
from hostagent.outputs import Outputs
from hostagent.records import RecordStore
from hostagent.users import MachineUsers
from tests.unit.hostagent.test_records import RECORD

EXIT = b'{"exit_code": 0}\n'


class Groups:
    """Of a host that has none."""

    def machines(self) -> set[str]:
        """Return none."""
        return set()

    def remove(self, name: str) -> None:
        """Remove nothing."""


@dataclass
class Place:
    """The part of a layout that an inventory looks at."""

    sockets: Path


@dataclass
class Instance:
    """An inventory and what it writes into."""

    inventory: Inventory
    outputs: Outputs
    port: socket.socket

    def launcher(self) -> Launcher:
        """Start what becomes a machine."""
        return Launcher(RECORD.uid, RECORD.group, ["/bin/sleep", "1000"])

    def know(self, launcher: Launcher, kind: MachineKind = RECORD.kind) -> LiveMachine:
        """Know it as a machine."""
        record = replace(RECORD, process=launcher.name, kind=kind)
        self.inventory.records.save(record)
        live = LiveMachine(record, launcher.process)
        self.inventory.add(live, self.port)
        launcher.watch(partial(self.inventory.ended, live))
        return live

    async def events(self, count: int) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the first events of its journal."""
        found = []
        async with asyncio.timeout(60):
            async for event in self.inventory.journal.after(0):
                found.append((event.kind, event.fields))
                if len(found) == count:
                    break
        return found


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    for name in ("consoles", "exits", "machines", "sockets"):
        (tmp_path / name).mkdir()
    outputs = Outputs(tmp_path / "consoles", tmp_path / "exits")
    journal = Journal(tmp_path / "journal.db")
    inventory = Inventory(
        cast(Layout, Place(tmp_path / "sockets")),
        RecordStore(tmp_path / "machines"),
        journal,
        MachineUsers(0),
        cast(MachineGroups, Groups()),
        outputs,
    )
    inventory.recover()
    port, theirs = socket.socketpair()
    port.setblocking(False)
    with theirs:
        yield Instance(inventory, outputs, port)
    inventory.close()
    journal.close()


async def test_a_machine_that_ended_before_it_was_known_is_known_no_more(
    instance: Instance,
) -> None:
    launcher = instance.launcher()
    launcher.process.kill()
    async with asyncio.timeout(60):
        await launcher.process.ended.wait()
    live = instance.know(launcher)
    assert live.gone.is_set()
    assert instance.inventory.find("m") is None
    assert list(instance.inventory.records.load()) == []
    assert [kind for kind, _ in await instance.events(2)] == [LAUNCHED, EXITED]


async def test_what_ends_before_anybody_watches_is_nobodys_exit(instance: Instance) -> None:
    launcher = instance.launcher()
    await launcher.end()
    assert not instance.inventory.journal.knows("m", "1")


async def test_a_machine_that_powers_off_and_stays_is_ended(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "LEAVE_SECONDS", 0.0)
    port = instance.outputs.open_exit("m")
    live = instance.know(instance.launcher())
    os.write(port, EXIT * 2)
    async with asyncio.timeout(60):
        await live.gone.wait()
    os.close(port)
    (_, _), (kind, fields) = await instance.events(2)
    assert (kind, fields["cause"]) == (EXITED, ExitCause.KILLED)


async def test_a_machine_that_was_found_again_has_the_rest_of_its_time(
    instance: Instance,
) -> None:
    port = instance.outputs.open_exit("m")
    live = instance.know(instance.launcher())
    os.write(port, EXIT)
    os.utime(port, (0, 0))
    instance.inventory.close()
    assert not live.gone.is_set()
    instance.inventory.recover()
    found = instance.inventory.find("m")
    assert found is not None
    async with asyncio.timeout(60):
        await found.gone.wait()
    os.close(port)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [(MachineKind.COLD, True), (MachineKind.CLONE, True), (MachineKind.READY, False)],
)
async def test_a_containers_machine_whose_qemu_was_upgraded_meanwhile_is_counted(
    instance: Instance, tmp_path: Path, kind: MachineKind, *, counts: bool
) -> None:
    path = tmp_path / "qemu"
    shutil.copy("/bin/sleep", path)
    live = instance.know(Launcher(RECORD.uid, RECORD.group, [str(path), "1000"]), kind)

    def outdated() -> int:
        status = path.stat()
        return instance.inventory.outdated((status.st_dev, status.st_ino))

    assert outdated() == 0
    shutil.copy("/bin/sleep", tmp_path / "newer")
    (tmp_path / "newer").rename(path)
    assert outdated() == counts
    await instance.inventory.end(live, ExitCause.KILLED)
    assert outdated() == 0


async def test_an_exit_that_was_found_is_recorded_when_the_disk_has_room(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: Any, **_fields: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    inventory = instance.inventory
    inventory.records.save(RECORD)
    os.write(instance.outputs.open_exit("m"), EXIT)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        patch.setattr(module, "RETRY_SECONDS", 0.0)
        inventory.recover()
        live = inventory.find("m")
        assert live is not None
        inventory.kill(live, ExitCause.KILLED)
        for _ in range(3):
            await asyncio.sleep(0)
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "the end of m can't be recorded yet: database or disk is full"
    ]
    async with asyncio.timeout(60):
        await live.gone.wait()
    assert inventory.find("m") is None
    assert list(inventory.records.load()) == []
    ((kind, fields),) = await instance.events(1)
    assert (kind, fields["cause"]) == (EXITED, ExitCause.HOST_RESTARTED)
    (event,) = inventory.journal._read(0)
    assert event.record == EXIT


async def test_a_machine_is_killed_also_where_the_disk_is_full(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    live = instance.know(instance.launcher())
    monkeypatch.setattr(RecordStore, "save", full)
    async with asyncio.timeout(60):
        await instance.inventory.end(live, ExitCause.VIOLATION)
    (_, _), (kind, fields) = await instance.events(2)
    assert (kind, fields["cause"]) == (EXITED, ExitCause.VIOLATION)
