"""The response by which a route takes its connection over."""

from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.hijack.connection import Handler
from gateway.hijack.protocol import EXTENSION


class HijackResponse(Response):
    """Answers with the head of a hijack and hands the connection to ``handler``.

    A client that asked for an upgrade gets ``101 UPGRADED``; one that didn't (dockerode without
    its ``hijack`` option) gets 200 without a length, and sends its input raw behind the request.
    """

    def __init__(self, handler: Handler, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(status_code=HTTPStatus.SWITCHING_PROTOCOLS)
        self._handler = handler
        self._media_type = media_type
        self._extra_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hijack = scope["extensions"][EXTENSION]
        try:
            connection = hijack["take"]()
        except ConnectionResetError:
            return  # the client left before it was answered
        await connection.run(self._head(hijack["upgrade"]), self._handler)

    def _head(self, upgrade: bytes | None) -> bytes:
        lines = [f"Content-Type: {self._media_type}"]
        lines += [f"{name}: {value}" for name, value in self._extra_headers.items()]
        if upgrade is None:
            lines = ["HTTP/1.1 200 OK", *lines, "Connection: close"]
        else:
            protocol = upgrade.decode("latin-1")
            lines = [
                "HTTP/1.1 101 UPGRADED",
                *lines,
                "Connection: Upgrade",
                f"Upgrade: {protocol}",
            ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
