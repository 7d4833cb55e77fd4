"""A service that is killed and comes back loses no byte and doubles none."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import process_pb2
from vic.tether.v1 import tether_pb2

from portlayer.identity import Credentials, Role
from services.interaction.pulse import Pulse
from tests.unit.interaction.fake_tether import INIT, OUT, FakeStdio, soon
from tests.unit.interaction.suite import CONTAINER, Suite
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority


class KeepingTether:
    """A tether that keeps output until it was acknowledged, and sends it again where it wasn't."""

    def __init__(self, suite: Suite, chunks: Sequence[bytes]) -> None:
        self.tether = suite.tether()
        self._chunks = chunks
        self._acknowledged = 0
        self._progress = Pulse()
        self._allowed = len(chunks)

    def allow(self, count: int) -> None:
        """Hold back all but so many chunks, until more are allowed."""
        self._allowed = count
        self._progress.beat()

    async def reached(self, sequence: int) -> None:
        """Return when so many chunks are acknowledged."""
        await soon(self._progress.wait_for(lambda: self._acknowledged >= sequence))

    async def run(self) -> None:
        """Bring all output to the service, over as many streams as it takes."""
        while True:
            try:
                await self._attempt()
            except grpc.aio.AioRpcError:
                continue
            return

    async def _attempt(self) -> None:
        states = [tether_pb2.ProcessState(process_id=INIT, pid=42, started_at={"seconds": 1})]
        await self.tether.connect(processes=states)
        stdio = await self.tether.stdio(sequence=self._acknowledged + 1)
        acknowledging = asyncio.create_task(self._acknowledge(stdio))
        try:
            for number in range(self._acknowledged, len(self._chunks)):
                await self._hold_back(number, acknowledging)
                await stdio.send(self._chunks[number])
            await stdio.end()
            await stdio.call.done_writing()
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            # The stream is over; its status says why.
            pass
        await acknowledging

    async def _hold_back(self, number: int, stream: "asyncio.Task[None]") -> None:
        """Return when a chunk may be sent, or the stream is over."""
        allowed = asyncio.create_task(self._progress.wait_for(lambda: number < self._allowed))
        await asyncio.wait({allowed, stream}, return_when=asyncio.FIRST_COMPLETED)
        allowed.cancel()

    async def _acknowledge(self, stdio: FakeStdio) -> None:
        while await stdio.read() is not grpc.aio.EOF:
            self._acknowledged = max(self._acknowledged, stdio.acknowledged)
            self._progress.beat()
        if await stdio.call.code() is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                await stdio.call.code(), grpc.aio.Metadata(), grpc.aio.Metadata()
            )


def numbered(count: int) -> list[bytes]:
    """Return chunks that can be told apart."""
    return [(b"%08d " % n) * 20 + b"\n" for n in range(count)]


async def test_output_is_whole_over_graceful_restarts(suite: Suite) -> None:
    chunks = numbered(3000)
    async with suite.running():
        sending = asyncio.create_task(KeepingTether(suite, chunks).run())
        for share in (0.2, 0.5):
            await _stored(suite, int(len(chunks) * share))
            await suite.restart()
        await soon(sending)
        assert await suite.log_text() == b"".join(chunks)


async def _stored(suite: Suite, sequence: int) -> None:
    assert suite.service is not None
    session = suite.service.sessions.get(CONTAINER)
    streams = session.processes[INIT].streams
    await soon(streams.changed.wait_for(lambda: streams.stored >= sequence))


