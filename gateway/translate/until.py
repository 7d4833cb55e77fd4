"""The "until" filter of lists and of prune: a moment in any of Docker's spellings.

Source: GetTimestamp in api/types/time of moby, and "Filtering" in the reference of docker prune.
"""

import re
import time
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import ApiError, bad_parameter
from gateway.translate.filters import Filters
from gateway.translate.times import storable

_SPAN = re.compile(r"([0-9]{0,9}(?:\.[0-9]{1,9})?|[0-9]{1,9}\.)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIX = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,9}))?")
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?([zZ]|[+-]\d\d:\d\d)?"
)
_LAST = 253_402_300_799


def until_of(filters: Filters, now: float | None = None) -> Timestamp | None:
    """Return the moment of an "until" filter, None where there is none.

    It is a Unix time, a span before now ("10m", "1h30m"), or a date with or without a time and a
    zone. What is at or before the epoch comes before everything. Raises a 400 for anything else.
    """
    values = sorted(filters.get("until"))
    if not values:
        return None
    if len(values) > 1:
        raise bad_parameter("more than one until filter specified")
    (text,) = values
    seconds, nanos = _moment(text, time.time() if now is None else now)
    if seconds > _LAST:
        raise _wrong(text)
    # An unset message and the epoch are the same bytes: a prune must not take all for it.
    return storable(seconds, nanos) if (seconds, nanos) > (0, 0) else _EPOCH


_EPOCH = Timestamp(nanos=1)


def _moment(text: str, now: float) -> tuple[int, int]:
    if text != "0" and (ago := _span(text)) is not None:
        moment = max(0.0, now - ago)
        return int(moment), int(moment % 1 * 1e9)
    if (found := _UNIX.fullmatch(text)) is not None:
        return int(found[1]), int((found[2] or "0").ljust(9, "0"))
    if (found := _DATE.fullmatch(text)) is not None:
        day, hour, minute, second, fraction, zone = found.groups()
        written = f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}"
        offset = "+00:00" if zone in ("z", "Z") else zone or ""
        try:
            # Without a zone it is the daemon's.
            moment = datetime.fromisoformat(written + offset).timestamp()
        except (ValueError, OverflowError) as error:
            raise _wrong(text) from error
        return int(moment), int((fraction or "0").ljust(9, "0"))
    raise _wrong(text)


def _span(text: str) -> float | None:
    """Return the seconds of a Go duration, None for what isn't one."""
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text.removeprefix("-").removeprefix("+")
    spans = _SPAN.findall(digits)
    if not spans or "".join(f"{number}{unit}" for number, unit in spans) != digits:
        return None
    try:
        return sign * sum(float(number) * _SECONDS[unit] for number, unit in spans)
    except ValueError:  # a unit without a number
        return None


def _wrong(text: str) -> ApiError:
    return bad_parameter(f'failed to parse value as time or duration: "{text[:100]}"')
