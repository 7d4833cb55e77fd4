"""Lets gRPC's threads be woken late, so that they are woken together.

gRPC's pool looks about some ten times a second even when nothing is on the line. Under an emulator
each look costs the host more than the guest: an idle container VM took 1% of a core, and most of
that was this. With slack the kernel lets a timer wait for the next one that is due.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio

# Far below gRPC's own bounds here, which are seconds (keepalive, connection attempts).
SLACK_NS = 250_000_000
# <linux/prctl.h>
_PR_SET_TIMERSLACK = 29
_PR_GET_TIMERSLACK = 30

_libc = ctypes.CDLL(None, use_errno=True)


def start_threads() -> grpc.aio.Channel:
    """Start gRPC's threads with slack timers. Raises OSError.

    A thread has the slack of the one that started it; gRPC's later ones are started by its first.
    The calling thread's own, which times output and health checks, stays exact. They last as long
    as the channel that is returned: without one, gRPC ends them after each last connection.
    Source: prctl(2).
    """
    with _slack(SLACK_NS):
        return grpc.aio.insecure_channel("ipv4:127.0.0.1:9")


@contextmanager
def _slack(nanoseconds: int) -> Iterator[None]:
    before = _prctl(_PR_GET_TIMERSLACK, 0)
    _prctl(_PR_SET_TIMERSLACK, nanoseconds)
    try:
        yield
    finally:
        _prctl(_PR_SET_TIMERSLACK, before)


def _prctl(option: int, argument: int) -> int:
    none = ctypes.c_ulong(0)
    result = int(_libc.prctl(option, ctypes.c_ulong(argument), none, none, none))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
