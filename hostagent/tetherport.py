"""The host's end of a machine's port ``vic.config``: frames down, reports and answers up."""

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from portlayer.errors import InvalidArgument, Reason

# Linux keeps twice of it; a frame with a long list of hosts fits, and QEMU never has to wait.
BUFFER_BYTES = 1 << 20
# Not in Python's socket module: <asm-generic/socket.h>.
_SO_SNDBUFFORCE = 32

# A tether says four things in its life, and one to each change. What says more is no tether.
MOST_REPORTS = 8
LONGEST_LINE = 8192
LONGEST_ERROR = 4096
_REFUSED = "refused"
_ANSWERS = ("connected", _REFUSED)


class TetherState(StrEnum):
    """What a tether last reported."""

    READY = "ready"
    CONFIGURED = "configured"
    FAILED = "failed"
    WARM = "warm"


@dataclass(frozen=True)
class Report:
    """A guest's own words: a hint, never a proof."""

    state: TetherState
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of the change with a number, in a guest's own words."""

    serial: int
    error: str = ""


def port_pair(frame: bytes) -> tuple[socket.socket, socket.socket]:
    """Return QEMU's end and ours, the frame already on its way.

    QEMU inherits both: an end that nobody held would tell the guest that its port was unplugged.
    Raises InvalidArgument where the frame is longer than a socket holds.
    """
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER_BYTES)
        ours.setblocking(False)
        try:
            sent = ours.send(frame) if frame else 0
        except BlockingIOError:
            sent = -1
        if sent != len(frame):
            raise InvalidArgument(
                f"guest: {len(frame)} bytes are too long", Reason.INVALID_MACHINE, field="guest"
            )
    except BaseException:
        theirs.close()
        ours.close()
        raise
    return theirs, ours


class TetherPort:
    """Reads a tether's reports until it has said too much or too little sense."""

    def __init__(self, ours: socket.socket, reported: Callable[[Report], None]) -> None:
        """Take our end over; it is read on the running event loop."""
        self._socket = ours
        self._reported = reported
        self._buffer = b""
        self._left = MOST_REPORTS
        self._asked: dict[int, asyncio.Future[str]] = {}
        self.closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ours.setblocking(False)
        self._loop.add_reader(ours.fileno(), self._read)

    def send(self, frame: bytes) -> None:
        """Send another frame down. Raises OSError where the port is closed, or takes no more."""
        if self._socket.send(frame) != len(frame):
            raise OSError("the machine's port takes no more")

    async def ask(self, serial: int, frame: bytes) -> str:
        """Send the frame of a change; return why it was refused, or nothing.

        Raises OSError where the port is closed, or takes no more.
        """
        self.send(frame)
        self._left += 1
        answer: asyncio.Future[str] = self._loop.create_future()
        self._asked[serial] = answer
        try:
            return await answer
        finally:
            del self._asked[serial]

    def close(self) -> None:
        """Stop reading. Idempotent."""
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(OSError("the machine's port was closed"))
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self.closed.set()

    def _read(self) -> None:
        try:
            data = self._socket.recv(LONGEST_LINE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._left -= 1
            said = parse_report(line)
            if isinstance(said, Answer):
                self._answered(said)
            elif said is not None and self._left >= 0:
                self._reported(said)
        if not data or self._left <= 0 or len(self._buffer) > LONGEST_LINE:
            self.close()

    def _answered(self, answer: Answer) -> None:
        asked = self._asked.get(answer.serial)
        if asked is not None and not asked.done():
            asked.set_result(answer.error)


def parse_report(line: bytes) -> Report | Answer | None:
    """Return what a line says, or None where it says nothing that we know."""
    try:
        fields = json.loads(line[:LONGEST_LINE])
        if fields["event"] in _ANSWERS:
            error = str(fields["error"]) if fields["event"] == _REFUSED else ""
            return Answer(int(fields["serial"]), error[:LONGEST_ERROR])
        state = TetherState(fields["event"])
        error = str(fields.get("error", "")) if state is TetherState.FAILED else ""
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return Report(state, error[:LONGEST_ERROR])
