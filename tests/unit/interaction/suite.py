"""A running interaction service, and its clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import (
    interaction_pb2,
    interaction_pb2_grpc,
    process_pb2,
    process_pb2_grpc,
)

from portlayer.client import open_channel
from portlayer.errors import VicError
from portlayer.identity import Credentials, Role
from services.interaction.holding import Reach, Reached
from services.interaction.launch import Launcher
from services.interaction.service import InteractionService
from services.interaction.sessions import not_running
from services.interaction.store import MIGRATIONS
from tests.databases import place_database
from tests.unit.interaction.fake_tether import BOOT, ERR, INIT, OUT, SOON, FakeTether, soon
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

CONTAINER = "c0" * 32
OTHER = "0d" * 32


def give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have launches give up on a tether soon, long before their callers' deadlines."""
    launch: Any = Launcher.launch

    async def impatient(self: Launcher, *arguments: Any, **named: Any) -> Any:
        return await launch(self, *arguments[:-1], 0.5, **named)

    monkeypatch.setattr(Launcher, "launch", impatient)


class FakeHolder:
    """exec, as far as files are concerned: what it would answer is put here."""

    def __init__(self) -> None:
        self.reached: Reached | None = None
        self.asked: list[tuple[str, int, bool]] = []
        self.ended: list[str] = []
        self.holds = 0
        self.error: VicError = not_running(CONTAINER)
        self.taken = asyncio.Event()
        self.there = asyncio.Event()
        self.there.set()

    @asynccontextmanager
    async def held(
        self, container_id: str, volumes: Any, *, image: bool, ended_boot_id: str
    ) -> AsyncIterator[Reach]:
        """Keep files within reach meanwhile."""
        self.asked.append((container_id, volumes, image))
        self.ended.append(ended_boot_id)
        await self.there.wait()
        if self.reached is None:
            raise self.error
        self.holds += 1
        try:
            yield _FakeReach(self, self.reached)
        finally:
            self.holds -= 1


@dataclass(frozen=True)
class _FakeReach:
    holder: FakeHolder
    reached: Reached

    async def lost(self) -> None:
        await self.holder.taken.wait()
        raise self.holder.error


