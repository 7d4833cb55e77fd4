"""The use of resources that one container's tether tells of, shared by all who watch it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from vic.tether.v1 import tether_pb2

from portlayer.errors import InvalidArgument, Unavailable
from services.interaction.control import ControlStream
from services.interaction.pulse import Pulse

PERIOD_MS: Final = 1000
# More than any kernel has; a tether that tells of more is not believed.
_MOST_ENTRIES: Final = 512


class UsageHub:
    """The newest sample. The tether is asked for samples only while somebody watches."""

    def __init__(self, control: Callable[[], ControlStream | None], changed: Pulse) -> None:
        """``control`` gives the stream of the present boot's tether; ``changed`` is beaten."""
        self._control = control
        self._changed = changed
        self._watchers = 0
        self._boot_id = ""
        self._newest: tether_pb2.StatsSample | None = None
        self._next: set[Callable[[], None]] = set()
        self.count = 0
        """Samples that were told so far."""

    def newest(self, boot_id: str) -> tether_pb2.StatsSample | None:
        """Return what a boot's tether told last, if anything."""
        return self._newest if boot_id == self._boot_id else None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Have the tether tell samples meanwhile."""
        self._watchers += 1
        if self._watchers == 1:
            self._ask(PERIOD_MS)
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._ask(0)

    def tell_next(self, heard: Callable[[], None]) -> None:
        """Call back once, when the next sample is there."""
        self._next.add(heard)

    def connected(self, control: ControlStream) -> None:
        """Take in that the present boot's tether is here, or here again."""
        if self._watchers:
            control.sample_every(PERIOD_MS)

    def _ask(self, milliseconds: int) -> None:
        control = self._control()
        if control is not None:
            with suppress(Unavailable):  # it is asked when it is back
                control.sample_every(milliseconds)

    def take(self, boot_id: str, sample: tether_pb2.StatsSample) -> None:
        """Take in a sample. Raises InvalidArgument for one that can't be true."""
        if max(len(sample.memory_stat), len(sample.interfaces), len(sample.blocks)) > _MOST_ENTRIES:
            raise InvalidArgument("a sample has too many entries")
        self._boot_id, self._newest = boot_id, sample
        self.count += 1
        self._changed.beat()
        heard, self._next = self._next, set()
        for tell in heard:
            tell()
