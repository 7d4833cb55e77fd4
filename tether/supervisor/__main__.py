"""What the kernel starts as PID 1 of a container VM (see ``/init`` in the bootstrap image)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from tether.supervisor import boot
from tether.supervisor.supervisor import Supervisor, halt


def main() -> NoReturn:
    """Be PID 1. What goes wrong before or in the loop is said on the console, and ends the VM."""
    try:
        Supervisor().run()
    except BaseException as error:  # noqa: BLE001 — PID 1 has nobody above it to report to
        boot.log(f"{type(error).__name__}: {error}")
        for line in _trace(error):
            boot.log(line)
        if Path("/proc/self").exists():
            os.sync()
        halt()


def _trace(error: BaseException) -> list[str]:
    lines = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{step.tb_lineno} in {code.co_name}")
        step = step.tb_next
    return lines
