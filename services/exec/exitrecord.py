"""How an init process ended, as the tether wrote it before it powered its VM off."""

import json
import time
from dataclasses import dataclass

# What Docker says of a container whose processes were killed.
KILLED = 137
# And of one that it finds dead after the host has come up anew.
LOST_WITH_HOST = 255


@dataclass(frozen=True)
class Exit:
    """How an init process ended."""

    exit_code: int
    oom_killed: bool
    finished_ns: int
    host_restarted: bool = False
    """The host went down with it: its restart policy begins anew, as after a boot."""


def parse_exit_record(record: bytes) -> Exit | None:
    """Return what a tether wrote before its power-off, or None when it wrote nothing sound.

    The guest is not trusted: anything that isn't of the right form counts as nothing.
    """
    try:
        fields = json.loads(record.strip().splitlines()[-1]) if record.strip() else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    code, oom, finished = (fields.get(k) for k in ("exit_code", "oom_killed", "finished_at_ns"))
    if type(code) is not int or not 0 <= code <= 255:
        return None
    if type(finished) is not int or not 0 < finished < 2**63:
        finished = time.time_ns()
    return Exit(code, oom is True, finished)
