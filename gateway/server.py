"""uvicorn as the gateway runs it: its sockets given, its end an event."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gateway.hijack import HijackProtocol
from gateway.tls import RefusingHandshake

# Docker's SDKs keep connections and would see a reset where the server closes one as they use it.
_KEEP_ALIVE_SECONDS = 300

# Calls in hand (a stop that waits for its container) may end; streams are cut off at once.
_GRACE_SECONDS = 10


class GatewayServer(uvicorn.Server):
    """Serves until an event is set. Signals are the caller's, and nothing polls."""

    def __init__(self, app: ASGIApp, stop: asyncio.Event, tls: Path | None = None) -> None:
        """``tls`` is where the endpoint's ``ca.crt``, ``tls.crt`` and ``tls.key`` are."""
        super().__init__(
            uvicorn.Config(
                app,
                **(_tls_files(tls) if tls is not None else {}),
                http=HijackProtocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._stop = stop
        self.config.load()
        if self.config.ssl is not None:
            self.config.ssl.sslobject_class = RefusingHandshake

    async def serve_on(self, listeners: Sequence[socket.socket]) -> None:
        """Accept on listening sockets until the event; ends with every connection closed."""
        await self.serve(list(listeners))

    async def main_loop(self) -> None:
        """Wait for the event instead of polling ten times a second."""
        await self._stop.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever set the event up."""
        yield


def _tls_files(directory: Path) -> dict[str, Any]:
    """Settings of TLS 1.2 and later, for clients that show a certificate of the authority's."""
    return {
        "ssl_certfile": str(directory / "tls.crt"),
        "ssl_keyfile": str(directory / "tls.key"),
        "ssl_ca_certs": str(directory / "ca.crt"),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }


def quiet_uvicorn() -> None:
    """Keep uvicorn's own chatter out of the log; its errors stay, but for streams we cut short."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # The front door has said why in the line before.
    return record.msg != "ASGI callable returned without completing response."
