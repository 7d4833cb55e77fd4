"""Fencing: who held something's turn, and comes back when that is another's, is refused.

A turn has a number that grows with each one of the same name. Its holder's calls carry it, and a
server refuses those with a lower one than it has seen. So a process that stood still, while its
locks were lost and another one went on, changes nothing of what that one has done.

Source: M. Kleppmann, How to do distributed locking, "Making the lock safe with fencing".
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from portlayer.errors import InvalidArgument, TurnLost

KEY = "vic-turn"
# Names that are remembered, the ones seen last; a machine has far fewer containers at a time.
REMEMBERED = 20_000


@dataclass(frozen=True)
class Turn:
    """A turn at what has a name."""

    name: str
    number: int


_held: ContextVar[Turn | None] = ContextVar("held_turn", default=None)
_admitted: ContextVar[Turn | None] = ContextVar("admitted_turn", default=None)


@contextmanager
def holding(name: str, number: int | None) -> Iterator[None]:
    """Have all calls made within carry a turn; without a number there is nobody to be fenced."""
    token = _held.set(None if number is None else Turn(name, number))
    try:
        yield
    finally:
        _held.reset(token)


def held_turn() -> Turn | None:
    """Return the turn that is held here."""
    return _held.get()


def admitted_turn() -> Turn | None:
    """Return the turn that the call which is being served came with."""
    return _admitted.get()


def turn_metadata() -> tuple[tuple[str, str], ...]:
    """Return what a call carries of the turn that is held."""
    turn = _held.get()
    return () if turn is None else ((KEY, f"{turn.name}={turn.number}"),)


class Fences:
    """The highest turn that was seen of each name."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()

    def admit(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Take in the turn that a call carries, if any.

        Raises TurnLost for one that is another's by now, InvalidArgument for one that is none.
        """
        text = next((value for key, value in metadata if key == KEY), None)
        turn = None if text is None else _parsed(text)
        if turn is not None:
            self.raise_to(turn)
        _admitted.set(turn)

    def raise_to(self, turn: Turn) -> None:
        """Take in a turn. Raises TurnLost where a later one was seen."""
        seen = self._seen.get(turn.name, 0)
        if turn.number < seen:
            raise TurnLost(
                f"turn {turn.number} at {turn.name} is over: turn {seen} has begun elsewhere"
            )
        self._seen[turn.name] = turn.number
        self._seen.move_to_end(turn.name)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def _parsed(text: str | bytes) -> Turn:
    name, equals, number = (text if isinstance(text, str) else text.decode()).partition("=")
    if not (name and equals and number.isascii() and number.isdigit()):
        raise InvalidArgument(f"{KEY} is NAME=NUMBER")
    return Turn(name, int(number))
