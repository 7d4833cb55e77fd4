"""The processes of the workload: launched, known, reaped."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NoReturn

from tether.files.task import carry_out
from tether.link import Link, LinkClosedError, pair
from tether.supervisor import kernelfile, syscalls
from tether.supervisor.boot import WORKLOAD_CGROUP, log
from tether.supervisor.comparison import enter_comparison
from tether.supervisor.failures import LaunchFailure
from tether.supervisor.forking import fork_in_new_pid_namespace, fork_in_pid_namespace
from tether.supervisor.freezer import Freezer
from tether.supervisor.launch import become
from tether.supervisor.loop import Loop
from tether.supervisor.request import (
    FileRequest,
    ProcessRequest,
    SandboxRequest,
    process_fields,
)
from tether.supervisor.sandbox import wait_as_init

# Room for as much as the agent sends at once, so that it and the process take turns less often.
_PIPE_BYTES = 512 * 1024
_F_SETPIPE_SZ = 1031
_WORKLOAD_PROCESSES = f"{WORKLOAD_CGROUP}/cgroup.procs"
_MEMORY_EVENTS = f"{WORKLOAD_CGROUP}/memory.events"


class State(Enum):
    """Where a process is in its life."""

    LAUNCHING = auto()
    RUNNING = auto()
    FAILED = auto()
    EXITED = auto()


@dataclass
class Process:
    """A process that was asked for; ``streams`` are our ends of its pipes or terminal."""

    process_id: str
    init: bool
    tty: bool
    pid: int = 0
    report: Link | None = None
    streams: dict[str, int] = field(default_factory=dict)
    state: State = State.LAUNCHING
    started_ns: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    finished_ns: int = 0
    failure: LaunchFailure | None = None
    message: str = ""

    def fail(self, failure: LaunchFailure, message: str) -> None:
        """Be over before it ran."""
        self.state = State.FAILED
        self.failure = failure
        self.message = message
        self.finished_ns = time.time_ns()
        self.exit_code = failure.exit_code
        self.close_streams()

    def close_streams(self) -> None:
        """Close our ends: somebody else has them now, or nobody needs them."""
        for descriptor in self.streams.values():
            os.close(descriptor)
        self.streams.clear()


class Sandbox:
    """The init process in waiting, and with it the container's namespaces."""

    def __init__(self, network: int) -> None:
        """Fork it. ``network`` is a descriptor of the container's network namespace."""
        self.link, theirs = pair()
        self.pid = fork_in_new_pid_namespace(lambda: wait_as_init(theirs, network))
        theirs.close()
        self.pidfd = os.pidfd_open(self.pid)

    def wait_until_prepared(self) -> None:
        """Wait until the namespaces are complete. Raises LinkClosedError if they can't be made."""
        self.link.receive()
        # Held for the life of the VM: else the end of the init process is told only after the
        # kernel has taken down all its mounts, which nobody needs.
        self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def kill(self) -> None:
        """Kill the init process, and so everything in the container."""
        try:
            syscalls.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return


