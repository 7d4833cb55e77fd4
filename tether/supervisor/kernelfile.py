"""Small files of the kernel's, read and written by bare system calls.

pathlib and io cost an emulated guest milliseconds for each file, most of all a child that has just
been forked and has to copy every page which they touch.
"""

from __future__ import annotations

import os

_PART = 64 * 1024


def put(path: str, text: bytes) -> None:
    """Write a file that is there, at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def take(path: str) -> bytes:
    """All of a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return rest(descriptor)
    finally:
        os.close(descriptor)


def rest(descriptor: int, most: int | None = None) -> bytes:
    """What is left to read behind a descriptor, or the first ``most`` bytes of it."""
    parts = []
    size = 0
    while most is None or size < most:
        part = os.read(descriptor, _PART if most is None else min(_PART, most - size))
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)
