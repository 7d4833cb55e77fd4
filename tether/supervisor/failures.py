"""Why a process could not be launched; shared with the agent, which tells it to interaction."""

from __future__ import annotations

from enum import Enum


class LaunchFailure(Enum):
    """Kinds of failure; the names are those of vic.tether.v1.LaunchFailure."""

    NOT_FOUND = "NOT_FOUND"
    NOT_EXECUTABLE = "NOT_EXECUTABLE"
    UNKNOWN_USER = "UNKNOWN_USER"
    WORKING_DIRECTORY = "WORKING_DIRECTORY"
    SETUP = "SETUP"

    @property
    def exit_code(self) -> int:
        """What Docker reports for it."""
        return _EXIT_CODES.get(self, 128)


_EXIT_CODES = {
    LaunchFailure.NOT_FOUND: 127,
    LaunchFailure.NOT_EXECUTABLE: 126,
    LaunchFailure.UNKNOWN_USER: 126,
    LaunchFailure.WORKING_DIRECTORY: 126,
}


class LaunchError(Exception):
    """A process can't be launched; the message is a sentence in Docker's words."""

    def __init__(self, failure: LaunchFailure, message: str) -> None:
        """Say why, and of what kind it is."""
        super().__init__(message)
        self.failure = failure


def sentence(error: OSError) -> str:
    """What the system says of an error, without its number."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