async def test_what_was_stored_is_acknowledged_again(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        for chunk in (b"a", b"b", b"c"):
            await stdio.send(chunk)
        await stdio.settle()
        await suite.restart()
        again = suite.tether()
        await again.connect(processes=[tether_pb2.ProcessState(process_id=INIT, pid=42)])
        client = await suite.attach(logs=True)
        # As if no acknowledgement had arrived.
        stdio = await again.stdio(sequence=1)
        for chunk in (b"a", b"b", b"c", b"d"):
            await stdio.send(chunk)
        await stdio.settle()
        await stdio.close()
        assert await client.read_all() == b"abcd"
        assert await suite.log_text() == b"abcd"


async def test_a_run_that_ended_while_the_service_was_away_is_told(suite: Suite) -> None:
    async with suite.running():
        pass
    await suite.restart()
    again = suite.tether()
    exited = tether_pb2.ProcessExited(process_id=INIT, exit_code=9)
    await again.connect(processes=[tether_pb2.ProcessState(process_id=INIT, exited=exited)])
    assert (await again.command()).exit_acknowledged.process_id == INIT
    call: Any = suite.processes().Watch(process_pb2.WatchRequest())
    kinds = [(await soon(call.read())).event for _ in range(3)]
    assert kinds[2].ended.exit_code == 9


class KilledService:
    """The service as a process of its own, to be killed."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; return when it serves."""
        directory = self._suite.directory
        environment = {
            **os.environ,
            "VIC_DATA_DIR": str(directory),
            "VIC_INSTANCE_ID": INSTANCE,
            "VIC_SLOT": "0",
            "VIC_LISTEN": f'["{self._suite.address}"]',
            "VIC_TETHER_LISTEN": f'["{self._suite.tether_address}"]',
            "VIC_LOG_LEVEL": "warning",
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.interaction", env=environment
        )
        channel = self._suite.channel(Role.EXEC)
        await soon(channel.channel_ready())

    async def kill(self, number: int = signal.SIGKILL) -> int:
        """Kill it; return its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return await soon(self._process.wait())  # type: ignore[no-any-return]


def _save(credentials: Credentials, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(credentials.ca)
    (directory / "tls.crt").write_bytes(credentials.certificate)
    (directory / "tls.key").write_bytes(credentials.key)


@pytest.fixture
async def killable(
    authority: TestAuthority, tmp_path: Path
) -> AsyncIterator[tuple[Suite, KilledService]]:
    """A service in a process of its own."""
    suite = Suite(authority, tmp_path)
    _save(suite.credentials(Role.INTERACTION), tmp_path / "pki" / "interaction")
    (tmp_path / "interaction").mkdir()
    service = KilledService(suite)
    await service.start()
    yield suite, service
    await suite.close()
    assert await service.kill(signal.SIGTERM) == 0


async def test_a_kill_loses_and_doubles_nothing(killable: tuple[Suite, KilledService]) -> None:
    suite, service = killable
    await suite.register()
    tether = suite.tether()
    await tether.connect()
    await asyncio.gather(suite.launch(), tether.take_launch())
    chunks = [os.urandom(200_000) for _ in range(300)]
    keeping = KeepingTether(suite, chunks)
    sending = asyncio.create_task(keeping.run())
    for reached, allowed in ((30, 120), (150, 240)):
        # It has more to send, or the kill might come after the end.
        keeping.allow(allowed)
        await keeping.reached(reached)
        assert not sending.done()
        await service.kill()
        suite._stubs.clear()
        await service.start()
    keeping.allow(len(chunks))
    await soon(sending)
    again = suite.tether()
    await again.connect(processes=[tether_pb2.ProcessState(process_id=INIT, pid=42)])
    await again.exit(12)
    assert (
        hashlib.sha256(await suite.log_text()).digest() == hashlib.sha256(b"".join(chunks)).digest()
    )
    call: Any = suite.processes().Watch(process_pb2.WatchRequest())
    events = [(await soon(call.read())).event for _ in range(3)][1:]
    assert [event.WhichOneof("event") for event in events] == ["running", "ended"]
    assert events[1].ended.exit_code == 12


async def test_attached_clients_are_cut_by_a_kill_and_can_come_again(
    killable: tuple[Suite, KilledService],
) -> None:
    suite, service = killable
    await suite.register()
    tether = suite.tether()
    await tether.connect()
    await asyncio.gather(suite.launch(), tether.take_launch())
    client = await suite.attach()
    stdio = await tether.stdio()
    await stdio.send(b"before ")
    await client.read_until(OUT, 7)
    await stdio.settle()
    await service.kill()
    with pytest.raises(grpc.aio.AioRpcError):
        await client.read_all()
    suite._stubs.clear()
    await service.start()
    client = await suite.attach(logs=True)
    again = suite.tether()
    await again.connect(processes=[tether_pb2.ProcessState(process_id=INIT, pid=42)])
    stdio = await again.stdio(sequence=2)
    await stdio.send(b"after")
    await stdio.close()
    assert await client.read_all() == b"before after"
