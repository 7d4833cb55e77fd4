"""Words of a command line, read so that all that is wrong with them is said at once."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from installer.errors import InstallerError, UsageError

T = TypeVar("T")


class Words:
    """Collects what is wrong with the options of one command."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._wrong: list[str] = []

    def read(self, option: str, parse: Callable[[], T], instead: T) -> T:
        """Return what an option means; where it means nothing note that, and return ``instead``."""
        try:
            return parse()
        except InstallerError as error:
            self.refuse(option, str(error))
            return instead

    def refuse(self, option: str, problem: str) -> None:
        """Note what is wrong with an option."""
        self._wrong.append(option)
        self.problems.append(problem if option in problem else f"{option}: {problem}")

    def add(self, problems: Iterable[str]) -> None:
        """Note what else was found, but for what is about options that mean nothing.

        Each problem begins with its option.
        """
        wrong = tuple(f"{option}:" for option in self._wrong)
        self.problems += [problem for problem in problems if not problem.startswith(wrong)]

    def check(self) -> None:
        """Raise UsageError with all that is wrong."""
        if self.problems:
            raise UsageError("\n".join(self.problems))
