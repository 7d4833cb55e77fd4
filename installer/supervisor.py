"""Keeping one process running: start, health, restart after a crash, orderly end."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from installer.launch import Launched
from installer.logfile import RotatingLog
from installer.probe import OpenProbe, Probe
from installer.processes import ProcessName
from installer.roles import ProcessKind
from portlayer.errors import VicError

log = logging.getLogger("vic.watcher")

# Python with gRPC takes a second to start on an idle core, and six start at once.
START_SECONDS = 120.0
PROBE_INTERVAL = 10.0
PROBE_SECONDS = 10.0
# A machine busy with a hundred emulated boots answers late; only silence for minutes is a hang.
PROBES_MISSED = 6
FIRST_DELAY = 0.2
LONGEST_DELAY = 15.0
# Running for so long counts as recovered: the next crash starts with the first delay again.
STABLE_SECONDS = 30.0
# A pipe may stay open in a process that the service left behind.
LAST_WORDS_SECONDS = 1.0
LONGEST_LINE = 1024 * 1024


class State(StrEnum):
    """Where a process of the suite stands."""

    STARTING = "starting"
    """It runs and has not yet said that it serves."""
    HEALTHY = "healthy"
    """It serves."""
    UNHEALTHY = "unhealthy"
    """It runs and has stopped answering."""
    WAITING = "waiting"
    """It ended by itself and is started again after a delay."""
    STOPPING = "stopping"
    """It was told to end."""
    STOPPED = "stopped"
    """It does not run and nobody wants it to."""


@dataclass(frozen=True)
class Report:
    """A process as `vic status` shows it."""

    role: str
    state: State
    pid: int | None
    uptime_seconds: float | None
    restarts: int
    """Starts after the first one, whoever asked for them."""
    last_exit: str
    """How it ended the last time; empty where it never has."""


class Supervisor:
    """Keeps one process running until it is told to stop."""

    def __init__(
        self,
        kind: ProcessKind,
        launch: Callable[[], Launched],
        open_probe: OpenProbe,
        log_file: RotatingLog,
        on_change: Callable[[], None],
    ) -> None:
        self.kind = kind
        self._launch = launch
        self._open_probe = open_probe
        self._log_file = log_file
        self._on_change = on_change
        self._state = State.STOPPED
        self._process: Launched | None = None
        self._started_at = 0.0
        self._starts = 0
        self._crashes_in_a_row = 0
        self._last_exit = ""
        self._wanted = True
        self._end_asked = asyncio.Event()

    @property
    def state(self) -> State:
        """Where the process stands."""
        return self._state

    @property
    def process(self) -> ProcessName | None:
        """The running process."""
        return None if self._process is None else self._process.name

    @property
    def crashes_in_a_row(self) -> int:
        """How often it has ended by itself without running for long in between."""
        return self._crashes_in_a_row

    def serves(self) -> bool:
        """Tell whether a healthy process is there, however late we hear of its end."""
        process = self._process
        return self._state is State.HEALTHY and process is not None and process.name.is_alive()

    def report(self) -> Report:
        """Return where it stands."""
        running = self._process is not None
        return Report(
            role=self.kind.role.value,
            state=self._state,
            pid=self._process.name.pid if self._process is not None else None,
            uptime_seconds=time.monotonic() - self._started_at if running else None,
            restarts=max(self._starts - 1, 0),
            last_exit=self._last_exit,
        )

    def stop(self) -> None:
        """Have the process ended for good; `run` returns when it has."""
        self._wanted = False
        self._end_asked.set()

    def restart(self) -> None:
        """Have the process ended and started again, at once where it waits after a crash."""
        self._end_asked.set()

    async def run(self) -> None:
        """Keep the process running until :meth:`stop`.

        Cancelling it leaves the process as it is.
        """
        while self._wanted:
            self._end_asked.clear()
            lasted = await self._run_once()
            if lasted is None:
                continue
            self._crashes_in_a_row = 1 if lasted > STABLE_SECONDS else self._crashes_in_a_row + 1
            await self._wait_before_next()
        self._change(State.STOPPED)

    async def _run_once(self) -> float | None:
        """Run the process once; returns how long it lasted, None when it was told to end."""
        try:
            process = self._launch()
        except OSError as error:
            self._last_exit = f"cannot be started: {error}"
            log.error(self._last_exit, extra={"role": self.kind.role})
            return 0.0
        self._process, self._started_at = process, time.monotonic()
        self._starts += 1
        self._change(State.STARTING)
        log.info("started", extra={"role": self.kind.role, "pid": process.name.pid})
        with watch_exit(process.name) as ended:
            output = asyncio.create_task(self._copy_log(process.output))
            health = asyncio.create_task(self._follow_health(process.name))
            asked = asyncio.create_task(self._end_asked.wait())
            try:
                either: set[asyncio.Future[Any]] = {ended, asked}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                by_itself = ended.done()
                health.cancel()
                if not by_itself:
                    self._change(State.STOPPING)
                    await self._end(process.name, ended)
                process.end_descendants()
                await asyncio.wait({output}, timeout=LAST_WORDS_SECONDS)
            finally:
                for task in (output, health, asked):
                    task.cancel()
                await asyncio.gather(output, health, asked, return_exceptions=True)
        self._last_exit = process.exit_status()
        self._process = None
        level = logging.WARNING if by_itself else logging.INFO
        log.log(level, "ended: %s", self._last_exit, extra={"role": self.kind.role})
        return time.monotonic() - self._started_at if by_itself else None

    async def _end(self, name: ProcessName, ended: asyncio.Future[None]) -> None:
        name.kill(signal.SIGTERM)
        await asyncio.wait({ended}, timeout=self.kind.stop_seconds)
        if not ended.done():
            log.warning("did not end in time: killed", extra={"role": self.kind.role})
            name.kill(signal.SIGKILL)
            await ended

    async def _wait_before_next(self) -> None:
        self._change(State.WAITING)
        delay = min(FIRST_DELAY * 2 ** (self._crashes_in_a_row - 1), LONGEST_DELAY)
        try:
            await asyncio.wait_for(self._end_asked.wait(), delay)
        except TimeoutError:
            return

    async def _follow_health(self, name: ProcessName) -> None:
        """Keep the state true; kill the process when it never serves, or hangs."""
        async with self._open_probe() as probe:
            if not await _serves(probe, START_SECONDS):
                log.error("does not serve: killed", extra={"role": self.kind.role})
                name.kill(signal.SIGKILL)
                return
            self._change(State.HEALTHY)
            missed = 0
            while missed < PROBES_MISSED:
                await asyncio.sleep(PROBE_INTERVAL)
                missed = 0 if await _serves(probe, PROBE_SECONDS) else missed + 1
                self._change(State.UNHEALTHY if missed else State.HEALTHY)
            log.error("hangs: killed", extra={"role": self.kind.role})
            name.kill(signal.SIGKILL)

    async def _copy_log(self, descriptor: int | None) -> None:
        """Copy what the process says into its log file, whole lines at a time."""
        if descriptor is None:
            return
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        rest = b""
        try:
            while chunk := await reader.read(65_536):
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                if len(rest) > LONGEST_LINE:
                    lines, newline, rest = lines + newline + rest, b"", b""
                self._write_log(lines + newline)
        finally:
            self._write_log(rest)
            transport.close()

    def _write_log(self, lines: bytes) -> None:
        try:
            self._log_file.write(lines)
        except OSError as error:
            # A full disk must not block the service on its log.
            log.error("log lines lost: %s", error, extra={"role": self.kind.role})

    def _change(self, state: State) -> None:
        if state is not self._state:
            self._state = state
            self._on_change()


async def _serves(probe: Probe, seconds: float) -> bool:
    try:
        await probe(seconds)
    except (TimeoutError, VicError):
        return False
    return True


@contextmanager
def watch_exit(name: ProcessName) -> Iterator[asyncio.Future[None]]:
    """Give a future that is done when a process has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = name.open()
    if descriptor is None:
        ended.set_result(None)
        yield ended
        return

    def on_exit() -> None:
        loop.remove_reader(descriptor)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, on_exit)
    try:
        yield ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
