"""Finds the program of a process inside the container's root, and words what is wrong with it.

The rules and the sentences are those of Go's ``os/exec.LookPath``, which runc and so Docker use.
"""

from __future__ import annotations

import os
import stat

from tether.supervisor.failures import LaunchError, LaunchFailure

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_executable(name: str, path: str) -> str:
    """The file to execute for ``name``, as the user and in the directory of the caller.

    Raises LaunchError: NOT_FOUND (127) or NOT_EXECUTABLE (126).
    """
    if "/" in name:
        _check(name)
        return name
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        # Most are not there, and an emulated guest is slow to raise and catch.
        if not os.access(candidate, os.X_OK, effective_ids=True):
            continue
        try:
            _check(candidate)
        except LaunchError:
            continue
        return candidate
    raise LaunchError(
        LaunchFailure.NOT_FOUND, f'exec: "{name}": executable file not found in $PATH'
    )


def _check(file: str) -> None:
    try:
        mode = os.stat(file).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = (error.strerror or "").lower()
        raise LaunchError(
            LaunchFailure.NOT_FOUND, f'exec: "{file}": stat {file}: {reason}'
        ) from error
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise LaunchError(LaunchFailure.NOT_EXECUTABLE, f'exec: "{file}": {reason}') from error
    if stat.S_ISDIR(mode):
        raise LaunchError(LaunchFailure.NOT_EXECUTABLE, f'exec: "{file}": is a directory')
    if not mode & 0o111 or not os.access(file, os.X_OK, effective_ids=True):
        raise LaunchError(LaunchFailure.NOT_EXECUTABLE, f'exec: "{file}": permission denied')
