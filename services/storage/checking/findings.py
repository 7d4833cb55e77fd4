"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Subject(Enum):
    """What something is wrong with."""

    BASE = "base disk"
    LAYER = "layer"
    BLOB = "blob"
    IMAGE = "image"
    NAMES = "names of an image"
    DISK = "container's disk"
    VOLUME = "volume"
    USES = "container's volumes"
    LEFTOVER = "leftover"


class Outcome(Enum):
    """What became of it."""

    REPAIRABLE = "can be repaired"
    """With what is in the store itself; nothing is lost."""

    REPAIRED = "repaired"

    LOST = "lost"
    """What is missing isn't in the store; the finding says what to do."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong."""

    subject: Subject
    name: str
    what: str
    outcome: Outcome

    def __str__(self) -> str:
        """For people, on one line."""
        return f"{self.subject.value} {self.name}: {self.what} ({self.outcome.value})"


class Findings:
    """Collects what a check finds, and repairs it where that is wished."""

    def __init__(self, *, repair: bool, tell: Callable[[Finding], None]) -> None:
        self.repair = repair
        self._tell = tell
        self.all: list[Finding] = []

    def add(self, subject: Subject, name: str, what: str, outcome: Outcome) -> None:
        """Tell of something."""
        finding = Finding(subject, name, what, outcome)
        self.all.append(finding)
        self._tell(finding)

    def lost(self, subject: Subject, name: str, what: str) -> None:
        """Tell of something that can't be mended here."""
        self.add(subject, name, what, Outcome.LOST)

    def mend(self, subject: Subject, name: str, what: str, by: Callable[[], object]) -> None:
        """Tell of something that `by` mends, which is done where repair is wished. Blocks.

        Raises OSError where it can't be done.
        """
        if self.repair:
            by()
        self.add(subject, name, what, Outcome.REPAIRED if self.repair else Outcome.REPAIRABLE)

    def mendable(self, *subjects: Subject) -> bool:
        """Whether something is wrong with these that can be mended and isn't yet."""
        return any(
            finding.subject in subjects and finding.outcome is Outcome.REPAIRABLE
            for finding in self.all
        )

    @property
    def exit_code(self) -> int:
        """0: nothing is wrong; 3: all that was wrong is repaired; 4: something is wrong still."""
        if all(finding.outcome is Outcome.REPAIRED for finding in self.all):
            return 3 if self.all else 0
        return 4
