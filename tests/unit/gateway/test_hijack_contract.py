"""What the hijack takes for granted of uvicorn and asyncio beyond their public interface.

When one of these fails after an upgrade, read gateway/hijack/protocol.py beside the new source
before moving the pin.
"""

import asyncio
import inspect
import re
from asyncio import sslproto
from importlib.metadata import version
from pathlib import Path

import httptools
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState


def test_uvicorn_is_the_pinned_one() -> None:
    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    pinned = re.search(r'"uvicorn==([^"]+)"', pyproject.read_text())
    assert pinned is not None
    assert version("uvicorn") == pinned[1]


def test_protocol_has_the_hooks_that_are_overridden() -> None:
    for name in [
        "connection_made",
        "connection_lost",
        "eof_received",
        "data_received",
        "shutdown",
        "on_message_begin",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "send_400_response",
        "_unsupported_upgrade_warning",
        "_get_upgrade",
        "_unset_keepalive_if_required",
    ]:
        assert callable(getattr(HttpToolsProtocol, name)), name
    assert "self._unsupported_upgrade_warning()" in inspect.getsource(
        HttpToolsProtocol.data_received
    )


def test_cycle_has_the_fields_that_end_it() -> None:
    fields = set(re.findall(r"self\.(\w+)", inspect.getsource(RequestResponseCycle)))
    assert {
        "body",
        "more_body",
        "message_event",
        "keep_alive",
        "disconnected",
        "response_started",
        "response_complete",
    } <= fields
    run = inspect.getsource(RequestResponseCycle.run_asgi)
    assert "not self.response_complete and not self.disconnected" in run


def test_server_shuts_every_connection_down() -> None:
    assert "connection.shutdown()" in inspect.getsource(Server.shutdown)
    assert isinstance(ServerState().connections, set)


def test_parser_skips_the_body_of_an_upgrade_request() -> None:
    """llhttp hands over at the head's end, so the body's length is counted by the protocol."""

    class Callbacks:
        body = b""

        def on_body(self, body: bytes) -> None:
            self.body += body

    callbacks = Callbacks()
    parser = httptools.HttpRequestParser(callbacks)
    head = b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as raised:
        parser.feed_data(head + b"{}")
    assert raised.value.args[0] == len(head)
    assert callbacks.body == b""


def test_asyncio_tls_shuts_down_through_the_method_that_is_held() -> None:
    source = inspect.getsource(vars(sslproto.SSLProtocol)["_do_read__copied"])
    assert "self._start_shutdown()" in source
    assert "_start_shutdown()" in inspect.getsource(sslproto._SSLProtocolTransport.close)
    assert "_closed" in inspect.getsource(sslproto._SSLProtocolTransport.is_closing)
    assert issubclass(sslproto._SSLProtocolTransport, asyncio.Transport)
