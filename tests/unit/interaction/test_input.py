"""Input reaches the process whole, in order and once, and ends when it should."""

import asyncio
import os
from typing import Any

import grpc
import pytest
from vic.tether.v1 import tether_pb2

from portlayer.errors import InvalidArgument, domain_errors
from services.interaction.pulse import Pulse
from services.interaction.stdin import LIMIT, StdinBuffer
from tests.unit.interaction.fake_tether import ERR, INIT, OUT, soon
from tests.unit.interaction.suite import Suite

CHUNK = 256 * 1024
MESSAGE = 512 * 1024
"""What a tether gets at most at once."""


async def test_input_before_the_start_waits_for_the_process(suite: Suite) -> None:
    await suite.register(open_stdin=True)
    client = await suite.attach(stdin=True)
    await client.write(b"early ")
    tether = suite.tether()
    await tether.connect()
    await asyncio.gather(suite.launch(), tether.take_launch())
    await client.write(b"bird")
    stdio = await tether.stdio()
    assert await stdio.take_input(10) == b"early bird"


async def test_the_end_of_input_closes_it_with_stdin_once(suite: Suite) -> None:
    async with suite.running(open_stdin=True, stdin_once=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        await client.write(b"a\nb\n")
        await client.call.done_writing()
        assert await stdio.take_input(4) == b"a\nb\n"
        message = await stdio.read()
        assert message.stdin_end.offset == 4
        # Its output goes on.
        await stdio.send(b"2\n")
        await stdio.close()
        assert await client.read_all() == b"2\n"
        assert client.input_ended


async def test_input_that_was_confirmed_arrives_although_the_client_goes(suite: Suite) -> None:
    async with suite.running(open_stdin=True, stdin_once=True) as tether:
        client = await suite.attach(stdin=True)
        await client.write(b"all ")
        await client.write(b"of it")
        await client.finish_input()
        client.call.cancel()
        stdio = await tether.stdio()
        assert await stdio.take_input(9) == b"all of it"
        assert (await stdio.read()).stdin_end.offset == 9


async def test_a_client_that_goes_closes_input_with_stdin_once(suite: Suite) -> None:
    async with suite.running(open_stdin=True, stdin_once=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        await client.write(b"x")
        assert await stdio.take_input(1) == b"x"
        client.call.cancel()
        assert (await stdio.read()).stdin_end.offset == 1


async def test_the_end_of_input_detaches_a_client_without_stdin_once(suite: Suite) -> None:
    async with suite.running(open_stdin=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        await client.write(b"from the first, ")
        await client.call.done_writing()
        assert await client.read_all() == b""
        other = await suite.attach(stdin=True)
        await other.write(b"from the second")
        assert await stdio.take_input(31) == b"from the first, from the second"


async def test_with_a_terminal_the_end_of_input_is_never_the_process_s(suite: Suite) -> None:
    async with suite.running(open_stdin=True, stdin_once=True, tty=True) as tether:
        client = await suite.attach(stdin=True)
        assert client.tty
        await client.call.done_writing()
        await client.read_all()
        other = await suite.attach(stdin=True)
        await other.write(b"still here")
        stdio = await tether.stdio()
        assert await stdio.take_input(10) == b"still here"


async def test_a_client_that_did_not_ask_for_input_ends_none(suite: Suite) -> None:
    async with suite.running(open_stdin=True, stdin_once=True) as tether:
        client = await suite.attach()
        await client.call.done_writing()
        other = await suite.attach(stdin=True)
        await other.write(b"in")
        stdio = await tether.stdio()
        assert await stdio.take_input(2) == b"in"
        await stdio.send(b"out")
        await stdio.close()
        assert await client.read_all() == b"out"


async def test_input_of_a_container_without_stdin_is_ignored(suite: Suite) -> None:
    async with suite.running() as tether:
        client = await suite.attach(stdin=True)
        await client.write(b"nobody reads this")
        await client.call.done_writing()
        stdio = await tether.stdio()
        await stdio.send(b"out")
        await stdio.close()
        assert await client.read_all() == b"out"


async def test_much_input_is_held_back_and_equal(suite: Suite) -> None:
    async with suite.running(open_stdin=True, stdin_once=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        data = os.urandom(8 * 1024 * 1024)

        async def produce() -> None:
            for start in range(0, len(data), CHUNK):
                await client.write(data[start : start + CHUNK])
            await client.call.done_writing()

        producing = asyncio.create_task(produce())
        # The process reads nothing: what is on its way is bounded.
        # What fills no message waits for more, if the first message was small: as it may be.
        taken = await stdio.take_input(LIMIT - MESSAGE + 1, acknowledge=False)
        await asyncio.wait([producing], timeout=0.5)
        assert not producing.done()
        await stdio.take(len(taken))
        taken += await stdio.take_input(len(data) - len(taken))
        await producing
        assert taken == data


async def test_a_flood_of_small_pieces_comes_in_whole_messages(suite: Suite) -> None:
    piece = bytes(MESSAGE // 16)
    async with suite.running(open_stdin=True, stdin_once=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()

        async def size() -> int:
            return len((await stdio.read()).stdin.data)

        await client.write(2 * piece)
        assert await size() == 2 * len(piece)
        for _ in range(17):
            await client.write(piece)
        assert await size() == MESSAGE
        # The last goes when something was taken, or no more comes.
        await stdio.take(MESSAGE + len(piece))
        assert await size() == len(piece)
        for _ in range(17):
            await client.write(piece)
        await client.call.done_writing()
        assert [await size(), await size()] == [MESSAGE, len(piece)]


async def test_input_that_was_not_taken_is_sent_again(suite: Suite) -> None:
    async with suite.running(open_stdin=True) as tether:
        client = await suite.attach(stdin=True)
        first = await tether.stdio()
        await client.write(b"0123456789")
        assert await first.take_input(10, acknowledge=False) == b"0123456789"
        await first.take(3)
        await first.send(b"")
        await first.settle()
        first.call.cancel()
        second = await tether.stdio(stdin_offset=4, sequence=2)
        assert await second.take_input(6) == b"456789"


async def test_input_that_nobody_wants_is_dropped(suite: Suite) -> None:
    async with suite.running(open_stdin=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        await stdio.take(0, closed=True)
        for _ in range(20):
            await client.write(bytes(CHUNK))
        await stdio.send(b"done")
        await stdio.close()
        assert await client.read_all() == b"done"


async def test_two_clients_take_turns(suite: Suite) -> None:
    async with suite.running(open_stdin=True) as tether:
        clients = await asyncio.gather(suite.attach(stdin=True), suite.attach(stdin=True))
        stdio = await tether.stdio()
        lines = [[b"%d-%d\n" % (who, n) for n in range(100)] for who in (0, 1)]

        async def type_lines(client: Any, own: list[bytes]) -> None:
            for line in own:
                await client.write(line)

        writing = asyncio.gather(*map(type_lines, clients, lines))
        taken = await stdio.take_input(sum(len(line) for own in lines for line in own))
        await writing
        for own in lines:
            assert [line for line in taken.splitlines(True) if line in own] == own


async def test_too_much_input_in_one_message_is_refused(suite: Suite) -> None:
    async with suite.running(open_stdin=True):
        client = await suite.attach(stdin=True)
        await client.write(bytes(CHUNK + 1))
        with pytest.raises(InvalidArgument), domain_errors():
            assert await soon(client.call.read()) is grpc.aio.EOF


async def test_an_interactive_echo_works_in_both_directions(suite: Suite) -> None:
    async with suite.running(open_stdin=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        expected = b""
        for number in range(50):
            word = b"%d " % number
            expected += word
            await client.write(word)
            await stdio.send(await stdio.take_input(len(word)), (OUT, ERR)[0])
            assert await client.read_until(OUT, len(expected)) == expected


async def test_input_goes_on_where_a_restart_left_it(suite: Suite) -> None:
    async with suite.running(open_stdin=True) as tether:
        client = await suite.attach(stdin=True)
        stdio = await tether.stdio()
        await client.write(b"0123456789")
        assert await stdio.take_input(10, acknowledge=False) == b"0123456789"
        await suite.restart()
        client = await suite.attach(stdin=True)
        await client.write(b"abc")
        again = suite.tether()
        await again.connect(processes=[tether_pb2.ProcessState(process_id=INIT, pid=42)])
        # The tether has all ten bytes, and the process takes them only now.
        stdio = await again.stdio(stdin_offset=10)
        await stdio.take(4)
        await stdio.take(10)
        message = await stdio.read()
        assert (message.stdin.offset, message.stdin.data) == (10, b"abc")
        await stdio.take(13)


async def test_what_the_process_took_is_kept_no_longer() -> None:
    buffer = StdinBuffer(Pulse())
    buffer.resume(100)
    await buffer.write(b"abc")
    assert (buffer.start, buffer.end, buffer.piece(101)) == (100, 103, b"bc")
    buffer.acknowledge(102)
    buffer.acknowledge(101)
    assert (buffer.start, buffer.piece(102)) == (102, b"c")
    # A later stream resumes behind what is kept: the tether has that already.
    buffer.resume(103)
    assert (buffer.start, buffer.end) == (102, 103)


async def test_a_tether_that_takes_too_much_misses_it_alone() -> None:
    buffer = StdinBuffer(Pulse())
    await buffer.write(b"abc")
    buffer.resume(0)
    buffer.acknowledge(1000)
    await buffer.write(b"d")
    assert (buffer.start, buffer.piece(1000)) == (1000, b"d")
    buffer.resume(5000)
    assert (buffer.start, buffer.end) == (5000, 5000)
