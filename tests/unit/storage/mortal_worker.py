"""A worker that is struck at a step: `python -m tests.unit.storage.mortal_worker STEP FAULT FILE`.

Of all that name one file, only one is.
"""

from __future__ import annotations

import os
import sys
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from services.storage import worker, worker_archives
from tests.unit.storage.strikes import WORKER_STEPS, struck_at


class _Stepwise(FileIO):
    """A file of what a worker takes in: each write is a step, by a call that can be struck."""

    def write(self, data: Any, /) -> int:
        written = os.pwrite(self.fileno(), data, self.tell())
        self.seek(written, os.SEEK_CUR)
        return written


def _new_file(path: Path) -> BinaryIO:
    return _Stepwise(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660), "wb")


def main() -> int:
    """Be the worker."""
    step, fault, once = sys.argv[1:]
    worker_archives.new_file = _new_file
    with struck_at(int(step), fault, WORKER_STEPS, Path(once)):
        return worker.main()


if __name__ == "__main__":
    sys.exit(main())
