"""The memory of processes, watched while they work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_SECONDS = 0.02


class Memory:
    """The most that a process and all that it has started take at once, while it is watched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most_bytes = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every so often."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                self.most_bytes = max(self.most_bytes, sum(map(_own_bytes, _family(self._pid))))

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _own_bytes(pid: int) -> int:
    """Return a process's share of memory (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
