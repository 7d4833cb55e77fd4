"""A client of the QEMU Machine Protocol: commands with their answers, events as they come.

Source: https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

import array
import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

from portlayer.errors import Reason, Unavailable

# Longest line that QEMU sends: query-qmp-schema's answer has some 200 KiB.
MAX_LINE = 4 * 1024 * 1024
# Events that nobody asked for are dropped beyond this number.
MAX_EVENTS = 1000


class QmpError(Unavailable):
    """QEMU refused a command, or went away."""

    default_reason = Reason.HYPERVISOR_FAILED


class RunState(Enum):
    """State of the connection."""

    # The greeting was answered; commands may be sent.
    RUNNING = "running"
    # Either side has closed; only close() is left.
    CLOSED = "closed"


class Qmp:
    """A connection to one QEMU. Made by :func:`connect`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._events: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()
        self._failure: QmpError | None = None
        self._sending = asyncio.Lock()
        self.state = RunState.RUNNING

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        descriptor: int | None = None,
    ) -> Any:
        """Send a command, with a descriptor where it takes one, and return its answer.

        Raises QmpError when QEMU refuses it or goes away.
        """
        if self.state is RunState.CLOSED:
            raise self._failure or QmpError(f"{command}: the QMP connection is closed")
        self._next_id += 1
        number = self._next_id
        message: dict[str, Any] = {"execute": command, "id": number}
        if arguments:
            message["arguments"] = arguments
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            await self._send(json.dumps(message).encode() + b"\n", descriptor)
            reply = await answer
        finally:
            self._answers.pop(number, None)
        if "error" in reply:
            raise QmpError(f"{command}: {reply['error']['desc']}")
        return reply["return"]

    async def _send(self, data: bytes, descriptor: int | None) -> None:
        loop = asyncio.get_running_loop()
        async with self._sending:
            if descriptor is not None:
                # Ancillary data goes with the first byte; the socket's buffer is empty between
                # commands, so that this one byte is always taken at once.
                rights = array.array("i", [descriptor])
                self._socket.sendmsg(
                    [data[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights.tobytes())]
                )
                data = data[1:]
            await loop.sock_sendall(self._socket, data)

    async def wait_for(self, name: str, **data: Any) -> dict[str, Any]:
        """Return the data of the first event of a name whose data has these items; take it away.

        Raises QmpError when QEMU goes away.
        """
        while True:
            for index, event in enumerate(self._events):
                found = event["data"]
                if event["event"] == name and all(found.get(k) == v for k, v in data.items()):
                    del self._events[index]
                    return dict(found)
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()

    async def wait_for_migration(self) -> None:
        """Return when a migration, in or out, has completed; needs the capability ``events``.

        Raises QmpError when it fails.
        """
        while True:
            status = (await self.wait_for("MIGRATION")).get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise QmpError(f"the migration {status}")

    async def read(self) -> None:
        """Take in what QEMU sends until it closes; runs beside the commands."""
        loop = asyncio.get_running_loop()
        detail = "QEMU closed the QMP connection"
        try:
            while data := await loop.sock_recv(self._socket, 65536):
                self._buffer += data
                *lines, rest = self._buffer.split(b"\n")
                if len(rest) > MAX_LINE:
                    detail = "QEMU sent a line that is too long"
                    break
                self._buffer = rest
                for line in lines:
                    if line.strip():
                        self._take(json.loads(line))
        except (OSError, ValueError, RecursionError) as error:
            detail = f"the QMP connection failed: {error}"
        self._fail(QmpError(detail))

    def _take(self, message: Any) -> None:
        """Take in a message. Raises ValueError when it is none: QEMU isn't trusted."""
        match message:
            case {"event": str(), "data": dict()}:
                self._keep(message)
            case {"event": str()}:
                self._keep({**message, "data": {}})
            case {"id": int(number), "return": _} | {"id": int(number), "error": {"desc": str()}}:
                answer = self._answers.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case {"QMP": _}:
                return  # the greeting
            case _:
                raise ValueError("QEMU sent what is no message of its protocol")

    def _keep(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        del self._events[:-MAX_EVENTS]
        self._arrived.set()

    def _fail(self, error: QmpError) -> None:
        self.state = RunState.CLOSED
        self._failure = error
        self._arrived.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    def close(self) -> None:
        """Close the connection; QEMU runs on."""
        self._fail(self._failure or QmpError("the QMP connection was closed"))
        self._socket.close()


async def command(path: str, name: str, within: float = 30.0) -> Any:
    """Have a QEMU do one command, and return its answer.

    Raises QmpError, also when it doesn't answer in time.
    """
    try:
        async with asyncio.timeout(within), connect(path) as qmp:
            return await qmp.execute(name)
    except TimeoutError as error:
        raise QmpError(f"{name}: QEMU did not answer") from error


@asynccontextmanager
async def connect(path: str, within: float = 10.0) -> AsyncIterator[Qmp]:
    """Connect to a QEMU's QMP socket and negotiate.

    Raises QmpError when it can't be reached or doesn't greet in time.
    """
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    qmp = Qmp(connection)
    try:
        try:
            async with asyncio.timeout(within):
                await loop.sock_connect(connection, path)
        except (OSError, TimeoutError) as error:
            raise QmpError(f"cannot connect to QEMU: {error}") from error
        reader = asyncio.create_task(qmp.read(), name="qmp")
        try:
            try:
                async with asyncio.timeout(within):
                    await qmp.execute("qmp_capabilities")
            except TimeoutError as error:
                raise QmpError("QEMU did not answer on its QMP socket") from error
            yield qmp
        finally:
            reader.cancel()
            await asyncio.wait([reader])
    finally:
        qmp.close()
