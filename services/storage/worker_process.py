"""The pool's side of a worker process; `services.storage.worker` is the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from typing import Any, ClassVar, Self

from portlayer.errors import Internal

_LINE_LIMIT = 1 << 20


class WorkerProcess:
    """A process that takes jobs as lines of JSON, and answers so."""

    program: ClassVar[tuple[str, ...]] = ("-m", "services.storage.worker")
    """What Python runs in it."""

    def __init__(self, transport: asyncio.SubprocessTransport, process: Process) -> None:
        self._transport = transport
        self._process = process

    @classmethod
    async def start(cls) -> Self:
        """Start one and wait until it is ready."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: SubprocessStreamProtocol(_LINE_LIMIT, loop),
            sys.executable,
            *cls.program,
            stdin=PIPE,
            stdout=PIPE,
            stderr=None,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LANG": "C.UTF-8",
            },
        )
        worker = cls(transport, Process(transport, protocol, loop))
        try:
            await worker.receive()
        except BaseException:  # cancelled too: it has no other owner yet
            await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it hasn't ended."""
        return self._process.returncode is None

    async def send(self, message: dict[str, Any]) -> None:
        """Send a line. That the process is gone is for `receive` to tell."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()

    async def receive(self) -> dict[str, Any]:
        """The next answer. Raises Internal when the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            raise Internal(f"the compiler's process ended with code {code}")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    async def dismiss(self) -> None:
        """Let it end, which it does with its input, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        self._transport.close()

    async def end(self) -> None:
        """Kill it and wait for its end."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        # After SIGKILL this takes no time; a second cancellation must not leave a zombie.
        waiting = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.shield(waiting)
        finally:
            self._transport.close()
