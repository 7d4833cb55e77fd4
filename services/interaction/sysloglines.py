"""Output as lines, and lines as messages of syslog.

The messages are those of dockerd's driver: the tag is the program's name and the message's ID,
standard output is informational, standard error an error. A line that is longer than dockerd's
buffer is sent in parts.

Source: RFC 5424, RFC 3164; moby, daemon/logger/syslog and daemon/logger/copier.go.
"""

import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from services.interaction.output import Chunk, Stream

LONGEST_LINE: Final = 16 * 1024
LAST_FACILITY: Final = 23

_SEVERITIES: Final = {Stream.STDOUT: 6, Stream.STDERR: 3}
_LONGEST_APP_NAME: Final = 48
_LONGEST_MESSAGE_ID: Final = 32
_UNPRINTABLE: Final = re.compile(r"[^!-~]")
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class SyslogFormat(Enum):
    """Forms of a message; the values are on record."""

    RFC5424 = "rfc5424"
    RFC5424_MICRO = "rfc5424micro"
    RFC3164 = "rfc3164"


@dataclass(frozen=True)
class SyslogTarget:
    """Where lines go, and what is said of them."""

    address: str
    tag: str
    facility: int
    format: SyslogFormat


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output, without its end."""

    stream: Stream
    time_ns: int
    text: bytes


class LineCutter:
    """Cuts the chunks of a container's output into lines."""

    def __init__(self) -> None:
        # What has no end yet, with the time at which it began.
        self._begun: dict[Stream, tuple[int, bytes]] = {}

    def cut(self, chunk: Chunk) -> Iterator[Line]:
        """Yield the lines that a chunk completes."""
        time_ns, rest = self._begun.pop(chunk.stream, (chunk.time_ns, b""))
        *whole, last = (rest + chunk.data).split(b"\n")
        for text in whole:
            yield from _parts(chunk.stream, time_ns, text.removesuffix(b"\r"))
            time_ns = chunk.time_ns
        while len(last) > LONGEST_LINE:
            yield Line(chunk.stream, time_ns, last[:LONGEST_LINE])
            last = last[LONGEST_LINE:]
        if last:
            self._begun[chunk.stream] = time_ns, last

    def end(self) -> Iterator[Line]:
        """Yield what has no end and won't get one."""
        begun, self._begun = self._begun, {}
        for stream, (time_ns, text) in begun.items():
            yield Line(stream, time_ns, text)


def _parts(stream: Stream, time_ns: int, text: bytes) -> Iterator[Line]:
    for start in range(0, max(1, len(text)), LONGEST_LINE):
        yield Line(stream, time_ns, text[start : start + LONGEST_LINE])


def message(target: SyslogTarget, line: Line) -> bytes:
    """Return a line as a message, without what a transport puts around it."""
    priority = target.facility * 8 + _SEVERITIES[line.stream]
    return _head(target, priority, line.time_ns) + line.text


def notice(target: SyslogTarget, text: str) -> bytes:
    """Return something of our own to say to the server, as a warning."""
    return _head(target, target.facility * 8 + 4, time.time_ns()) + text.encode()


def _head(target: SyslogTarget, priority: int, time_ns: int) -> bytes:
    host = _word(socket.gethostname(), 255)
    tag = _word(target.tag, _LONGEST_APP_NAME)
    seconds, below = divmod(time_ns, 1_000_000_000)
    at = time.gmtime(seconds)
    if target.format is SyslogFormat.RFC3164:
        clock = time.strftime("%H:%M:%S", at)
        when = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {clock}"
        return f"<{priority}>{when} {host} {tag}[{os.getpid()}]: ".encode()
    when = time.strftime("%Y-%m-%dT%H:%M:%S", at)
    if target.format is SyslogFormat.RFC5424_MICRO:
        when += f".{below // 1000:06}"
    message_id = tag[:_LONGEST_MESSAGE_ID]
    return f"<{priority}>1 {when}Z {host} {tag} {os.getpid()} {message_id} - ".encode()


def _word(text: str, longest: int) -> str:
    """Return a field of a message's head: printable ASCII without spaces, and never empty."""
    return _UNPRINTABLE.sub("_", text)[:longest] or "-"
