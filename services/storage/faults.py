"""What a failing disk means to a caller."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from portlayer.errors import VicError
from services.storage.imagec.errors import StoreFailed, StoreFull

log = logging.getLogger("vic.storage")

FULL = (errno.ENOSPC, errno.EDQUOT)

FAILED = frozenset(
    {
        *(errno.EROFS, errno.EIO, errno.EUCLEAN, errno.ENODEV, errno.ENXIO),
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EREMOTEIO),
    }
)
"""What a disk that fails or a server that is away gives; none is ever a fault of ours."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})
"""What a store that isn't mounted gives, and a mere file as well."""


class storage_faults:  # noqa: N801 - a context manager used like a function
    """Turns a full disk into StoreFull, in Docker's words."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise StoreFull in place of ENOSPC and EDQUOT."""
        if isinstance(error, OSError) and error.errno in FULL:
            where = f"write {error.filename}: " if error.filename else ""
            raise StoreFull(f"{where}no space left on device") from error


class StoreFaults:
    """Tells a caller which store it is that can't be used, and why."""

    def __init__(self, stores: Mapping[Path, str]) -> None:
        """`stores` has the directories that must be there, and what they are called."""
        self._stores = {path.resolve(): f"{name} ({path})" for path, name in stores.items()}

    def __call__(self, error: OSError) -> VicError | None:
        """Return StoreFull or StoreFailed; None where a store is no cause of the error."""
        where: str | None = None
        if error.errno in FULL or error.errno in FAILED:
            where = self._of(error)
        elif error.errno in _GONE:
            # Looked at for these alone: a file server that hangs would hold all calls up.
            where = self._away()
        if where is None:
            return None
        log.error("a store can't be used: %s", error)
        what = os.strerror(error.errno or 0).lower()
        if error.errno in FULL:
            return StoreFull(f"{where}: {what}")
        return StoreFailed(f"{where} can't be used: {what}")

    def _of(self, error: OSError) -> str:
        """Name the store that an error comes from."""
        named = Path(os.fsdecode(error.filename)) if _is_path(error.filename) else None
        for path, name in self._stores.items():
            if named is not None and named.is_relative_to(path):
                return name
        # A write that fails doesn't say where it went.
        return "the storage service's disk"

    def _away(self) -> str | None:
        """Name the first store that isn't there, or not ours to write."""
        for path, name in self._stores.items():
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                return name
        return None


def _is_path(filename: object) -> bool:
    return isinstance(filename, str | bytes | os.PathLike)
