"""A process of a suite once more: by us in place of the watcher, and with other settings."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_SECONDS = 120.0


class Program:
    """A process like one of the suite's, and with no capability.

    It has that one's command, user, view of the file system, and environment but for some of it.
    """

    def __init__(self, like: int, settings: Mapping[str, str], log: Path) -> None:
        """``like`` is the process that it is like; what it says is appended to ``log``."""
        proc = Path(f"/proc/{like}")
        self._arguments = proc.joinpath("cmdline").read_text().rstrip("\0").split("\0")
        pairs = proc.joinpath("environ").read_text().rstrip("\0").split("\0")
        self._environment = {name: value for name, _, value in (p.partition("=") for p in pairs)}
        self._environment.update(settings)
        lines = proc.joinpath("status").read_text().splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        self._becoming = [
            *("setpriv", f"--reuid={status['Uid'][0]}", f"--regid={status['Gid'][0]}"),
            *("--groups", ",".join(status["Groups"]), "--no-new-privs"),
            *("--inh-caps=-all", "--bounding-set=-all", "--"),
        ]
        # That process may be gone when this one is started.
        self._view = proc.joinpath("ns", "mnt").open("rb")
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._running is not None
        return self._running.pid

    def start(self) -> None:
        """Run it."""
        view = self._view.fileno()
        entering = ["nsenter", f"--mount=/proc/self/fd/{view}"]
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                [*entering, *self._becoming, *self._arguments],
                cwd="/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(view,),
            )

    def ends_within(self, seconds: float) -> bool:
        """Tell whether it has ended, or does so within so many seconds."""
        assert self._running is not None
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, and wait for its end."""
        if not self.ends_within(0):
            os.kill(self.pid, number)
        assert self.ends_within(PATIENCE_SECONDS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it for a while, for the last time."""
        try:
            self.start()
            yield
        finally:
            self.kill()
            self._view.close()


def await_listener(path: Path) -> None:
    """Return when somebody listens on a socket, of which nothing tells; fails after a bound."""
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_SECONDS:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.connect(str(path))
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on {path}")
