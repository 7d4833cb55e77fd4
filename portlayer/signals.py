"""Signals by name or number, as users write them."""

import re
import signal

from portlayer.errors import InvalidArgument, Reason

# Highest real-time signal of Linux on x86-64.
_LAST = 64
_NUMBER = re.compile("0*[0-9]{1,2}")
_RTMIN = re.compile(r"RTMIN(?:\+([0-9]{1,2}))?")
_RTMAX = re.compile(r"RTMAX(?:-([0-9]{1,2}))?")


def parse_signal(text: str, default: signal.Signals = signal.SIGTERM) -> int:
    """Return a signal's number from "SIGTERM", "term", "15" or "RTMIN+3"; empty means the default.

    Raises InvalidArgument (INVALID_SIGNAL) in Docker's words.
    """
    if not text:
        return default.value
    if _NUMBER.fullmatch(text) and 1 <= int(text) <= _LAST:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if f"SIG{name}" in signal.Signals.__members__:
        return signal.Signals[f"SIG{name}"].value
    if match := _RTMIN.fullmatch(name):
        number = signal.SIGRTMIN.value + int(match[1] or 0)
        if number <= _LAST:
            return number
    if match := _RTMAX.fullmatch(name):
        number = _LAST - int(match[1] or 0)
        if number >= signal.SIGRTMIN.value:
            return number
    raise InvalidArgument(f"invalid signal: {text}", Reason.INVALID_SIGNAL)
