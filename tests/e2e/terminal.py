"""A person's terminal, with a docker command in it."""

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.suite import Suite

# Of whatever has to be shown.
SOON = 120.0


class Terminal:
    """One docker command on a terminal of its own."""

    def __init__(self, suite: Suite, *command: str, rows: int = 24, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self._process = suite.popen(
            *command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # What it has as its controlling terminal tells it of a change in size.
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._shown = bytearray()

    def resize(self, rows: int, columns: int) -> None:
        """Change the size, as a window's user does."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def see(self, text: str) -> str:
        """Wait until a text is shown; return all that was since the last one."""
        end = time.monotonic() + SOON
        while (at := self._shown.find(text.encode())) < 0:
            readable, _, _ = select.select([self._ours], [], [], end - time.monotonic())
            assert readable, f"{text!r} was not shown, but {bytes(self._shown)!r}"
            assert self._read(), f"ended without {text!r}, but with {bytes(self._shown)!r}"
        seen = self._shown[: at + len(text)]
        del self._shown[: at + len(text)]
        return seen.decode(errors="replace")

    def end(self) -> int:
        """Wait for the command's end; return its exit code."""
        while self._read():
            pass
        return self._process.wait(SOON)

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self._shown += data
        return bool(data)

    def close(self) -> None:
        """Take the terminal away, and the command with it."""
        os.close(self._ours)
        self._process.kill()
        self._process.wait()


@contextmanager
def terminal(suite: Suite, *command: str, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """Have a docker command on a terminal for a while."""
    shown = Terminal(suite, *command, rows=rows, columns=columns)
    try:
        yield shown
    finally:
        shown.close()
