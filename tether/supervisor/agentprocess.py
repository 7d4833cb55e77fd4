"""The agent as a process: how it begins, and with what environment."""

from __future__ import annotations

import os

from tether.link import Link, pair

_AGENT_DESCRIPTOR = 3
_INTERPRETER = "/usr/bin/python3.11"
_AGENT = f"from tether.agent.__main__ import main; main({_AGENT_DESCRIPTOR})"
_AGENT_ENVIRONMENT = {
    "PATH": "/usr/bin",
    # One heap instead of one for each thread: less private memory in each clone.
    "MALLOC_ARENA_MAX": "1",
    # What a MB of output takes stays with the heap, which would give it to the kernel and have it
    # back, zeroed page by page: 100 page faults a MB, each some 50 us where they are emulated.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 1024 * 1024),
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "GRPC_DNS_RESOLVER": "native",
    "GRPC_VERBOSITY": "NONE",
}


def start_agent() -> tuple[Link, int]:
    """Start the agent; return our end of the link to it, and its process ID."""
    ours, theirs = pair()
    pid = os.posix_spawn(
        _INTERPRETER,
        [_INTERPRETER, "-IBSu", "-c", _AGENT],
        _AGENT_ENVIRONMENT,
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _AGENT_DESCRIPTOR)],
    )
    theirs.close()
    return ours, pid
