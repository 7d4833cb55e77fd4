"""The watcher's start: all of the suite is up then, or what kept it from that is told."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from installer.control import ask
from installer.errors import InstallerError, StartError
from installer.instance import Instance
from installer.launch import service_environment
from installer.processes import stop_process
from installer.records import WATCHER, load_processes
from installer.slots import SlotClaim
from portlayer.identity import Role

START_SECONDS = 180.0
STALE_SECONDS = 20.0
LOG_LINES = 15

Say = Callable[[str], None]


def end_stale_services(instance: Instance) -> None:
    """End services whose watcher was killed; they were told to by the kernel already."""
    for role, process in load_processes(instance.processes_file).items():
        if role != Role.HOSTAGENT:
            stop_process(process, STALE_SECONDS)


def run_watcher(
    instance: Instance, claim: SlotClaim, listener: socket.socket | None, say: Say
) -> None:
    """Start an instance's watcher, and return when all that it starts is up.

    It gets the slot and, where there is one, the endpoint's listener. Raises StartError with the
    end of the log of what did not start; nothing of it runs then.
    """
    events, ready = os.pipe2(os.O_CLOEXEC)
    command = [sys.executable, "-m", "installer.watcher", f"--data-dir={instance.data_dir}"]
    command += [f"--slot-fd={claim.descriptor}", f"--ready-fd={ready}"]
    inherited = [claim.descriptor, ready]
    if listener is not None:
        command.append(f"--listen-fd={listener.fileno()}")
        inherited.append(listener.fileno())
    with instance.log_file(WATCHER).open("ab", buffering=0) as log:
        watcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=service_environment(instance),
            pass_fds=inherited,
            start_new_session=True,
        )
    os.close(ready)
    try:
        _await_ready(instance, events, say)
    except BaseException:
        _end_watcher(instance, watcher)
        raise
    finally:
        os.close(events)


def _await_ready(instance: Instance, events: int, say: Say) -> None:
    for event in _read_events(events, START_SECONDS):
        match event:
            case {"ready": True}:
                return
            case {"healthy": role}:
                say(f"{role} is up")
            case {"failed": role, "why": why}:
                raise StartError(
                    f"{role} does not start ({why}); the end of {instance.log_file(role)}:\n"
                    + _last_lines(instance.log_file(role))
                )
    log = instance.log_file(WATCHER)
    raise StartError(f"the watcher ended; the end of {log}:\n{_last_lines(log)}")


def _read_events(descriptor: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the watcher's events until it closes its end. Raises StartError past `seconds`."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    rest = b""
    while True:
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise StartError(f"the suite is not up after {seconds:.0f} s; see its logs")
        chunk = os.read(descriptor, 65_536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _end_watcher(instance: Instance, watcher: "subprocess.Popen[bytes]") -> None:
    """End what a failed start has started; with machines of an earlier run, not their agent."""
    try:
        ask(instance.control_socket, "shutdown", seconds=60)
    except InstallerError:
        watcher.kill()
    watcher.wait()
    for process in load_processes(instance.processes_file).values():
        stop_process(process, STALE_SECONDS)


def _last_lines(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
