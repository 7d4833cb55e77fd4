"""Instant Clone by hand: a parent whose RAM is a sealed memfd, and clones of it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.tether.interaction import BOUND
from tests.integration.tether.machine import Machine, machine
from tether.bootstrap.image import BootstrapImage

MEMORY = 512 * 1024 * 1024
_SEAL_WRITE = 8  # F_SEAL_WRITE of linux/fcntl.h


class Qmp:
    """A QMP connection; events are dropped but for those that are waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.events: list[str] = []

    @classmethod
    async def connect(cls, path: Path) -> Qmp:
        """Connect and leave negotiation mode; QEMU takes the connection when it has started."""
        async with asyncio.timeout(BOUND):
            reader, writer = await asyncio.open_unix_connection(path)
        qmp = cls(reader, writer)
        await reader.readline()
        await qmp.run("qmp_capabilities")
        return qmp

    async def run(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its answer."""
        request = {"execute": command, "arguments": arguments}
        self._writer.write(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(await self._reader.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer
            self.events.append(answer["event"])

    async def migrated(self) -> None:
        """Wait until the present migration has completed."""
        while True:
            answer = json.loads(await self._reader.readline())
            if answer.get("event") == "MIGRATION":
                assert answer["data"]["status"] != "failed", answer
                if answer["data"]["status"] == "completed":
                    return

    async def prepare(self) -> None:
        """Leave RAM where it is, and tell of progress."""
        capabilities = [
            {"capability": name, "state": True} for name in ("x-ignore-shared", "events")
        ]
        await self.run("migrate-set-capabilities", capabilities=capabilities)

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


@dataclass(frozen=True)
class Parent:
    """A frozen VM: its RAM and the state of its devices."""

    memory: int
    state: Path
    image: BootstrapImage

    def content(self) -> bytes:
        """All of its RAM."""
        return os.pread(self.memory, MEMORY, 0)

    def digest(self) -> bytes:
        """Of all of its RAM."""
        return hashlib.sha256(self.content()).digest()


async def freeze_parent(image: BootstrapImage, directory: Path, **options: Any) -> Parent:
    """Boot a VM until its tether waits, and freeze it."""
    memory = os.memfd_create("parent", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, MEMORY)
    state = directory / "state"
    backend = f"memory-backend-file,id=ram0,size=512M,mem-path=/proc/self/fd/{memory},share=on"
    async with machine(
        image, directory / "parent", None, memory=backend, pass_fds=(memory,), **options
    ) as parent:
        assert (await parent.line())["event"] == "ready"
        qmp = await Qmp.connect(parent.qmp_path)
        await qmp.run("stop")
        await qmp.prepare()
        await qmp.run("migrate", uri=f"exec:cat > {state}")
        await qmp.migrated()
        qmp.close()
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEAL_WRITE)
    return Parent(memory, state, image)


@asynccontextmanager
async def clone(
    parent: Parent, directory: Path, disk: Path | None, **options: Any
) -> AsyncIterator[tuple[Machine, Qmp]]:
    """A clone that is loaded but not running yet: ``cont`` wakes it."""
    number = parent.memory
    backend = f"memory-backend-file,id=ram0,size=512M,mem-path=/proc/self/fd/{number},share=off"
    async with machine(
        parent.image,
        directory,
        disk,
        memory=backend,
        pass_fds=(number,),
        extra=("-incoming", "defer"),
        **options,
    ) as woken:
        qmp = await Qmp.connect(woken.qmp_path)
        await qmp.prepare()
        await qmp.run("migrate-set-parameters", **{"announce-rounds": 0})
        await qmp.run("migrate-incoming", uri=f"exec:cat {parent.state}")
        await qmp.migrated()
        yield woken, qmp
        qmp.close()
