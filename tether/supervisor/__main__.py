"""What the kernel starts as PID 1 of a container VM (see ``/init`` in the bootstrap image)."""

from __future__ import annotations

from tether.supervisor.supervisor import run as main

__all__ = ["main"]
