"""A machine's way off: how long it may go on after its last word.

A tether writes its exit record when the disks are at rest, and then hands over what its container
has said, for :data:`~tether.guestconfig.LONGEST_FAREWELL` at most. When it powers off it writes the
record once more. From there a guest takes less than a second; but its kernel can hang on the way,
at all of a core. A tether of before wrote the record once: its machine has the time for both.
"""

import asyncio
import time
from collections.abc import Callable

from hostagent.outputs import Outputs
from tether.guestconfig import LONGEST_FAREWELL

LEAVE_SECONDS = 10.0
"""For which a machine may go on when it powers off."""
# The second whole line: what comes then says nothing more.
_LAST = 2


class Leaving:
    """How far one machine is; whatever it writes, each byte is looked at once."""

    def __init__(self) -> None:
        self._read = 0
        self._lines = 0
        self._timer: asyncio.TimerHandle | None = None

    def look(self, outputs: Outputs, machine_id: str, over: Callable[[], None]) -> None:
        """See what it has written; ``over`` is called when it should have gone.

        Its time is counted from its last word, whoever was there to hear that.
        """
        if self._lines >= _LAST:
            return
        said, at = outputs.exit_record_from(machine_id, self._read)
        self._read += len(said)
        lines = said.count(b"\n")
        if lines:
            self._lines += lines
            seconds = LEAVE_SECONDS + (0.0 if self._lines >= _LAST else LONGEST_FAREWELL)
            passed = min(max(0.0, time.time() - at), seconds)
            self.forget()
            self._timer = asyncio.get_running_loop().call_later(seconds - passed, over)

    def forget(self) -> None:
        """Wait for it no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
