"""Has the TLS library's random generator begin anew in a clone of a machine that has used it.

BoringSSL seeds its generator once and goes on from there: a machine that is forked after its first
TLS connection would share keys with its siblings. It watches for fork(2), though: a page that the
kernel clears in a child (MADV_WIPEONFORK) tells it to seed again. Clearing that page says the same
after a fork of the whole machine, which no kernel inside can see.
"""

from __future__ import annotations

import ctypes
import os

_MADV_DONTNEED = 4
_PAGE = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class NoForkDetection(Exception):
    """The TLS library doesn't watch for forks."""


def fork_pages() -> list[int]:
    """Return the addresses of the pages that tell of forks. Raises NoForkDetection.

    They are there once a random number was needed. Source: proc(5) on VmFlags, madvise(2).
    """
    found: list[int] = []
    start = end = 0
    with open("/proc/self/smaps", "rb") as file:
        for line in file:
            first, _, rest = line.partition(b" ")
            if first == b"VmFlags:":
                if b" wf" in rest:
                    found += range(start, end, _PAGE)
            elif not first.endswith(b":"):
                start, end = (int(part, 16) for part in first.split(b"-"))
    if not found:
        raise NoForkDetection
    return found


def begin_anew(pages: list[int]) -> None:
    """Have the generator seed itself from the kernel before its next number. Raises OSError."""
    for page in pages:
        if _libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), _MADV_DONTNEED):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
