"""Templates, each with its forker."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest

from hostagent.forking import templates as module
from hostagent.forking.templates import Templates
from hostagent.inventory import LiveMachine
from hostagent.machine import MachineKind
from hostagent.processes import ProcessName, WatchedProcess
from hostagent.tetherport import TetherState
from tests.unit.hostagent.test_records import RECORD


class Held:
    """A forker whose template may not come to rest."""

    restless: ClassVar[set[int]] = set()

    def __init__(self, pid: int) -> None:
        self.pid = pid

    async def seized(self) -> None:
        """Wait for ever where the template doesn't rest."""
        if self.pid in self.restless:
            await asyncio.Event().wait()

    async def end(self) -> None:
        """Let go of it."""


@pytest.fixture
def processes() -> Iterator[list["subprocess.Popen[bytes]"]]:
    made = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    yield made
    for process in made:
        process.kill()
        process.wait()


def template(process: "subprocess.Popen[bytes]") -> LiveMachine:
    record = replace(
        RECORD,
        machine_id=f"template-{process.pid}",
        kind=MachineKind.TEMPLATE,
        tether_state=TetherState.WARM,
        process=ProcessName.of(process.pid),
    )
    watched = WatchedProcess(os.pidfd_open(process.pid), lambda _status: None)
    return LiveMachine(record, watched)


async def test_a_template_that_does_not_rest_keeps_nobody_else_waiting(
    processes: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Forker", Held)
    monkeypatch.setattr(Held, "restless", {processes[0].pid})
    restless, calm = map(template, processes)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        templates = Templates(tasks)
        waiting = tasks.create_task(templates.forker_of(restless))
        await asyncio.sleep(0)
        assert await templates.forker_of(calm) is await templates.forker_of(calm)
        assert not waiting.done()
        waiting.cancel()
        calm.gone.set()
    for live in (restless, calm):
        live.process.abandon()
