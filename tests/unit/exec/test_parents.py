"""How a parent's device state is taken from QEMU."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from portlayer.errors import Unavailable
from services.exec.drivers.qemu import parents as module
from services.exec.drivers.qemu.parents import MAX_STATE, _save


@dataclass
class PlayedQemu:
    """Writes a state to what it is handed, as a QEMU does that migrates."""

    state: bytes
    said: list[str] = field(default_factory=list)
    descriptor: int = -1
    writing: asyncio.Task[None] | None = None

    async def execute(self, command: str, arguments: Any = None, *, descriptor: int = -1) -> None:
        self.said.append(command)
        if command == "getfd":
            self.descriptor = os.dup(descriptor)
            assert stat.S_ISSOCK(os.fstat(self.descriptor).st_mode)
        if command == "migrate":
            self.writing = asyncio.create_task(asyncio.to_thread(self._write))

    async def wait_for_migration(self) -> None:
        assert self.writing is not None
        await self.writing

    def _write(self) -> None:
        with suppress(BrokenPipeError), open(self.descriptor, "wb") as file:
            file.write(self.state)


def played(monkeypatch: pytest.MonkeyPatch, state: bytes) -> PlayedQemu:
    qemu = PlayedQemu(state)

    @asynccontextmanager
    async def connect(path: str) -> AsyncIterator[PlayedQemu]:
        yield qemu

    monkeypatch.setattr(module, "connect", connect)
    return qemu


async def test_the_device_state_comes_whole_by_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is what later versions of QEMU may refuse."""
    qemu = played(monkeypatch, os.urandom(600_000))
    assert await _save("qmp") == qemu.state
    assert (qemu.said[0], qemu.said[-1]) == ("stop", "quit")


async def test_a_state_that_is_none_or_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, b"")
    with pytest.raises(Unavailable, match="no device state"):
        await _save("qmp")
    qemu = played(monkeypatch, bytes(MAX_STATE + 1))
    with pytest.raises(Unavailable, match="above"):
        await _save("qmp")
    assert qemu.writing is not None
    await asyncio.wait([qemu.writing])
