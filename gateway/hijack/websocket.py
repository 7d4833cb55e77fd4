"""A WebSocket on a hijacked connection: raw bytes in messages, for attach/ws.

Source: RFC 6455. No extensions are agreed to. A message's frames are given as they come, since the
bytes are a stream's and where they are cut says nothing.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from enum import IntEnum

from gateway.hijack.connection import HijackedConnection

# RFC 6455, 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_KEY_BYTES = 16
# One frame of input; interaction takes 256 KiB in a message.
_MAX_PAYLOAD = 256 * 1024
_MAX_CONTROL_PAYLOAD = 125
_LENGTH_16, _LENGTH_64 = 126, 127


class _Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class _Status(IntEnum):
    """Why a WebSocket is closed: RFC 6455, 7.4.1."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    TOO_BIG = 1009


class HandshakeError(ValueError):
    """A request that opens no WebSocket; the text says why, as dockerd's does."""


class _Violation(Exception):
    """The peer doesn't keep to the protocol."""

    def __init__(self, status: _Status) -> None:
        super().__init__(status.name)
        self.status = status


def handshake(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that accept a WebSocket. Raises HandshakeError."""
    if headers.get("upgrade", "").lower() != "websocket":
        raise HandshakeError("not websocket protocol")
    if headers.get("sec-websocket-version") != _VERSION:
        raise HandshakeError("missing or bad WebSocket Version")
    key = headers.get("sec-websocket-key", "")
    try:
        size = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != _KEY_BYTES:
        raise HandshakeError("mismatch challenge/response")
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return {"Sec-WebSocket-Accept": base64.b64encode(digest).decode()}


class WebSocketConnection:
    """Reads and writes like the connection below it; a close by the peer means that it has gone."""

    def __init__(self, connection: HijackedConnection) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._closed = False
        self.gone = connection.gone

    async def read(self) -> bytes:
        """Some of the peer's input; empty at its end."""
        try:
            while not self._closed:
                opcode, payload = await self._frame()
                match opcode:
                    case _Opcode.PING:
                        await self._send(_Opcode.PONG, payload)
                    case _Opcode.PONG:
                        pass
                    case _Opcode.CLOSE:
                        await self._close(_Status.NORMAL)
                        self.gone.set()
                    case _ if payload:
                        return payload
        except EOFError:
            pass
        except _Violation as violation:
            await self._close(violation.status)
            self.gone.set()
        return b""

    async def write(self, data: bytes) -> None:
        """Send a message, and wait while the peer is slower than we are."""
        if not self._closed:
            await self._send(_Opcode.BINARY, data)

    async def close(self) -> None:
        """Tell that no more comes."""
        await self._close(_Status.NORMAL)

    async def _close(self, status: _Status) -> None:
        if not self._closed:
            self._closed = True
            await self._send(_Opcode.CLOSE, struct.pack(">H", status))

    async def _send(self, opcode: _Opcode, payload: bytes) -> None:
        size = len(payload)
        if size < _LENGTH_16:
            head = struct.pack(">BB", 0x80 | opcode, size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | opcode, _LENGTH_16, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, _LENGTH_64, size)
        await self._connection.write(head + payload)

    async def _frame(self) -> tuple[_Opcode, bytes]:
        """Return the next frame. Raises EOFError and _Violation."""
        first, second = await self._take(2)
        size = second & 0x7F
        if size == _LENGTH_16:
            (size,) = struct.unpack(">H", await self._take(2))
        elif size == _LENGTH_64:
            (size,) = struct.unpack(">Q", await self._take(8))
        try:
            opcode = _Opcode(first & 0x0F)
        except ValueError:
            raise _Violation(_Status.PROTOCOL_ERROR) from None
        control = opcode >= _Opcode.CLOSE
        # Reserved bits belong to extensions; a client's frames are always masked.
        if first & 0x70 or not second & 0x80 or (control and not first & 0x80):
            raise _Violation(_Status.PROTOCOL_ERROR)
        if size > (_MAX_CONTROL_PAYLOAD if control else _MAX_PAYLOAD):
            raise _Violation(_Status.TOO_BIG)
        mask = await self._take(4)
        return opcode, _unmasked(await self._take(size), mask)

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = await self._connection.read()
            if not data:
                raise EOFError
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return number.to_bytes(size, "big")
