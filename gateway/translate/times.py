"""Points and spans of time in Docker's spellings."""

import re
import time

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import bad_parameter

ZERO = "0001-01-01T00:00:00Z"
"""What Go prints for a time that never was."""

_UNIX = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,18}))?")


def rfc3339(moment: Timestamp) -> str:
    """A moment as Go's RFC3339Nano prints it: no trailing zeros; Go's zero time where unset."""
    if not moment.seconds and not moment.nanos:
        return ZERO
    whole = _seconds_text(moment.seconds)
    fraction = f".{moment.nanos:09d}".rstrip("0") if moment.nanos else ""
    return f"{whole}{fraction}Z"


def log_timestamp(moment: Timestamp) -> bytes:
    """A moment as ``docker logs --timestamps`` prints it, always with nine digits."""
    return f"{_seconds_text(moment.seconds)}.{moment.nanos:09d}Z".encode()


def _seconds_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def nanoseconds(moment: Timestamp) -> int:
    """A moment in nanoseconds since the epoch."""
    return moment.seconds * 1_000_000_000 + moment.nanos


def from_query(name: str, value: str) -> Timestamp | None:
    """Read a query's ``seconds[.nanoseconds]``; None for the empty string and for zero."""
    if not value:
        return None
    found = _UNIX.fullmatch(value)
    if found is None:
        raise bad_parameter(f'invalid value for "{name}": {value} is not a Unix time')
    seconds, fraction = int(found[1]), (found[2] or "")[:9].ljust(9, "0")
    nanos = int(fraction)
    if not seconds and not nanos:
        return None
    if not -62_135_596_800 <= seconds <= 253_402_300_799:
        raise bad_parameter(f'invalid value for "{name}": {value} is out of range')
    return storable(seconds, nanos)


def storable(seconds: int, nanos: int) -> Timestamp:
    """Return a moment, at most the last one whose nanoseconds are a number of 64 bits.

    The first one is bounded likewise: databases have no larger numbers.
    """
    moment = Timestamp()
    moment.FromNanoseconds(max(-(2**63), min(2**63 - 1, seconds * 10**9 + nanos)))
    return moment


# Source: HumanDuration of docker/go-units; (upper bound in its unit, seconds a unit, words).
_HOUR = 3600
_DAY = 24 * _HOUR


def human_duration(seconds: float) -> str:
    """A span as ``docker ps`` words it: "About a minute", "3 days"."""
    whole = int(seconds)
    minutes = whole // 60
    hours = int(seconds / _HOUR + 0.5)
    steps: tuple[tuple[bool, str], ...] = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    for fits, words in steps:
        if fits:
            return words
    return f"{int(seconds / _DAY) // 365} years"
