"""What a clone shares with its siblings, and is to leave alone."""

from __future__ import annotations

import gc

_YOUNG_OBJECTS = 10_000


def settle() -> None:
    """Take all objects that there are now out of the garbage collector's sight.

    It writes into each that it looks at: a clone would copy the pages of all of them, and the
    emulator go through some 100,000 objects, for the sake of a few that its own life has made.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
