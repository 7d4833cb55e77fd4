"""Forks children of PID 1, in its own PID namespace or in a container's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from tether.supervisor import syscalls
from tether.supervisor.failures import LaunchFailure

_OWN_PID_NAMESPACE = "/proc/self/ns/pid"


def fork_in_new_pid_namespace(child: Callable[[], NoReturn]) -> int:
    """Run ``child`` as PID 1 of a new namespace; returns its process ID in ours."""
    return _fork_elsewhere(lambda: syscalls.unshare(syscalls.CLONE_NEWPID), child)


def fork_in_pid_namespace(target: int, child: Callable[[], NoReturn]) -> int:
    """Run ``child`` in the namespace of the process behind a pidfd; returns its ID in ours.

    Raises OSError: there may be nobody any more.
    """
    return _fork_elsewhere(lambda: syscalls.setns(target, syscalls.CLONE_NEWPID), child)


def _fork_elsewhere(enter: Callable[[], None], child: Callable[[], NoReturn]) -> int:
    own = os.open(_OWN_PID_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter()
        try:
            return fork(child)
        finally:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
    finally:
        os.close(own)


def fork(child: Callable[[], NoReturn]) -> int:
    """Run ``child`` in a process of its own; returns its process ID."""
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            child()
        except BaseException as error:  # noqa: BLE001 — a child must never return into PID 1's code
            os.write(2, f"tether: child {os.getpid()}: {error!r}\n".encode())
        finally:
            os._exit(LaunchFailure.SETUP.exit_code)
    return pid
