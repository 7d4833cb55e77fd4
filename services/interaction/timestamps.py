"""Times as nanoseconds since 1970 inside, as protobuf's Timestamp outside."""

from google.protobuf.timestamp_pb2 import Timestamp

_SECOND = 10**9


def to_ns(time: Timestamp) -> int:
    """Return a time that may come from a guest; one out of range becomes the nearest in it."""
    return max(0, min(time.seconds * _SECOND + time.nanos, 2**63 - 1))


def from_ns(ns: int) -> Timestamp:
    """Return a time for a message."""
    return Timestamp(seconds=ns // _SECOND, nanos=ns % _SECOND)
