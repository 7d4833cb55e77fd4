"""The RPC shell towards clients: decode, call, encode; nothing else."""

import asyncio
import logging
from contextlib import aclosing

import grpc
from vic.interaction.v1 import interaction_pb2, interaction_pb2_grpc
from vic.tether.v1 import process_pb2 as tether_process_pb2

from services.interaction.attach import (
    Wish,
    attach,
    check_input,
    feed_all,
    logs_not_kept,
    send_output,
)
from services.interaction.execs import Execs, asked
from services.interaction.files import Files
from services.interaction.launch import Launcher, running_process
from services.interaction.logreader import ALL, LogQuery
from services.interaction.manywatched import ManyWatched, in_messages
from services.interaction.messages import (
    Answers,
    Context,
    first_message,
    logs_response,
    position_of,
    reader,
    seconds_until,
    wanted_streams,
)
from services.interaction.output import Stream
from services.interaction.processes import INIT, Process
from services.interaction.race import Closing, all_of, until_first
from services.interaction.registry import Sessions
from services.interaction.sessions import Session
from services.interaction.streams import OutputQueue
from services.interaction.timestamps import to_ns
from services.interaction.watching import follow

log = logging.getLogger("vic.interaction.server")


class InteractionServicer(interaction_pb2_grpc.InteractionServiceServicer):
    """Serves vic.interaction.v1.InteractionService."""

    def __init__(
        self,
        sessions: Sessions,
        execs: Execs,
        launcher: Launcher,
        files: Files,
        closing: Closing,
    ) -> None:
        self._sessions = sessions
        self._execs = execs
        self._launcher = launcher
        self._files = files
        self._closing = closing
        # The event loop itself keeps no task alive.
        self._launching: set[asyncio.Task[None]] = set()

    async def Attach(  # type: ignore[override] # reads and writes the context
        self, request_iterator: object, context: Context
    ) -> None:
        """See the contract."""
        start = await first_message(context)
        session = self._sessions.get(start.container_id)
        wish = Wish(
            streams=wanted_streams(start.stdout, start.stderr),
            stdin=start.stdin,
            logs=start.logs,
            live=start.stream,
        )
        with await attach(session, wish) as attachment:
            ready = interaction_pb2.AttachReady(tty=attachment.tty)
            await context.write(interaction_pb2.AttachResponse(ready=ready))
            answers = Answers(context, interaction_pb2.AttachResponse)
            await attachment.run(
                reader(context), answers.output, answers.input_ended, self._closing
            )

    async def CreateExec(
        self, request: interaction_pb2.CreateExecRequest, context: Context
    ) -> interaction_pb2.CreateExecResponse:
        """See the contract."""
        process = await self._execs.create(request)
        return interaction_pb2.CreateExecResponse(exec_id=process.process_id)

    async def StartExec(  # type: ignore[override] # reads and writes the context
        self, request_iterator: object, context: Context
    ) -> None:
        """See the contract."""
        start = await first_message(context)
        session, process = self._execs.claim(start.exec_id)
        wish = asked(process)
        spec = wish.process
        ready = interaction_pb2.StartExecReady(tty=spec.tty)
        answer = interaction_pb2.StartExecResponse(ready=ready)
        window = start.window if start.HasField("window") else None
        if start.detach:
            await asyncio.shield(self._begin(session, process, window))
            await context.write(answer)
            return
        wanted = frozenset(Stream)
        if wish.HasField("streams"):
            wanted = wanted_streams(wish.streams.stdout, wish.streams.stderr)
        queue = process.streams.subscribe(wanted)
        try:
            await context.write(answer)
            answers = Answers(context, interaction_pb2.StartExecResponse)
            launching = self._begin(session, process, window)
            parts = [
                self._carry(session, process, launching, queue, answers),
                self._closing.watch(),
            ]
            if spec.stdin:
                read, confirm = reader(context), answers.input_ended
                parts.append(feed_all(process, read, confirm, tty=spec.tty))
            await until_first(*parts)
        finally:
            process.streams.unsubscribe(queue)

    def _begin(
        self,
        session: Session,
        process: Process,
        window: tether_process_pb2.WindowSize | None,
    ) -> "asyncio.Task[None]":
        """Start an additional process, whatever becomes of the client that asked for it."""
        launching = asyncio.create_task(self._execs.run(session, process, window))
        self._launching.add(launching)
        launching.add_done_callback(self._launched)
        return launching

    def _launched(self, launching: "asyncio.Task[None]") -> None:
        self._launching.discard(launching)
        if not launching.cancelled() and (error := launching.exception()) is not None:
            log.info("an exec could not be started: %s", error)

    async def _carry(
        self,
        session: Session,
        process: Process,
        launching: "asyncio.Task[None]",
        queue: OutputQueue,
        answers: Answers,
    ) -> None:
        """Return when an additional process has ended and its client has all of its output."""

        async def ended() -> None:
            await asyncio.shield(launching)
            await self._execs.ended(session, process)

        await all_of(ended(), send_output(queue, answers.output))

    async def InspectExec(
        self, request: interaction_pb2.InspectExecRequest, context: Context
    ) -> interaction_pb2.InspectExecResponse:
        """See the contract."""
        session, process = self._execs.get(request.exec_id)
        wish = asked(process)
        if not wish.HasField("streams"):
            wish.streams.stdout = wish.streams.stderr = True
        return interaction_pb2.InspectExecResponse(
            exec_id=process.process_id,
            container_id=session.container_id,
            process=wish.process,
            streams=wish.streams,
            running=process.running,
            exit_code=None if process.exit is None else process.exit.exit_code,
            pid=process.pid,
        )

    async def ListExecs(
        self, request: interaction_pb2.ListExecsRequest, context: Context
    ) -> interaction_pb2.ListExecsResponse:
        """See the contract."""
        exec_ids = self._execs.unended(request.container_id)
        return interaction_pb2.ListExecsResponse(exec_ids=exec_ids)

    async def Resize(
        self, request: interaction_pb2.ResizeRequest, context: Context
    ) -> interaction_pb2.ResizeResponse:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        process_id = request.exec_id or INIT
        await self._execs.settled(session, process_id)
        process = running_process(session, process_id)
        tty = session.options.tty if process_id == INIT else asked(process).process.tty
        if tty:
            await self._launcher.resize(session, process_id, request.window)
        return interaction_pb2.ResizeResponse()

    async def Stats(  # type: ignore[override] # writes the context
        self, request: interaction_pb2.StatsRequest, context: Context
    ) -> None:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        await until_first(
            self._send_stats(session, context, stream=request.stream), self._closing.watch()
        )

    async def _send_stats(self, session: Session, context: Context, *, stream: bool) -> None:
        async with aclosing(follow(session)) as samples:
            async for sample in samples:
                await context.write(interaction_pb2.StatsResponse(sample=sample))
                if not stream:
                    return

    async def WatchStats(  # type: ignore[override] # reads and writes the context
        self, request_iterator: object, context: Context
    ) -> None:
        """See the contract."""
        with ManyWatched(self._sessions.find) as many:

            async def hear() -> None:
                while (request := await context.read()) is not grpc.aio.EOF:
                    many.change(request.watch, request.leave)

            async def tell() -> None:
                while True:
                    for samples in in_messages(await many.due()):
                        await context.write(interaction_pb2.WatchStatsResponse(samples=samples))

            await until_first(hear(), tell(), self._closing.watch())

    async def Top(
        self, request: interaction_pb2.TopRequest, context: Context
    ) -> interaction_pb2.TopResponse:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        table = await self._launcher.top(session, request.ps_args)
        return interaction_pb2.TopResponse(
            titles=table.titles,
            rows=[interaction_pb2.TopRow(columns=row) for row in table.rows],
        )

    async def StatPath(
        self, request: interaction_pb2.StatPathRequest, context: Context
    ) -> interaction_pb2.StatPathResponse:
        """See the contract."""
        stat = await self._files.stat(self._sessions.get(request.container_id), request.path)
        return interaction_pb2.StatPathResponse(stat=stat)

    async def GetArchive(  # type: ignore[override] # writes the context
        self, request: interaction_pb2.GetArchiveRequest, context: Context
    ) -> None:
        """See the contract."""
        session = self._sessions.get(request.container_id)

        async def begin(stat: interaction_pb2.PathStat) -> None:
            await context.write(interaction_pb2.GetArchiveResponse(stat=stat))

        async def send(data: bytes) -> None:
            await context.write(interaction_pb2.GetArchiveResponse(data=data))

        wanted = tether_process_pb2.FileRead(path=request.path, export=request.export)
        getting = self._files.get(session, wanted, begin, send)
        await until_first(getting, self._closing.watch())

    async def Changes(  # type: ignore[override] # writes the context
        self, request: interaction_pb2.ChangesRequest, context: Context
    ) -> None:
        """See the contract."""
        session = self._sessions.get(request.container_id)

        async def send(changes: list[interaction_pb2.Change]) -> None:
            await context.write(interaction_pb2.ChangesResponse(changes=changes))

        await until_first(self._files.changes(session, send), self._closing.watch())

    async def GetLayer(  # type: ignore[override] # writes the context
        self, request: interaction_pb2.GetLayerRequest, context: Context
    ) -> None:
        """See the contract."""
        session = self._sessions.get(request.container_id)

        async def begin() -> None:
            await context.write(interaction_pb2.GetLayerResponse())

        async def send(data: bytes) -> None:
            await context.write(interaction_pb2.GetLayerResponse(data=data))

        sending = self._files.layer(session, begin, send, freeze=request.freeze)
        await until_first(sending, self._closing.watch())

    async def PutArchive(  # reads the context
        self, request_iterator: object, context: Context
    ) -> interaction_pb2.PutArchiveResponse:
        """See the contract."""
        start = await first_message(context)
        session = self._sessions.get(start.container_id)
        write = tether_process_pb2.FileWrite(
            path=start.path,
            no_overwrite_dir_non_dir=start.no_overwrite_dir_non_dir,
            owner=start.owner,
        )

        async def read() -> bytes | None:
            message = await context.read()
            return None if message is grpc.aio.EOF else check_input(message.data)

        await until_first(self._files.put(session, write, read), self._closing.watch())
        return interaction_pb2.PutArchiveResponse()

    async def Logs(  # type: ignore[override] # writes the context
        self, request: interaction_pb2.LogsRequest, context: Context
    ) -> None:
        """See the contract."""
        session = self._sessions.get(request.container_id)
        if session.log is None:
            raise logs_not_kept()
        await until_first(self._send_logs(session, request, context), self._closing.watch())

    async def _send_logs(
        self, session: Session, request: interaction_pb2.LogsRequest, context: Context
    ) -> None:
        kept = session.log
        assert kept is not None
        query = LogQuery(
            streams=wanted_streams(request.stdout, request.stderr),
            since_ns=to_ns(request.since),
            until_ns=to_ns(request.until) if request.HasField("until") else None,
            tail=max(ALL, request.tail),
            after=position_of(request.after),
        )
        process = session.init
        over = False

        def live() -> bool:
            return request.follow and process.running and not over

        def end() -> None:
            nonlocal over
            over = True
            kept.tell()

        seconds = seconds_until(query.until_ns, follow=request.follow)
        ending = None
        if seconds is not None:
            ending = asyncio.get_running_loop().call_later(seconds, end)
        try:
            async with aclosing(kept.read(query, live=live)) as batches:
                async for batch in batches:
                    await context.write(logs_response(batch))
        finally:
            if ending is not None:
                ending.cancel()
