"""How one process is kept running, with real processes and a health of our choosing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from installer import supervisor as module
from installer.launch import Launched
from installer.logfile import RotatingLog
from installer.probe import Probe
from installer.processes import ProcessName, name_of
from installer.roles import ProcessKind
from installer.supervisor import State, Supervisor
from portlayer.errors import Unavailable
from portlayer.identity import Role

ENDLESS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    "while True: signal.pause()"
)


class Bench:
    """A supervisor with all its changes on record."""

    def __init__(
        self, log: Path, scripts: list[str], *, healthy: bool = True, stop_seconds: float = 60
    ) -> None:
        self.scripts = scripts
        self.healthy = healthy
        self.states: list[State] = []
        self.pids: list[int] = []
        self._changed = asyncio.Event()
        self.log = log
        kind = ProcessKind(Role.EXEC, "services.exec", 2, stop_seconds=stop_seconds)
        self.supervisor = Supervisor(
            kind, self._launch, self._open_probe, RotatingLog(log), self._on_change
        )

    def _launch(self) -> Launched:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        reading, writing = os.pipe2(os.O_CLOEXEC)
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
        os.close(writing)
        # One that has ended already is a zombie, and no running process's name fits it.
        name = name_of(child.pid) or ProcessName(child.pid, 0)
        self.pids.append(child.pid)
        return Launched(name, child, reading)

    @asynccontextmanager
    async def _open_probe(self) -> AsyncIterator[Probe]:
        async def probe(seconds: float) -> None:
            while b"up" not in self.log.read_bytes():
                await self.log_grew()
            if not self.healthy:
                raise Unavailable("not serving")

        yield probe

    async def log_grew(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, os.sched_yield)

    def _on_change(self) -> None:
        self.states.append(self.supervisor.state)
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await self._changed.wait()

    async def until_state(self, state: State) -> None:
        await self.until(lambda: self.supervisor.state is state)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)


async def test_a_process_is_started_found_healthy_and_stopped(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", [ENDLESS])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until_state(State.HEALTHY)
        report = bench.supervisor.report()
        assert (report.pid, report.restarts, report.last_exit) == (bench.pids[0], 0, "")
        bench.supervisor.stop()
    assert bench.states == [State.STARTING, State.HEALTHY, State.STOPPING, State.STOPPED]
    assert bench.supervisor.report().last_exit == "killed by signal 15"
    assert bench.supervisor.process is None


async def test_a_crashed_process_comes_back_and_the_crash_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", ["import sys; print('dying'); sys.exit(3)", ENDLESS])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until_state(State.HEALTHY)
        report = bench.supervisor.report()
        assert (report.restarts, report.last_exit) == (1, "exit code 3")
        bench.supervisor.stop()
    assert State.WAITING in bench.states
    assert b"dying" in (tmp_path / "log").read_bytes()


async def test_crashes_in_a_row_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", ["raise SystemExit(1)"])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until(lambda: bench.supervisor.crashes_in_a_row >= 3)
        bench.supervisor.stop()


async def test_a_restart_is_no_crash(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", [ENDLESS])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until_state(State.HEALTHY)
        first = bench.supervisor.process
        bench.supervisor.restart()
        await bench.until(lambda: bench.supervisor.process not in (first, None))
        await bench.until_state(State.HEALTHY)
        assert bench.supervisor.crashes_in_a_row == 0
        assert bench.supervisor.report().restarts == 1
        bench.supervisor.stop()
    assert State.WAITING not in bench.states


async def test_what_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", [STUBBORN], stop_seconds=0.1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until_state(State.HEALTHY)
        bench.supervisor.stop()
    assert bench.supervisor.report().last_exit == "killed by signal 9"


async def test_what_never_serves_is_killed_and_started_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", [ENDLESS], healthy=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until(lambda: bench.supervisor.report().last_exit == "killed by signal 9")
        bench.healthy = True
        await bench.until_state(State.HEALTHY)
        bench.supervisor.stop()


async def test_a_hung_process_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_INTERVAL", 0.01)
    bench = Bench(tmp_path / "log", [ENDLESS])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until_state(State.HEALTHY)
        bench.healthy = False
        await bench.until_state(State.UNHEALTHY)
        await bench.until_state(State.WAITING)
        bench.healthy = True
        await bench.until_state(State.HEALTHY)
        bench.supervisor.stop()


async def test_what_a_service_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print('up', child.pid, flush=True); raise SystemExit(1)"
    )
    bench = Bench(tmp_path / "log", [parent, ENDLESS])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until(lambda: bench.supervisor.report().restarts == 1)
        child = int((tmp_path / "log").read_text().split()[1])
        left = name_of(child)
        assert left is None or await asyncio.to_thread(left.wait, 60)
        bench.supervisor.stop()


async def test_a_program_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log", [ENDLESS])
    launch = bench.supervisor._launch
    attempts = iter([OSError("out of processes")])

    def fail_once() -> Launched:
        for error in attempts:
            raise error
        return launch()

    bench.supervisor._launch = fail_once
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until_state(State.HEALTHY)
        bench.supervisor.stop()


async def test_a_full_disk_does_not_block_the_service_on_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = "print('up', flush=True); print('x' * 200_000, flush=True); raise SystemExit(0)"
    bench = Bench(tmp_path / "log", [flood, ENDLESS])
    write = RotatingLog.write

    def write_first_line(self: RotatingLog, chunk: bytes) -> None:
        if b"x" in chunk:
            raise OSError("no space left on device")
        write(self, chunk)

    monkeypatch.setattr(RotatingLog, "write", write_first_line)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.supervisor.run())
        await bench.until(lambda: bench.supervisor.report().last_exit == "exit code 0")
        bench.supervisor.stop()
