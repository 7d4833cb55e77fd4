"""Taking a connection over from HTTP, as Docker's attach and exec need it.

Docker's clients send ``POST …/attach`` or ``POST …/exec/{id}/start`` and from then on speak raw
bytes both ways on the same connection. ASGI has no word for that, and stock uvicorn stands in the
way: it drops the body of an upgrade request, and a client that closes its write side loses the
connection. This package holds all that is needed beside uvicorn:

- :class:`~gateway.hijack.protocol.HijackProtocol`, given to uvicorn as ``http=``;
- :class:`~gateway.hijack.response.HijackResponse`, by which a route takes its connection over;
- :class:`~gateway.hijack.connection.HijackedConnection`, what its handler then reads and writes.

It touches private attributes of uvicorn and, for TLS, of asyncio; ``pyproject.toml`` pins uvicorn
and ``tests/unit/gateway/test_hijack_contract.py`` fails when either changes under it.
"""

from gateway.hijack.connection import HijackedConnection
from gateway.hijack.protocol import HijackProtocol
from gateway.hijack.response import HijackResponse

__all__ = ["HijackProtocol", "HijackResponse", "HijackedConnection"]
