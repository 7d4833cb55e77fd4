"""What a process has open."""

import os
from contextlib import suppress


def open_descriptors() -> set[tuple[int, str]]:
    """Return this process's descriptors, each with what it leads to.

    A test looks for what is there beyond those of before: to count them is wrong where the garbage
    of tests before it, or a thread of theirs, closes some meanwhile.
    """
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one of the listing itself
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found
