"""The RPC shell towards tethers: who calls, decode, call, encode; nothing else.

Nothing that comes from a tether is trusted. The container is the one that its certificate names, or
the one that exec has given it to; messages are small, streams few, and taken in no faster than is
good for the others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from vic.tether.v1 import tether_pb2, tether_pb2_grpc

from portlayer.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
)
from portlayer.identity import current_peer
from services.interaction.control import ControlStream
from services.interaction.output import MAX_CHUNK
from services.interaction.processes import LaunchFailure
from services.interaction.race import Closing, until_first
from services.interaction.registry import Sessions
from services.interaction.sessions import MAX_PROCESSES, Session
from services.interaction.stdio import StdioConnection
from services.interaction.store import Exit, Given
from services.interaction.timestamps import to_ns
from services.interaction.waiting import WaitingTethers, waits_by_name

log = logging.getLogger("vic.interaction.tethers")

Context = grpc.aio.ServicerContext[Any, Any]

# A chunk and its envelope; a Hello with some thousand processes.
MAX_MESSAGE_BYTES: Final = MAX_CHUNK + 64 * 1024
# Control, a stream for each of a hundred processes, some archives.
MAX_STREAMS: Final = 128
# Between the beginning of a stream and its first message.
FIRST_MESSAGE_SECONDS: Final = 10.0


class TetherServicer(tether_pb2_grpc.TetherServiceServicer):
    """Serves vic.tether.v1.TetherService."""

    def __init__(self, sessions: Sessions, tethers: WaitingTethers, closing: Closing) -> None:
        self._sessions = sessions
        self._tethers = tethers
        self._closing = closing

    async def Connect(  # type: ignore[override] # reads and writes the context
        self, request_iterator: object, context: Context
    ) -> None:
        """See the contract."""
        caller = current_peer.get().subject
        if not waits_by_name(caller):
            async with self._entered(caller) as session:
                hello = await _hello(context)
                await self._serve(session, hello.boot_id, hello, context)
            return
        given = await self._tethers.given(caller)
        hello = await _hello(context)
        welcomed = given is None
        if given is None:
            given = await self._until_given(caller, context)
        async with self._entered(given.container_id) as session:
            # The boot that it names is its own name's: whose it is now, exec has said.
            await self._serve(session, given.boot_id, hello, context, welcomed=welcomed)

    async def _until_given(self, tether_id: str, context: Context) -> Given:
        """Hold the stream of a tether that is nobody's; return whose it has become."""
        with self._tethers.wait(tether_id) as waiting:
            # From here on no gift is missed; one that came before is on record.
            given = await self._tethers.given(tether_id)
            await _welcome(context)
            if given is None:
                log.info("a tether waits here", extra={"tether": tether_id})
                await until_first(_settled(waiting), self._closing.watch())
                given = waiting.result()
        return given

    async def _serve(
        self,
        session: Session,
        boot_id: str,
        hello: tether_pb2.Hello,
        context: Context,
        *,
        welcomed: bool = False,
    ) -> None:
        """Serve a container's control stream to its end."""
        control = ControlStream(session.container_id, boot_id, hello.kernel_release)
        link = _Link(session, control, context, welcomed=welcomed)
        session.connect(control)
        log.info(
            "a tether is here",
            extra={"container": session.container_id, "boot": boot_id},
        )
        try:
            await until_first(link.run(hello), self._closing.watch())
        finally:
            session.disconnect(control, Unavailable("the stream has ended"))

    async def Stdio(  # type: ignore[override] # reads and writes the context
        self, request_iterator: object, context: Context
    ) -> None:
        """See the contract."""
        caller = current_peer.get().subject
        given: Given | None = None
        if waits_by_name(caller) and (given := await self._tethers.given(caller)) is None:
            raise FailedPrecondition("this tether is no container's")
        async with self._entered(caller if given is None else given.container_id) as session:
            first = await _first(context)
            if first.WhichOneof("message") != "open":
                raise InvalidArgument("the first message is not StdioOpen")
            boot_id = first.open.boot_id if given is None else given.boot_id
            if boot_id != session.boot_id:
                raise FailedPrecondition("this is not the container's present boot")
            process = session.processes.get(first.open.process_id)
            if process is None:
                raise NotFound("no such process", Reason.NOT_RUNNING)
            connection = StdioConnection(
                process.streams, session.pace, _reader(context), context.write
            )
            await until_first(connection.run(first.open.stdin_offset), self._closing.watch())

    @asynccontextmanager
    async def _entered(self, container_id: str) -> AsyncIterator[Session]:
        """Yield a caller's container, with this stream counted."""
        session = self._sessions.find(container_id)
        if session is None:
            raise FailedPrecondition(
                f"container {container_id} is not registered", Reason.CONTAINER_NOT_FOUND
            )
        session.enter(MAX_STREAMS)
        try:
            yield session
        finally:
            session.leave()


