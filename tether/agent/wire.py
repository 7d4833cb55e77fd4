"""Puts output on the wire with as few copies of it as may be.

Building ``StdioRequest(output=OutputChunk(data=…))`` and serializing it copies each byte six times
(measured on upb: the field, the message within the message, a buffer that grows, the result), and
under emulation copying is what output costs. Encoded by hand it is once; the rest of the message
is left to protobuf. Format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio
from vic.tether.v1.tether_pb2 import OutputChunk, StdioRequest, StdioResponse

if TYPE_CHECKING:
    from typing import TypeAlias

    # A request, or the bytes of one.
    Outgoing: TypeAlias = StdioRequest | bytes
    StdioCall: TypeAlias = grpc.aio.StreamStreamCall[Outgoing, StdioResponse]

_METHOD = "/vic.tether.v1.TetherService/Stdio"
_LENGTH_DELIMITED = 2
_OUTPUT_TAG = bytes([StdioRequest.OUTPUT_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])
_DATA_TAG = bytes([OutputChunk.DATA_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])


def output_request(chunk: OutputChunk, data: bytes) -> bytes:
    """The bytes of a StdioRequest with this chunk, whose ``data`` is given beside it."""
    head = chunk.SerializeToString() + _DATA_TAG + varint(len(data))
    return b"".join((_OUTPUT_TAG, varint(len(head) + len(data)), head, data))


def varint(value: int) -> bytes:
    """A number in base 128, the lowest group first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def open_stdio(channel: grpc.aio.Channel) -> StdioCall:
    """Open a Stdio stream that takes requests and ready-made bytes alike."""
    method = channel.stream_stream(
        _METHOD,
        request_serializer=_serialize,
        response_deserializer=StdioResponse.FromString,
    )
    call: StdioCall = method(wait_for_ready=True)
    return call


def _serialize(request: Outgoing) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()
