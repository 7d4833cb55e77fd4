"""What a failing disk means to a caller."""

from __future__ import annotations

import errno

from services.storage.imagec.errors import StoreFull

FULL = (errno.ENOSPC, errno.EDQUOT)


class storage_faults:  # noqa: N801 - a context manager used like a function
    """Turns a full disk into StoreFull, in Docker's words."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise StoreFull in place of ENOSPC and EDQUOT."""
        if isinstance(error, OSError) and error.errno in FULL:
            where = f"write {error.filename}: " if error.filename else ""
            raise StoreFull(f"{where}no space left on device") from error
