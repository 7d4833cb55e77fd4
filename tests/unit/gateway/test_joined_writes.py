"""An answer goes out in one piece where it can, and never later than its parts would."""

import asyncio
import inspect
import re
from unittest.mock import Mock

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.hijack.joined import JoinedWrites


def joined() -> tuple[JoinedWrites, list[bytes], Mock]:
    transport, sent = Mock(), list[bytes]()
    transport.write.side_effect = sent.append
    return JoinedWrites(transport, asyncio.get_running_loop()), sent, transport


async def test_a_head_goes_with_its_body() -> None:
    writes, sent, _ = joined()
    writes.write(b"head")
    writes.write(b"body")
    writes.write(b"more")
    await asyncio.sleep(0)
    assert sent == [b"headbody", b"more"]


async def test_a_stream_s_head_waits_for_nothing() -> None:
    writes, sent, _ = joined()
    writes.write(b"head")
    await asyncio.sleep(0)
    assert sent == [b"head"]
    writes.write(b"first")
    assert sent == [b"head", b"first"]


async def test_what_is_closed_at_once_has_its_head() -> None:
    writes, sent, transport = joined()
    writes.write(b"head")
    writes.close()
    assert (sent, transport.close.called) == ([b"head"], True)


def test_uvicorn_s_answers_need_no_more_of_a_transport() -> None:
    used = set(re.findall(r"self\.transport\.(\w+)", inspect.getsource(RequestResponseCycle)))
    assert used == {"write", "close", "is_closing"}
