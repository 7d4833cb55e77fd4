"""Half-close over TLS.

asyncio's TLS answers the peer's close_notify by shutting both directions, so the output of
``echo hi | docker --tlsverify exec -i x cat`` would be lost. Here its shutdown is held back until
the transport is closed from our side.
"""

import asyncio


def hold_shutdown(transport: asyncio.BaseTransport) -> None:
    """Keep a TLS transport open for writing past the peer's close_notify, until it is closed.

    On a transport without TLS there is nothing to hold. uvloop's TLS can't be held.
    """
    ssl_protocol = getattr(transport, "_ssl_protocol", None)
    if ssl_protocol is None:
        return
    shutdown = ssl_protocol._start_shutdown

    def shut_down_once_closed() -> None:
        if transport.is_closing():
            shutdown()

    ssl_protocol._start_shutdown = shut_down_once_closed