class _Link:
    """One control stream in action."""

    def __init__(
        self, session: Session, control: ControlStream, context: Context, *, welcomed: bool
    ) -> None:
        self._session = session
        self._control = control
        self._context = context
        self._welcomed = welcomed
        self._boot_id = control.boot_id

    async def run(self, hello: tether_pb2.Hello) -> None:
        """Serve the stream to its end."""
        async with asyncio.TaskGroup() as group:
            if self._session.boot_id == self._boot_id:
                await self._take_hello(hello, group)
                await self._welcome()
                sending = group.create_task(self._send())
            else:
                await self._welcome()
                sending = group.create_task(self._send())
                await self._adopted()
                await self._take_hello(hello, group)
            self._session.usage.connected(self._control)
            while (message := await _read(self._context)) is not None:
                await self._session.pace.message()
                await self._take(message, group)
            sending.cancel()

    async def _welcome(self) -> None:
        if not self._welcomed:
            await _welcome(self._context)

    async def _adopted(self) -> None:
        """Return when exec has named this boot; before that a tether has nothing to tell."""
        session = self._session
        await session.changed.wait_for(lambda: session.boot_id == self._boot_id)

    async def _send(self) -> None:
        while True:
            await self._context.write(await self._control.next())

    async def _take_hello(self, hello: tether_pb2.Hello, group: asyncio.TaskGroup) -> None:
        if len(hello.processes) > MAX_PROCESSES:
            raise InvalidArgument(f"more than {MAX_PROCESSES} processes")
        session = self._session
        session.welcome(self._boot_id, [state.process_id for state in hello.processes])
        for state in hello.processes:
            await session.started(
                self._boot_id, state.process_id, state.pid, to_ns(state.started_at)
            )
            if state.HasField("exited"):
                group.create_task(self._take_exit(state.exited))
        if hello.HasField("health"):
            await session.take_health(self._boot_id, hello.health)

    async def _take(self, message: tether_pb2.ConnectRequest, group: asyncio.TaskGroup) -> None:
        session = self._session
        match message.WhichOneof("message"):
            case "started":
                started = message.started
                await session.started(
                    self._boot_id, started.process_id, started.pid, to_ns(started.started_at)
                )
            case "launch_failed":
                failed = message.launch_failed
                failure = LaunchFailure(
                    _failure_name(failed.reason), failed.message, failed.exit_code
                )
                await session.failed(self._boot_id, failed.process_id, failure)
            case "exited":
                # It waits for the process's last byte, which must not hold up other messages.
                group.create_task(self._take_exit(message.exited))
            case "result":
                self._control.settle(message.result.command_id, message.result.error)
            case "stats":
                session.usage.take(self._boot_id, message.stats)
            case "health":
                await session.take_health(self._boot_id, message.health)
            case "process_list":
                self._control.take_list(message.process_list)
            case "clock":
                self._control.tell_time(message.clock)
            case _:
                raise InvalidArgument("this message has no place here")

    async def _take_exit(self, exited: tether_pb2.ProcessExited) -> None:
        how = Exit(exited.exit_code & 0xFF, exited.oom_killed, to_ns(exited.finished_at))
        await self._session.exited(self._boot_id, exited.process_id, how)


def _failure_name(reason: tether_pb2.LaunchFailure) -> str:
    """Return an enum's name, also of a number that this release doesn't know."""
    try:
        return tether_pb2.LaunchFailure.Name(reason)
    except ValueError:
        return tether_pb2.LaunchFailure.Name(tether_pb2.LAUNCH_FAILURE_UNSPECIFIED)


async def _read(context: Context) -> Any:
    message = await context.read()
    return None if message is grpc.aio.EOF else message


def _reader(context: Context) -> Callable[[], Awaitable[Any]]:
    async def read() -> Any:
        return await _read(context)

    return read


async def _welcome(context: Context) -> None:
    await context.write(tether_pb2.ConnectResponse(welcome=tether_pb2.Welcome()))


async def _settled(waiting: "asyncio.Future[Given]") -> None:
    """Return when a tether that waits has become somebody's, or has to go."""
    await asyncio.wait([waiting])


async def _hello(context: Context) -> tether_pb2.Hello:
    """Return a control stream's first message. Raises as ``_first``."""
    first = await _first(context)
    if first.WhichOneof("message") != "hello":
        raise InvalidArgument("the first message is not Hello")
    hello: tether_pb2.Hello = first.hello
    return hello


async def _first(context: Context) -> Any:
    """Return a stream's first message. Raises DeadlineExceeded, InvalidArgument without one."""
    try:
        async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
            message = await _read(context)
    except TimeoutError:
        raise DeadlineExceeded("nothing came on this stream") from None
    if message is None:
        raise InvalidArgument("the stream has no first message")
    return message
