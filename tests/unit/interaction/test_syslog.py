"""Logs that go to a syslog server as well: form, order, and servers that are away or slow."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portlayer.errors import InvalidArgument
from services.interaction import syslogsink
from services.interaction.output import Chunk, Stream
from services.interaction.sysloglines import (
    LONGEST_LINE,
    Line,
    LineCutter,
    SyslogFormat,
    SyslogTarget,
    message,
)
from services.interaction.syslogsink import WAITING_BYTES, SyslogSink, check_address
from tests.ports import free_port
from tests.unit.interaction.fake_tether import soon
from tests.unit.interaction.suite import CONTAINER, Suite

AT = 1_700_000_000_123_456_789


def chunk(data: bytes, stream: Stream = Stream.STDOUT, number: int = 1) -> Chunk:
    return Chunk(stream, number, AT, data)


def target(address: str, form: SyslogFormat = SyslogFormat.RFC5424) -> SyslogTarget:
    return SyslogTarget(address, "web", 3, form)


def test_lines_are_cut_from_chunks_apart_by_stream() -> None:
    cutter = LineCutter()
    cut = [
        line.text
        for part in (
            chunk(b"one\ntw"),
            chunk(b"of error\n", Stream.STDERR),
            chunk(b"o\r\n\nbegun"),
        )
        for line in cutter.cut(part)
    ]
    assert cut == [b"one", b"of error", b"two", b""]
    assert [line.text for line in cutter.end()] == [b"begun"]
    assert list(cutter.end()) == []


def test_a_line_without_end_is_sent_in_parts_and_kept_in_no_memory() -> None:
    cutter = LineCutter()
    parts = [line.text for _ in range(100) for line in cutter.cut(chunk(b"x" * LONGEST_LINE))]
    rest = [line.text for line in cutter.end()]
    assert sum(map(len, parts + rest)) == 100 * LONGEST_LINE
    assert max(map(len, parts + rest)) == LONGEST_LINE


@pytest.mark.parametrize(
    ("form", "head"),
    [
        (SyslogFormat.RFC5424, r"<30>1 2023-11-14T22:13:20Z \S+ web {pid} web - "),
        (SyslogFormat.RFC5424_MICRO, r"<30>1 2023-11-14T22:13:20\.123456Z \S+ web {pid} web - "),
        (SyslogFormat.RFC3164, r"<30>Nov 14 22:13:20 \S+ web\[{pid}\]: "),
    ],
)
def test_the_forms(form: SyslogFormat, head: str) -> None:
    said = message(target("udp://h:1", form), Line(Stream.STDOUT, AT, b"hello")).decode()
    assert re.fullmatch(head.format(pid=os.getpid()) + "hello", said), said
    error = message(target("udp://h:1", form), Line(Stream.STDERR, AT, b""))
    assert error.startswith(b"<27>")


def test_no_tag_breaks_the_head() -> None:
    odd = SyslogTarget("udp://h:1", "a b\n" + "x" * 100, 3, SyslogFormat.RFC5424)
    fields = message(odd, Line(Stream.STDOUT, AT, b"")).decode().split(" ")
    assert fields[3] == "a_b_" + "x" * 44
    assert len(fields[5]) == 32


@pytest.mark.parametrize("address", ["", "udp://", "http://h", "tcp://h:0", "tcp://h:x", "unix:"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument):
        check_address(address)


class Server:
    """A syslog server on TCP."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, reuse_address=True
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        while line := await reader.readline():
            self.lines.put_nowait(line)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()
            await self._server.wait_closed()
            self._server = None

    async def texts(self, count: int) -> list[str]:
        """Return what the next messages say."""
        return [(await soon(self.lines.get())).decode().partition(" - ")[2] for _ in range(count)]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server()
    yield running
    await running.stop()


async def test_a_containers_lines_go_there_in_order_and_are_readable_here(
    suite: Suite, server: Server
) -> None:
    await server.start()
    syslog = {"address": server.address, "tag": "web", "facility": 16}
    async with suite.running(syslog=syslog) as tether:
        stdio = await tether.stdio()
        await stdio.send(b"one\ntwo\n")
        await stdio.send(b"three")
        await stdio.close()
        await tether.exit(0)
    assert await server.texts(3) == ["one\n", "two\n", "three\n"]
    assert await suite.log_text() == b"one\ntwo\nthree"
    # A restart of this service knows it still.
    await suite.restart()
    assert suite.service is not None
    session = suite.service.sessions.get(CONTAINER)
    assert session.options.syslog == SyslogTarget(server.address, "web", 16, SyslogFormat.RFC5424)


async def test_a_server_that_is_away_holds_nobody_up_and_is_told_what_it_missed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslogsink, "_FIRST_DELAY", 0.01)
    sink = SyslogSink(target(server.address))
    text = b"x" * 1000 + b"\n"
    written = 2 * WAITING_BYTES // len(text)
    for number in range(written):
        sink.take([chunk(b"%d %s" % (number, text))])
    assert 0 < sink.dropped < written
    await server.start()
    kept = written - sink.dropped
    said = await server.texts(1 + kept)
    assert said[0] == f"{sink.dropped} lines were dropped: too slow, or away\n"
    assert [line.split()[0] for line in said[1:]] == [str(number) for number in range(kept)]

    # It goes and comes back: what is said meanwhile arrives.
    await server.stop()
    sink.take([chunk(b"meanwhile\n")])
    await server.start()
    assert await server.texts(1) == ["meanwhile\n"]
    sink.end()
    await sink.close()


async def test_datagrams_and_sockets_of_the_host(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    for family, where in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, f"{tmp_path}/log")):
        with socket.socket(family, socket.SOCK_DGRAM) as receiver:
            receiver.setblocking(False)
            receiver.bind(where)
            name = receiver.getsockname()
            address = f"unix://{name}" if family is socket.AF_UNIX else f"udp://{name[0]}:{name[1]}"
            sink = SyslogSink(target(address))
            sink.take([chunk(b"one\ntwo\n")])
            for text in (b"one", b"two"):
                said = await soon(loop.sock_recv(receiver, 65536))
                assert said.endswith(b" - " + text)
            await sink.close()


async def test_a_log_that_ends_without_its_server_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslogsink, "_FIRST_DELAY", 0.01)
    monkeypatch.setattr(syslogsink, "_FAREWELL_SECONDS", 0.05)
    sink = SyslogSink(target(server.address))
    sink.take([chunk(b"never read\n")])
    sink.end()
    async with asyncio.timeout(60):
        assert sink._task is not None
        await sink._task
    assert sink.dropped == 1
