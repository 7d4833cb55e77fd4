"""An answer's head and the body that is there as well, in one write.

uvicorn writes each by itself: one system call more, and a client that is woken for a head alone.
"""

import asyncio


class JoinedWrites:
    """What one answer is written to, in place of its connection's transport.

    Its head waits for what is written in the same step of the event loop, and no longer: a stream's
    goes out before anything else happens.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, what comes first a moment later."""
        if not self._begun:
            self._begun = True
            self._head = data
            self._loop.call_soon(self._send_head)
            return
        head, self._head = self._head, b""
        self._transport.write(head + data if head else data)

    def close(self) -> None:
        """Close the connection when all is written."""
        self._send_head()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _send_head(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)
