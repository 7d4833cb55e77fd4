"""The control stream of one tether, as long as it lasts: commands down, their results up."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from vic.tether.v1 import process_pb2, tether_pb2

from portlayer.errors import Reason, Unavailable, VicError
from services.interaction.listing import ListInProgress, ProcessTable
from services.interaction.pulse import Pulse
from services.interaction.timestamps import from_ns

# A tether that takes no commands while so many wait is as good as away.
_MAX_WAITING: Final = 256


def tether_away(container_id: str) -> Unavailable:
    """Return the error of a call that needs a tether which isn't there."""
    return Unavailable(
        f"the agent in the VM of container {container_id} does not answer", Reason.TETHER_AWAY
    )


class ControlStream:
    """Commands to one tether."""

    def __init__(self, container_id: str, boot_id: str, kernel_release: str) -> None:
        self.boot_id = boot_id
        self.kernel_release = kernel_release
        self._container_id = container_id
        self._waiting: deque[tether_pb2.ConnectResponse] = deque()
        self._results: dict[int, asyncio.Future[str]] = {}
        self._lists: dict[int, ListInProgress] = {}
        # One list at a time: they are long, and events share the stream with them.
        self._listing = asyncio.Lock()
        self._commands = 0
        self._changed = Pulse()
        self._error: VicError | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._error is not None

    def close(self, error: VicError) -> None:
        """End the stream with an error; whoever waits for a result learns that it is gone."""
        if self._error is not None:
            return
        self._error = error
        for result in self._results.values():
            if not result.done():
                result.set_exception(tether_away(self._container_id))
        for listing in self._lists.values():
            listing.fail(tether_away(self._container_id))
        self._changed.beat()

    def send(self, message: tether_pb2.ConnectResponse) -> None:
        """Send a message; it leaves in order. Raises Unavailable (TETHER_AWAY)."""
        if self.closed or len(self._waiting) >= _MAX_WAITING:
            raise tether_away(self._container_id)
        self._waiting.append(message)
        self._changed.beat()

    def launch(self, command: tether_pb2.LaunchCommand) -> None:
        """Ask to run a process. Raises Unavailable (TETHER_AWAY)."""
        self.send(tether_pb2.ConnectResponse(launch=command))

    def acknowledge_exit(self, process_id: str) -> None:
        """Tell that an exit is on record. Raises Unavailable (TETHER_AWAY)."""
        acknowledged = tether_pb2.ExitAcknowledged(process_id=process_id)
        self.send(tether_pb2.ConnectResponse(exit_acknowledged=acknowledged))

    def power_off(self) -> None:
        """Ask to power the VM off. Raises Unavailable (TETHER_AWAY)."""
        self.send(tether_pb2.ConnectResponse(power_off=tether_pb2.PowerOffCommand()))

    def tell_time(self, question: tether_pb2.ClockQuestion) -> None:
        """Answer what time it is. Raises Unavailable (TETHER_AWAY)."""
        now = from_ns(time.time_ns())
        answer = tether_pb2.ClockAnswer(asked_ns=question.asked_ns, time=now)
        self.send(tether_pb2.ConnectResponse(clock=answer))

    async def signal(self, process_id: str, number: int) -> str:
        """Send a signal; return why it failed, or nothing. Raises Unavailable (TETHER_AWAY)."""
        return await self._command(
            lambda command_id: tether_pb2.ConnectResponse(
                signal=tether_pb2.SignalCommand(
                    command_id=command_id, process_id=process_id, signal=number
                )
            )
        )

    async def resize(self, process_id: str, window: process_pb2.WindowSize) -> str:
        """Set a terminal's size; return why it failed, or nothing. Raises Unavailable."""
        return await self._command(
            lambda command_id: tether_pb2.ConnectResponse(
                resize=tether_pb2.ResizeCommand(
                    command_id=command_id, process_id=process_id, window=window
                )
            )
        )

    def sample_every(self, milliseconds: int) -> None:
        """Ask for samples so often, for none with zero. Raises Unavailable (TETHER_AWAY)."""
        command = tether_pb2.StatsCommand(period_ms=milliseconds)
        self.send(tether_pb2.ConnectResponse(stats=command))

    async def top(self, ps_args: Sequence[str]) -> ProcessTable:
        """List the processes. Raises InvalidArgument, Unavailable (TETHER_AWAY)."""
        async with self._listing:
            self._commands += 1
            command_id = self._commands
            listing = self._lists[command_id] = ListInProgress()
            try:
                command = tether_pb2.TopCommand(command_id=command_id, ps_args=ps_args)
                self.send(tether_pb2.ConnectResponse(top=command))
                return await listing.table()
            finally:
                del self._lists[command_id]

    async def update_limits(self, limits: process_pb2.WorkloadLimits) -> str:
        """Set other limits; return why that failed, or nothing. Raises Unavailable."""
        return await self._command(
            lambda command_id: tether_pb2.ConnectResponse(
                update_limits=tether_pb2.UpdateLimitsCommand(command_id=command_id, limits=limits)
            )
        )

    async def _command(self, build: Callable[[int], tether_pb2.ConnectResponse]) -> str:
        self._commands += 1
        command_id = self._commands
        result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._results[command_id] = result
        try:
            self.send(build(command_id))
            return await result
        finally:
            del self._results[command_id]

    def settle(self, command_id: int, error: str) -> None:
        """Take in a command's result; one that nobody waits for any more is dropped."""
        result = self._results.get(command_id)
        if result is not None and not result.done():
            result.set_result(error)

    def take_list(self, part: tether_pb2.ProcessList) -> None:
        """Take in a part of a list. Raises InvalidArgument for one that is too long."""
        listing = self._lists.get(part.command_id)
        if listing is not None:
            listing.take(part)

    async def next(self) -> tether_pb2.ConnectResponse:
        """Return the next message to send. Raises what the stream was closed with."""
        await self._changed.wait_for(lambda: bool(self._waiting) or self.closed)
        if self._error is not None:
            raise self._error
        return self._waiting.popleft()