class Suite:
    """The service under test, which can be restarted, and what calls it."""

    def __init__(self, authority: TestAuthority, directory: Path) -> None:
        self.authority = authority
        self.directory = directory
        self._credentials: dict[tuple[Role, str], Credentials] = {}
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: dict[Role, Any] = {}
        self.service: InteractionService | None = None
        self.holder = FakeHolder()

    @property
    def address(self) -> str:
        """Where clients go."""
        return f"unix:{self.directory}/interaction.sock"

    @property
    def tether_address(self) -> str:
        """Where tethers go; a socket file in place of the management network."""
        return f"unix:{self.directory}/tether.sock"

    def credentials(self, role: Role, subject: str = "") -> Credentials:
        """Return a role's certificate."""
        key = (role, subject)
        if key not in self._credentials:
            self._credentials[key] = self.authority.issue(role, subject)
        return self._credentials[key]

    async def start(self) -> None:
        """Start the service on the state there is."""
        place_database(self.directory / "interaction.db", MIGRATIONS)
        self.service = await InteractionService.open(
            self.credentials(Role.INTERACTION),
            INSTANCE,
            f"sqlite:///{self.directory}/interaction.db",
            self.directory,
            self.holder,
        )
        await self.service.serve_clients([self.address])
        await self.service.serve_tethers([self.tether_address])

    async def stop(self) -> None:
        """Stop the service."""
        assert self.service is not None
        await self.service.close()
        self.service = None
        # Their channels would wait before they connect again.
        self._stubs.clear()

    async def restart(self) -> None:
        """Stop and start it."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End everything."""
        for channel in self._channels:
            await channel.close()
        if self.service is not None:
            await self.stop()

    def channel(self, role: Role = Role.GATEWAY, subject: str = "") -> grpc.aio.Channel:
        """Return a new channel."""
        address = self.tether_address if role is Role.TETHER else self.address
        channel = open_channel(address, Role.INTERACTION, INSTANCE, self.credentials(role, subject))
        self._channels.append(channel)
        return channel

    def interaction(
        self, role: Role = Role.GATEWAY
    ) -> "interaction_pb2_grpc.InteractionServiceAsyncStub":
        """Return a stub with the gateway's certificate."""
        if role not in self._stubs:
            self._stubs[role] = interaction_pb2_grpc.InteractionServiceStub(self.channel(role))
        return self._stubs[role]  # type: ignore[no-any-return]

    def processes(self) -> "process_pb2_grpc.ProcessServiceAsyncStub":
        """Return a stub with exec's certificate."""
        if Role.EXEC not in self._stubs:
            self._stubs[Role.EXEC] = process_pb2_grpc.ProcessServiceStub(self.channel(Role.EXEC))
        return self._stubs[Role.EXEC]  # type: ignore[no-any-return]

    def tether(self, container_id: str = CONTAINER) -> "FakeTether":
        """Return the tether of a container, not connected yet."""
        return FakeTether(self.channel(Role.TETHER, container_id))

    async def register(self, container_id: str = CONTAINER, **options: Any) -> None:
        """Make a container known."""
        request = process_pb2.RegisterRequest(container_id=container_id, **options)
        await self.processes().Register(request)

    async def launch(
        self,
        container_id: str = CONTAINER,
        boot_id: str = BOOT,
        process_id: str = INIT,
        timeout: float = SOON,
        tether_id: str = "",
    ) -> process_pb2.LaunchResponse:
        """Run a process."""
        request = process_pb2.LaunchRequest(
            container_id=container_id,
            boot_id=boot_id,
            process_id=process_id,
            process={"args": ["true"], "stdin": True},
            limits={"pids": 7},
            tether_id=tether_id,
        )
        return await self.processes().Launch(request, timeout=timeout)

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator["FakeTether"]:
        """Yield the tether of a container whose init process runs."""
        await self.register(**options)
        tether = self.tether()
        await tether.connect()
        await asyncio.gather(self.launch(), tether.take_launch())
        yield tether

    async def attach(self, container_id: str = CONTAINER, **wish: bool) -> "Attached":
        """Attach a client to a container; it sees all live output unless told otherwise."""
        wish = {"stdout": True, "stderr": True, "stream": True, **wish}
        call: Any = self.interaction().Attach()
        start = interaction_pb2.AttachStart(container_id=container_id, **wish)
        await call.write(interaction_pb2.AttachRequest(start=start))
        ready = await soon(call.read())
        assert ready.WhichOneof("message") == "ready"
        return Attached(call, ready.ready.tty)

    async def logs(self, container_id: str = CONTAINER, **query: Any) -> "list[Any]":
        """Return the entries of a container's log."""
        query = {"stdout": True, "stderr": True, "tail": -1, **query}
        request = interaction_pb2.LogsRequest(container_id=container_id, **query)
        entries: list[Any] = []
        async with asyncio.timeout(SOON):
            async for response in self.interaction().Logs(request):
                entries += response.entries
        return entries

    async def log_text(self, **query: Any) -> bytes:
        """Return the bytes of a container's log."""
        return b"".join(entry.data for entry in await self.logs(**query))


@dataclass
class Attached:
    """A client on a container's streams."""

    call: Any
    tty: bool
    output: dict[Any, bytearray] = field(
        default_factory=lambda: {OUT: bytearray(), ERR: bytearray()}
    )
    input_ended: bool = False

    async def read_some(self) -> bool:
        """Read one message; return whether there was one."""
        message = await soon(self.call.read())
        if message is grpc.aio.EOF:
            return False
        if message.WhichOneof("message") == "input_ended":
            assert not self.input_ended
            self.input_ended = True
        else:
            self.output[message.output.stream] += message.output.data
        return True

    async def finish_input(self) -> None:
        """End the input; return when all of it was handed over."""
        await self.call.done_writing()
        while not self.input_ended:
            assert await self.read_some()

    async def read_until(self, stream: Any, size: int) -> bytes:
        """Read until a stream has given so many bytes."""
        while len(self.output[stream]) < size:
            assert await self.read_some()
        return bytes(self.output[stream])

    async def read_all(self) -> bytes:
        """Read to the end; return standard output. Raises when the call failed."""
        while await self.read_some():
            pass
        assert await self.call.code() is grpc.StatusCode.OK
        return bytes(self.output[OUT])

    async def write(self, data: bytes) -> None:
        """Send input."""
        await self.call.write(interaction_pb2.AttachRequest(stdin=data))
