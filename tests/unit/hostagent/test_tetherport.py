"""The port on which a tether is told who it is, and reports."""

import asyncio
import socket
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostagent.tetherport import (
    LONGEST_ERROR,
    LONGEST_LINE,
    MOST_REPORTS,
    Report,
    TetherPort,
    TetherState,
    parse_report,
    port_pair,
)
from portlayer.errors import InvalidArgument


def test_the_frame_waits_in_the_socket() -> None:
    frame = bytes(range(256)) * 500
    theirs, ours = port_pair(frame)
    ours.close()
    received = b""
    while data := theirs.recv(65536):
        received += data
    assert received == frame
    theirs.close()


async def test_another_frame_follows_the_first() -> None:
    theirs, ours = port_pair(b"first")
    port = TetherPort(ours, lambda _: None)
    port.send(b"second")
    assert theirs.recv(100) == b"firstsecond"
    with pytest.raises(OSError, match="no more"):
        port.send(bytes(16 << 20))
    port.close()
    with pytest.raises(OSError, match="descriptor"):
        port.send(b"third")
    theirs.close()


def test_a_frame_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        port_pair(bytes(16 << 20))


async def reports(*sent: bytes) -> list[Report]:
    theirs, ours = socket.socketpair()
    found: list[Report] = []
    port = TetherPort(ours, found.append)
    for data in sent:
        theirs.sendall(data)
        await asyncio.sleep(0)
    theirs.close()
    await port.closed.wait()
    return found


async def test_reports_come_however_they_are_cut() -> None:
    line = b'{"event": "ready", "protocol": 1}\n'
    expected = [Report(TetherState.READY), Report(TetherState.FAILED, "no disk")]
    text = line + b'{"event": "failed", "error": "no disk"}\n'
    assert await reports(text) == expected
    assert await reports(*(text[n : n + 1] for n in range(len(text)))) == expected


async def test_who_says_too_much_is_not_listened_to() -> None:
    found = await reports(b'{"event": "ready"}\n' * 1000)
    assert len(found) == MOST_REPORTS


async def test_a_change_is_answered_by_its_number() -> None:
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    port = TetherPort(ours, lambda _: None)
    loop = asyncio.get_running_loop()
    first = asyncio.create_task(port.ask(1, b"one"))
    second = asyncio.create_task(port.ask(2, b"two"))
    assert await loop.sock_recv(theirs, 6) == b"onetwo"
    theirs.sendall(b'{"event": "connected", "serial": 9}\n{"event": "connected", "serial": 2}\n')
    async with asyncio.timeout(60):
        assert await second == ""
        theirs.sendall(b'{"event": "refused", "serial": 1, "error": "no such thing"}\n')
        assert await first == "no such thing"
        third = asyncio.create_task(port.ask(3, b"three"))
        assert await loop.sock_recv(theirs, 5) == b"three"
        port.close()
        with pytest.raises(OSError, match="closed"):
            await third
    theirs.close()


async def test_each_change_may_be_answered_however_many_there_are() -> None:
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    port = TetherPort(ours, lambda _: None)
    for number in range(3 * MOST_REPORTS):
        asked = asyncio.create_task(port.ask(number, b"frame"))
        assert await asyncio.get_running_loop().sock_recv(theirs, 5) == b"frame"
        theirs.sendall(b'{"event": "connected", "serial": %d}\n' % number)
        async with asyncio.timeout(60):
            assert await asked == ""
    port.close()
    theirs.close()


async def test_a_line_without_end_is_given_up() -> None:
    theirs, ours = socket.socketpair()
    port = TetherPort(ours, lambda _: None)
    theirs.setblocking(False)
    tracemalloc.start()
    for _ in range(1000):
        try:
            theirs.send(b"x" * 65536)
        except (BlockingIOError, BrokenPipeError):
            if port.closed.is_set():
                break
        await asyncio.sleep(0)
    assert port.closed.is_set()
    assert tracemalloc.get_traced_memory()[1] < 10 * LONGEST_LINE + (1 << 20)
    tracemalloc.stop()
    theirs.close()
    port.close()


def test_an_error_is_bounded() -> None:
    for event in (b'"failed"', b'"refused", "serial": 1'):
        report = parse_report(b'{"event": ' + event + b', "error": "' + b"x" * 5000 + b'"}')
        assert report is not None
        assert len(report.error) == LONGEST_ERROR


@given(st.binary(max_size=200))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    parse_report(line)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b"null",
        b'{"event": 1}',
        b'{"event": []}',
        b'{"event": "connected", "serial": 1e999}',
        b"[" * 5000,
        b"\xff",
    ],
)
def test_what_is_no_report_is_none(line: bytes) -> None:
    assert parse_report(line) is None
