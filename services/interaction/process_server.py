"""The RPC shell towards exec: decode, call, encode; nothing else."""

from contextlib import aclosing
from typing import Any, Final

import grpc
from vic.interaction.v1 import process_pb2, process_pb2_grpc
from vic.tether.v1 import tether_pb2

from portlayer.errors import InvalidArgument
from services.interaction.events import EventJournal
from services.interaction.launch import Launcher
from services.interaction.processes import INIT
from services.interaction.race import Closing, until_first
from services.interaction.registry import Sessions
from services.interaction.store import Options
from services.interaction.sysloglines import LAST_FACILITY, SyslogFormat, SyslogTarget
from services.interaction.syslogsink import check_address
from services.interaction.timestamps import from_ns

Context = grpc.aio.ServicerContext[Any, Any]

# For who names no deadline; a cold boot under TCG takes half of it.
LAUNCH_SECONDS: Final = 60.0
# Kept back from a caller's deadline, so that our own error arrives before it.
_MARGIN: Final = 0.25


class ProcessServicer(process_pb2_grpc.ProcessServiceServicer):
    """Serves vic.interaction.v1.ProcessService."""

    def __init__(
        self, sessions: Sessions, launcher: Launcher, journal: EventJournal, closing: Closing
    ) -> None:
        self._sessions = sessions
        self._launcher = launcher
        self._journal = journal
        self._closing = closing

    async def Register(
        self, request: process_pb2.RegisterRequest, context: Context
    ) -> process_pb2.RegisterResponse:
        """See the contract."""
        options = Options(
            discard_logs=request.discard_logs,
            log_max_size=min(request.log_max_size_bytes, 2**63 - 1),
            log_max_files=max(1, request.log_max_files),
            tty=request.tty,
            open_stdin=request.open_stdin,
            stdin_once=request.stdin_once,
            syslog=_target(request.syslog) if request.HasField("syslog") else None,
        )
        await self._sessions.register(request.container_id, options)
        return process_pb2.RegisterResponse()

    async def Unregister(
        self, request: process_pb2.UnregisterRequest, context: Context
    ) -> process_pb2.UnregisterResponse:
        """See the contract."""
        await self._sessions.unregister(request.container_id)
        return process_pb2.UnregisterResponse()

    async def ListRegistered(
        self, request: process_pb2.ListRegisteredRequest, context: Context
    ) -> process_pb2.ListRegisteredResponse:
        """See the contract."""
        ids = await self._sessions.registered()
        return process_pb2.ListRegisteredResponse(container_ids=ids)

    async def Launch(
        self, request: process_pb2.LaunchRequest, context: Context
    ) -> process_pb2.LaunchResponse:
        """See the contract."""
        launched = await self._launcher.launch(
            self._sessions.get(request.container_id),
            request.boot_id,
            _command(request),
            _seconds(context),
            tether_id=request.tether_id,
        )
        return process_pb2.LaunchResponse(
            pid=launched.pid,
            started_at=from_ns(launched.started_ns),
            kernel_release=launched.kernel_release,
        )

    async def Signal(
        self, request: process_pb2.SignalRequest, context: Context
    ) -> process_pb2.SignalResponse:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        await self._launcher.signal(session, request.process_id or INIT, request.signal)
        return process_pb2.SignalResponse()

    async def UpdateLimits(
        self, request: process_pb2.UpdateLimitsRequest, context: Context
    ) -> process_pb2.UpdateLimitsResponse:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        await self._launcher.update_limits(session, request.limits)
        return process_pb2.UpdateLimitsResponse()

    async def PowerOff(
        self, request: process_pb2.PowerOffRequest, context: Context
    ) -> process_pb2.PowerOffResponse:
        """See the contract."""
        await self._launcher.power_off(self._sessions.get(request.container_id))
        return process_pb2.PowerOffResponse()

    async def Admit(
        self, request: process_pb2.AdmitRequest, context: Context
    ) -> process_pb2.AdmitResponse:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        await self._launcher.admit(
            session, request.boot_id, _seconds(context), tether_id=request.tether_id
        )
        return process_pb2.AdmitResponse()

    async def Retire(
        self, request: process_pb2.RetireRequest, context: Context
    ) -> process_pb2.RetireResponse:
        """See the contract."""
        session = self._sessions.find(request.container_id)
        if session is not None:
            await session.retire(request.boot_id)
        return process_pb2.RetireResponse()

    async def Watch(  # type: ignore[override] # writes the context
        self, request: process_pb2.WatchRequest, context: Context
    ) -> None:
        """See the contract."""
        await self._journal.check(request.after_sequence)
        started = process_pb2.WatchStarted(sequence=self._journal.newest)
        await context.write(process_pb2.WatchResponse(started=started))
        await until_first(self._send_events(request.after_sequence, context), self._closing.watch())

    async def _send_events(self, sequence: int, context: Context) -> None:
        async with aclosing(self._journal.follow(sequence)) as events:
            async for event in events:
                await context.write(process_pb2.WatchResponse(event=event))

    async def Acknowledge(
        self, request: process_pb2.AcknowledgeRequest, context: Context
    ) -> process_pb2.AcknowledgeResponse:
        """See the contract."""
        await self._journal.acknowledge(request.sequence)
        return process_pb2.AcknowledgeResponse()


_FORMATS: Final = {
    process_pb2.SYSLOG_FORMAT_UNSPECIFIED: SyslogFormat.RFC5424,
    process_pb2.SYSLOG_FORMAT_RFC5424_MICRO: SyslogFormat.RFC5424_MICRO,
    process_pb2.SYSLOG_FORMAT_RFC3164: SyslogFormat.RFC3164,
}


def _target(wish: process_pb2.SyslogTarget) -> SyslogTarget:
    if wish.facility > LAST_FACILITY or wish.format not in _FORMATS:
        raise InvalidArgument("no such facility or format of syslog")
    check_address(wish.address)
    return SyslogTarget(wish.address, wish.tag, wish.facility, _FORMATS[wish.format])


def _seconds(context: Context) -> float:
    """Return for how long a tether may be waited for."""
    remaining = context.time_remaining()
    return LAUNCH_SECONDS if remaining is None else max(remaining * 0.9, remaining - _MARGIN)


def _command(request: process_pb2.LaunchRequest) -> tether_pb2.LaunchCommand:
    """Return what a tether is told to run; what holds for the whole container comes with init."""
    process_id = request.process_id or INIT
    if process_id != INIT:
        return tether_pb2.LaunchCommand(process_id=process_id, process=request.process)
    return tether_pb2.LaunchCommand(
        process_id=process_id,
        process=request.process,
        init=True,
        limits=request.limits,
        sandbox=request.sandbox,
        health=request.health if request.HasField("health") else None,
    )
