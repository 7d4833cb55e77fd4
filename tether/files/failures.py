"""Why work on the container's files can't be done."""

from __future__ import annotations

import errno
from enum import Enum


class FileFailure(Enum):
    """As vic.tether.v1.FileTask has it."""

    NOT_FOUND = "not_found"
    NOT_DIRECTORY = "not_directory"
    READ_ONLY = "read_only"
    INVALID = "invalid"
    FAILED = "failed"


class FileError(Exception):
    """A refusal; the message is for people, in Docker's words where Docker has some."""

    def __init__(self, failure: FileFailure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


_FAILURES = {
    errno.ENOENT: FileFailure.NOT_FOUND,
    errno.ENOTDIR: FileFailure.NOT_DIRECTORY,
    errno.EROFS: FileFailure.READ_ONLY,
}


def of_system(error: OSError, verb: str, path: str) -> FileError:
    """What the kernel refused, in the words of Go's os package."""
    words = (error.strerror or str(error)).lower()
    failure = _FAILURES.get(error.errno or 0, FileFailure.FAILED)
    return FileError(failure, f"{verb} {path}: {words}")