class ProcessTable:
    """All processes of this VM's container, from launch to exit."""

    def __init__(self, loop: Loop, sandbox: Sandbox, on_change: Callable[[Process], None]) -> None:
        """``on_change`` is called whenever a process has started, failed or exited."""
        self._loop = loop
        self._sandbox = sandbox
        self._on_change = on_change
        self._processes: dict[str, Process] = {}
        self._by_pid: dict[int, Process] = {}
        self._freezer = Freezer(WORKLOAD_CGROUP)
        loop.on_child(self.reap)

    def all(self) -> list[Process]:
        """Every process that was asked for."""
        return list(self._processes.values())

    def get(self, process_id: str) -> Process | None:
        """The process with this ID."""
        return self._processes.get(process_id)

    def launch(
        self, process_id: str, request: ProcessRequest, sandbox: SandboxRequest | None
    ) -> None:
        """Start a process; what became of it is told by ``on_change``.

        With a ``sandbox`` it is the init process, otherwise an additional one.
        """
        ours, theirs = open_streams(request)
        process = Process(process_id, sandbox is not None, request.tty, streams=ours)
        self._processes[process_id] = process
        try:
            if sandbox is not None:
                order = launch_order(request, sandbox)
                self._sandbox.link.send(order, theirs)
                self._follow(process, self._sandbox.link, self._sandbox.pid)
            else:
                self._add(process, request, theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def _add(self, process: Process, request: ProcessRequest, streams: list[int]) -> None:
        if request.files is not None and request.files.freeze:
            self._hold(process.process_id)
        try:
            self._follow(process, *self._fork(request, streams))
        except OSError as error:
            # The container has just ended, or there is no memory for one more.
            self._freezer.release(process.process_id)
            process.fail(LaunchFailure.SETUP, f"no process can be had: {error.strerror}")
            self._on_change(process)

    def _follow(self, process: Process, report: Link, pid: int) -> None:
        process.report, process.pid = report, pid
        self._by_pid[pid] = process
        self._loop.watch(report.fileno(), lambda: self._read_report(process, report))

    def refuse(self, process_id: str, message: str) -> None:
        """Have the launch of the init process fail before it was asked to do anything."""
        process = Process(process_id, True, False, self._sandbox.pid)
        process.fail(LaunchFailure.SETUP, message)
        self._processes[process_id] = process
        self._by_pid[process.pid] = process
        self._sandbox.kill()
        self._on_change(process)

    def forget(self, process_id: str) -> None:
        """The exit of a process is on record."""
        process = self._processes.get(process_id)
        if process is not None and process.state in (State.EXITED, State.FAILED):
            del self._processes[process_id]

    def signal(self, process_id: str, number: int) -> str:
        """Send a signal; returns why that was impossible, or nothing."""
        process = self._processes.get(process_id)
        if process is None or process.state is not State.RUNNING:
            return f"process {process_id} is not running"
        try:
            os.kill(process.pid, number)
        except OSError as error:
            return f"signal {number}: {error.strerror}"
        return ""

    def _fork(self, request: ProcessRequest, streams: list[int]) -> tuple[Link, int]:
        report, theirs = pair()
        sandbox = self._sandbox.pidfd

        def child() -> NoReturn:
            kernelfile.put("/proc/self/oom_score_adj", b"0")
            if request.files is not None:
                # Not in the workload's cgroup, whose limits are the workload's to use.
                os.setsid()
                for number, descriptor in enumerate(streams):
                    os.dup2(descriptor, number)
                # It runs from here on.
                theirs.close()
                task = request.files
                carry_out(task, lambda: self._go_to_files(task))
            kernelfile.put(_WORKLOAD_PROCESSES, b"0")
            os.setsid()
            syscalls.setns(
                sandbox,
                syscalls.CLONE_NEWNS
                | syscalls.CLONE_NEWIPC
                | syscalls.CLONE_NEWUTS
                | syscalls.CLONE_NEWNET
                | syscalls.CLONE_NEWCGROUP,
            )
            become(request, streams, theirs, init=False)

        try:
            return report, fork_in_pid_namespace(sandbox, child)
        except OSError:
            report.close()
            raise
        finally:
            theirs.close()

    def _hold(self, process_id: str) -> None:
        """Hold the workload for a process, which waits for that and says where it is in vain."""
        try:
            self._freezer.hold(process_id)
        except OSError as error:
            log(f"the workload can't be held: {error}")

    def _go_to_files(self, task: FileRequest) -> set[int] | None:
        """Have in sight what work on files is about; called by the process that does it.

        Returns the inodes that may differ from the image's, where that can be told.
        """
        if not task.compares:
            syscalls.setns(self._sandbox.pidfd, syscalls.CLONE_NEWNS)
            return None
        if task.freeze:
            self._freezer.wait()
        return enter_comparison(task.image_lun)

    def _read_report(self, process: Process, report: Link) -> None:
        """Take in what a process that is about to be executed says; its silent end is success."""
        while process.state is State.LAUNCHING:
            try:
                message, descriptors = report.receive(wait=False)
            except BlockingIOError:
                return
            except LinkClosedError:
                process.state = State.RUNNING
                process.started_ns = time.time_ns()
                break
            self._take_report(process, message, descriptors)
        self._loop.forget(report.fileno())
        report.close()
        self._on_change(process)

    @staticmethod
    def _take_report(process: Process, message: dict[str, Any], descriptors: list[int]) -> None:
        if "failure" in message:
            process.fail(LaunchFailure(message["failure"]), message["message"])
        elif "terminal" in message:
            process.streams["terminal"] = descriptors[0]

    def reap(self) -> None:
        """Collect the children that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._by_pid.pop(pid, None)
            if process is None:
                self.on_stranger(pid, status)
                continue
            self._freezer.release(process.process_id)
            if process.state is State.LAUNCHING and process.report is not None:
                self._read_report(process, process.report)
            if process.state is State.RUNNING:
                code = os.waitstatus_to_exitcode(status)
                process.exit_code = code if code >= 0 else 128 - code
                process.oom_killed = _oom_kills() > 0
                process.finished_ns = time.time_ns()
                process.state = State.EXITED
                self._on_change(process)

    def on_stranger(self, pid: int, status: int) -> None:
        """A child ended that is no process of the workload; the supervisor sets this."""


def launch_order(request: ProcessRequest, sandbox: SandboxRequest) -> dict[str, Any]:
    """Order to the waiting init: become this process, surrounded by that."""
    return {"order": "launch", "process": process_fields(request), "sandbox": vars(sandbox)}


def open_streams(request: ProcessRequest) -> tuple[dict[str, int], list[int]]:
    """Our ends by name, and the process's 0, 1 and 2; with a terminal there are neither."""
    if request.tty:
        return {}, []
    ours: dict[str, int] = {}
    if request.stdin:
        stdin, ours["stdin"] = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(stdin, _F_SETPIPE_SZ, _PIPE_BYTES)
    else:
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    theirs = [stdin]
    for name in ("stdout", "stderr"):
        ours[name], writing = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_BYTES)
        theirs.append(writing)
    return ours, theirs


def _oom_kills() -> int:
    """Processes of the workload that the kernel killed for lack of memory."""
    for line in kernelfile.take(_MEMORY_EVENTS).split(b"\n"):
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0
