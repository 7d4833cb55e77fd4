"""The control stream: events go up to interaction, commands come down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from vic.tether.v1.health_pb2 import Health
from vic.tether.v1.tether_pb2 import (
    ConnectRequest,
    ConnectResponse,
    Hello,
    ProcessStarted,
    ProcessState,
)

if TYPE_CHECKING:
    # Exists for type checkers alone.
    from vic.tether.v1.tether_pb2_grpc import TetherServiceAsyncStub

from tether import VERSION
from tether.agent.backoff import Backoff

# Events waiting to be sent: start and end of as many processes as interaction lets a tether have
# (4096), and answers to commands, of which it may have sent some without reading.
_MOST_WAITING = 2 * 4096 + 1024


class ControlStream:
    """One control stream after the other, for the life of the VM."""

    def __init__(
        self,
        boot_id: str,
        states: Callable[[], Iterable[ProcessState]],
        obey: Callable[[ConnectResponse], None],
        on_end: Callable[[], None] = lambda: None,
        health: Callable[[], Health | None] = lambda: None,
    ) -> None:
        """``states`` and ``health`` give what a Hello tells, ``obey`` is called with each command.

        ``on_end`` is called whenever a stream has ended.
        """
        self._boot_id = boot_id
        self._states = states
        self._obey = obey
        self._on_end = on_end
        self._health = health
        self._events: asyncio.Queue[ConnectRequest] = asyncio.Queue(_MOST_WAITING)
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.disconnected.set()

    @property
    def idle(self) -> bool:
        """Whether there is a stream, and nothing waits to be sent on it."""
        return self.connected.is_set() and self._events.empty()

    def tell(self, event: ConnectRequest) -> None:
        """Send an event on the present stream; without one it is left to the next Hello."""
        if self.connected.is_set():
            self._events.put_nowait(event)

    async def serve(self, stub: TetherServiceAsyncStub) -> None:
        """Keep a stream open for ever."""
        backoff = Backoff()
        while True:
            call = stub.Connect(wait_for_ready=True)
            try:
                await self._stream(call, backoff)
            finally:
                self.connected.clear()
                self.disconnected.set()
                self._on_end()
                call.cancel()
            await asyncio.sleep(backoff.delay())

    async def _stream(
        self, call: grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse], backoff: Backoff
    ) -> None:
        hello = Hello(
            boot_id=self._boot_id,
            kernel_release=os.uname().release,
            tether_version=VERSION,
            processes=self._states(),
            health=self._health(),
        )
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send(call, ConnectRequest(hello=hello)))
            try:
                async for response in call:
                    if response.WhichOneof("message") == "welcome":
                        backoff.reset()
                        self.disconnected.clear()
                        self.connected.set()
                        self._tell_news(hello)
                    else:
                        self._obey(response)
            except grpc.aio.AioRpcError:
                return  # whatever the end was, a new stream follows after the back-off
            finally:
                sending.cancel()

    def _tell_news(self, hello: Hello) -> None:
        """Tell what has become of processes and health since a Hello was made.

        It may have waited for interaction for long, and nothing else was told meanwhile.
        """
        told = {state.process_id: state for state in hello.processes}
        for state in self._states():
            former = told.get(state.process_id)
            if former is None:
                started = ProcessStarted(
                    process_id=state.process_id, pid=state.pid, started_at=state.started_at
                )
                self.tell(ConnectRequest(started=started))
            if state.HasField("exited") and (former is None or not former.HasField("exited")):
                self.tell(ConnectRequest(exited=state.exited))
        health = self._health()
        if health is not None and health != hello.health:
            self.tell(ConnectRequest(health=health))

    async def _send(
        self,
        call: grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse],
        hello: ConnectRequest,
    ) -> None:
        while not self._events.empty():
            self._events.get_nowait()  # answers to a former stream's commands
        try:
            await call.write(hello)
            while True:
                await call.write(await self._events.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the stream has ended, as its reader is told
