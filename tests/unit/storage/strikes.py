"""Steps that kill the process which does them, or that fail.

A step is a call that changes the file system.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from services.storage.worker_process import WorkerProcess

STEPS = ("rename", "replace", "mkdir", "unlink", "rmdir", "fsync", "chmod", "link", "ftruncate")
WORKER_STEPS = (*STEPS, "fchmod", "pwrite", "pwritev")
"""A worker's own work is what it writes."""

KILL = "KILL"
FAULTS = (KILL, "EIO", "ENOSPC")
FAULTED = 3
"""Exit code of a process in which a step failed."""


class Faulted(Exception):
    """A step failed."""


@contextmanager
def struck_at(
    step: int, fault: str, steps: tuple[str, ...] = STEPS, once: Path | None = None
) -> Iterator[Callable[[], bool]]:
    """Have this process killed before a step that it does from now on, or the step fail.

    Of several processes that have a strike ahead one is struck, the first, where they name the
    same file that isn't there yet. Gives whether that has happened.
    """
    count = 0

    def wrapped(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == step and _is_first(once):
            if fault == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number))
        return call(*args, **kwargs)

    opened = os.open

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        call = partial(wrapped, opened) if flags & os.O_CREAT else opened
        return call(path, flags, *args, **kwargs)

    def _is_first(once: Path | None) -> bool:
        if once is None:
            return True
        try:
            os.close(opened(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    before = {name: getattr(os, name) for name in steps}
    for name, call in before.items():
        setattr(os, name, partial(wrapped, call))
    os.open = open_
    try:
        yield lambda: 0 < step <= count
    finally:
        os.open = opened
        for name, call in before.items():
            setattr(os, name, call)


@contextmanager
def worker_struck_at(step: int, fault: str, once: Path) -> Iterator[Callable[[], bool]]:
    """As `struck_at`, in one of the worker processes that start from now on."""
    before = WorkerProcess.program
    if step:
        WorkerProcess.program = (
            *("-m", "tests.unit.storage.mortal_worker"),
            *(str(step), fault, str(once)),
        )
    try:
        yield once.exists
    finally:
        WorkerProcess.program = before


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; return its exit code, of a signal's as -number."""
    child = os.fork()
    if child == 0:
        _end_with(work)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _end_with(work: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        work()
        code = 0
    except Faulted:
        code = FAULTED
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
