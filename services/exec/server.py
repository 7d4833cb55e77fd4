"""The RPC shell of the exec facet: decode, call, encode; nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc

from portlayer.errors import InvalidArgument, NotFound, OutOfRange, Reason
from services.exec.answers import Answers
from services.exec.creation import Creator
from services.exec.eventlog import EventLog
from services.exec.events import told_event
from services.exec.history import StoredEvent
from services.exec.lifecycle import Lifecycle
from services.exec.listed import Listed
from services.exec.names import is_container_id
from services.exec.operations import Requests
from services.exec.record import Record, seconds, timestamp
from services.exec.restarting import Restarts
from services.exec.schema import fill
from services.exec.states import State
from services.exec.store import Containers
from services.exec.vch import Vch
from services.exec.waiting import wait

Context = grpc.aio.ServicerContext[Any, Any]

# Of a page of a list; a message may have 16 MiB, and one container's specification a few.
PAGE_BYTES = 1024 * 1024

_Verb = (
    exec_pb2.StartRequest
    | exec_pb2.StopRequest
    | exec_pb2.RestartRequest
    | exec_pb2.SignalRequest
    | exec_pb2.PauseRequest
    | exec_pb2.UnpauseRequest
    | exec_pb2.RenameRequest
    | exec_pb2.ConnectNetworkRequest
    | exec_pb2.DisconnectNetworkRequest
    | exec_pb2.UpdateRequest
    | exec_pb2.RemoveRequest
    | exec_pb2.RecordEventRequest
)


class ExecServicer(exec_pb2_grpc.ExecServiceServicer):
    """Serves vic.exec.v1.ExecService."""

    def __init__(
        self,
        containers: Containers,
        events: EventLog,
        creator: Creator,
        lifecycle: Lifecycle,
        vch: Vch,
        restarts: Restarts,
        answers: Answers,
    ) -> None:
        self._containers = containers
        self._events = events
        self._creator = creator
        self._lifecycle = lifecycle
        self._vch = vch
        self._restarts = restarts
        self._answers = answers
        self.listed = Listed()
        self._requests = Requests(container_pb2.Container)
        self._prunes = Requests(exec_pb2.PruneResponse)

    async def drain(self, within: float) -> bool:
        """Wait for all work in hand as Requests.drain does; tell whether it ended by itself."""
        works = self._requests.drain(within), self._prunes.drain(within)
        return all(await asyncio.gather(*works))

    async def Info(self, request: exec_pb2.InfoRequest, context: Context) -> exec_pb2.InfoResponse:
        """See the contract."""
        return await self._vch.info()

    async def Configure(
        self, request: exec_pb2.ConfigureRequest, context: Context
    ) -> exec_pb2.ConfigureResponse:
        """See the contract."""
        return await self._vch.configure(request)

    async def MeasureUsage(
        self, request: exec_pb2.MeasureUsageRequest, context: Context
    ) -> exec_pb2.MeasureUsageResponse:
        """See the contract."""
        return await self._vch.measure_usage(request)

    async def TryKernel(
        self, request: exec_pb2.TryKernelRequest, context: Context
    ) -> exec_pb2.TryKernelResponse:
        """See the contract."""
        return await self._vch.try_kernel(request)

    async def Create(
        self, request: exec_pb2.CreateRequest, context: Context
    ) -> exec_pb2.CreateResponse:
        """See the contract."""

        async def create() -> container_pb2.Container:
            self._restarts.check_open()
            return (await self._creator.create(request.container_id, request.spec)).message()

        return exec_pb2.CreateResponse(container=await self._requests.once("Create", "", create))

    async def Get(self, request: exec_pb2.GetRequest, context: Context) -> exec_pb2.GetResponse:
        """See the contract."""
        response = exec_pb2.GetResponse()
        fill(response.container, await self._containers.find(request.reference))
        return response

    async def List(self, request: exec_pb2.ListRequest, context: Context) -> exec_pb2.ListResponse:
        """See the contract."""
        states = [_state(state) for state in request.states]
        page = exec_pb2.ListResponse()
        size = 0
        last = None
        position = _position(request.page_token)
        async with aclosing(self._containers.newest_first(states, after=position)) as rows:
            async for row in rows:
                message = self.listed.message(row)
                size += len(message)
                if last is not None and size > PAGE_BYTES:
                    page.next_page_token = f"{last.created_ns} {last.id}"
                    break
                page.containers.add().MergeFromString(message)
                last = row
        return page

    async def Start(
        self, request: exec_pb2.StartRequest, context: Context
    ) -> exec_pb2.StartResponse:
        """See the contract."""
        container = await self._once("Start", request, self._lifecycle.start)
        return exec_pb2.StartResponse(container=_there(container))

    async def Stop(self, request: exec_pb2.StopRequest, context: Context) -> exec_pb2.StopResponse:
        """See the contract."""
        timeout = seconds(request.timeout) if request.HasField("timeout") else None
        container = await self._once(
            "Stop", request, lambda id_: self._lifecycle.stop(id_, timeout, request.signal)
        )
        return exec_pb2.StopResponse(container=_there(container))

    async def Restart(
        self, request: exec_pb2.RestartRequest, context: Context
    ) -> exec_pb2.RestartResponse:
        """See the contract."""
        timeout = seconds(request.timeout) if request.HasField("timeout") else None
        container = await self._once(
            "Restart", request, lambda id_: self._lifecycle.restart(id_, timeout, request.signal)
        )
        return exec_pb2.RestartResponse(container=_there(container))

    async def Signal(
        self, request: exec_pb2.SignalRequest, context: Context
    ) -> exec_pb2.SignalResponse:
        """See the contract."""
        await self._once("Signal", request, lambda id_: self._lifecycle.signal(id_, request.signal))
        return exec_pb2.SignalResponse()

    async def Pause(
        self, request: exec_pb2.PauseRequest, context: Context
    ) -> exec_pb2.PauseResponse:
        """See the contract."""
        await self._once("Pause", request, self._lifecycle.pause)
        return exec_pb2.PauseResponse()

    async def Unpause(
        self, request: exec_pb2.UnpauseRequest, context: Context
    ) -> exec_pb2.UnpauseResponse:
        """See the contract."""
        await self._once("Unpause", request, self._lifecycle.unpause)
        return exec_pb2.UnpauseResponse()

    async def Update(
        self, request: exec_pb2.UpdateRequest, context: Context
    ) -> exec_pb2.UpdateResponse:
        """See the contract."""
        container = await self._once(
            "Update",
            request,
            lambda id_: self._lifecycle.update(id_, request.restart_policy, request.resources),
        )
        return exec_pb2.UpdateResponse(container=_there(container))

    async def Close(
        self, request: exec_pb2.CloseRequest, context: Context
    ) -> exec_pb2.CloseResponse:
        """See the contract."""
        await self._restarts.close()
        return exec_pb2.CloseResponse()

    async def Rename(
        self, request: exec_pb2.RenameRequest, context: Context
    ) -> exec_pb2.RenameResponse:
        """See the contract."""
        container = await self._once(
            "Rename", request, lambda id_: self._lifecycle.rename(id_, request.new_name)
        )
        return exec_pb2.RenameResponse(container=_there(container))

    async def ConnectNetwork(
        self, request: exec_pb2.ConnectNetworkRequest, context: Context
    ) -> exec_pb2.ConnectNetworkResponse:
        """See the contract."""
        container = await self._once(
            "ConnectNetwork",
            request,
            lambda id_: self._lifecycle.connect(id_, request.attachment),
        )
        return exec_pb2.ConnectNetworkResponse(container=_there(container))

    async def DisconnectNetwork(
        self, request: exec_pb2.DisconnectNetworkRequest, context: Context
    ) -> exec_pb2.DisconnectNetworkResponse:
        """See the contract."""
        container = await self._once(
            "DisconnectNetwork",
            request,
            lambda id_: self._lifecycle.disconnect(id_, request.network),
        )
        return exec_pb2.DisconnectNetworkResponse(container=_there(container))

    async def Remove(
        self, request: exec_pb2.RemoveRequest, context: Context
    ) -> exec_pb2.RemoveResponse:
        """See the contract."""
        await self._once(
            "Remove",
            request,
            lambda id_: self._lifecycle.remove(
                id_, request.reference, force=request.force, volumes=request.remove_volumes
            ),
        )
        return exec_pb2.RemoveResponse()

    async def HoldFiles(  # type: ignore[override] # writes the context
        self, request: exec_pb2.HoldFilesRequest, context: Context
    ) -> None:
        """See the contract."""
        holding = self._lifecycle.holding
        held = holding.held(
            request.container_id,
            request.volumes,
            image=request.image,
            ended_boot_id=request.ended_boot_id,
        )
        async with held as hold:
            await context.write(
                exec_pb2.HoldFilesResponse(
                    boot_id=hold.boot_id,
                    utility=hold.utility,
                    root_read_only=hold.root_read_only,
                    image_lun=hold.image_lun,
                )
            )
            # Others wait for it too.
            raise await asyncio.shield(hold.lost)

    async def Prune(
        self, request: exec_pb2.PruneRequest, context: Context
    ) -> exec_pb2.PruneResponse:
        """See the contract."""
        until = request.until.ToNanoseconds() if request.HasField("until") else None

        async def prune() -> exec_pb2.PruneResponse:
            pruned = await self._lifecycle.prune(until, request.label_filters)
            return exec_pb2.PruneResponse(
                removed_ids=pruned.container_ids, reclaimed_bytes=pruned.reclaimed_bytes
            )

        return await self._prunes.once("Prune", "", prune)

    async def Wait(
        self, request: exec_pb2.WaitRequest, context: Context
    ) -> AsyncIterator[exec_pb2.WaitResponse]:
        """See the contract."""
        waiting = wait(self._containers, self._events, request.reference, request.condition)
        async with aclosing(waiting) as responses:
            async for response in responses:
                yield response

    async def RecordEvent(
        self, request: exec_pb2.RecordEventRequest, context: Context
    ) -> exec_pb2.RecordEventResponse:
        """See the contract."""

        async def record(container_id: str) -> None:
            container = await self._containers.resolve(container_id)
            told = told_event(container, request.kind, request.attributes, request.detail)
            await self._events.append(told)

        await self._once("RecordEvent", request, record)
        return exec_pb2.RecordEventResponse()

    async def WatchEvents(
        self, request: exec_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[exec_pb2.WatchEventsResponse]:
        """See the contract."""
        oldest, newest = await self._events.range()
        since = request.since.ToNanoseconds() if request.HasField("since") else 0
        until = request.until.ToNanoseconds() if request.HasField("until") else 0
        after = request.after_sequence
        if after and (after + 1 < oldest or after > newest):
            raise OutOfRange(
                f"the history has events {oldest} to {newest}, not {after + 1}",
                Reason.HISTORY_LOST,
            )
        if not after and not since:
            after = newest
        yield exec_pb2.WatchEventsResponse(started=exec_pb2.WatchEventsStarted(sequence=newest))
        following = self._events.follow(after, since_ns=since, until_ns=until)
        async with aclosing(following) as events:
            async for event in events:
                yield exec_pb2.WatchEventsResponse(event=_event(event))

    async def _once(
        self, verb: str, request: _Verb, work: Callable[[str], Awaitable[Record | None]]
    ) -> container_pb2.Container:
        """Do a verb once for each request ID, also when its container has got another name since.

        The work gets the full ID, so that a rename in between doesn't lead to another container.
        Returns an empty message where there is none to tell of.
        """

        async def do() -> container_pb2.Container:
            async with self._answers.request(verb, request.request_id) as answer:
                if answer.container_id:
                    record = await self._containers.get(answer.container_id)
                else:
                    container_id = (await self._containers.resolve(request.reference)).id
                    record = await work(container_id)
                    answer.container_id = container_id
            return container_pb2.Container() if record is None else record.message()

        return await self._requests.once(verb, request.request_id, do)


def _there(container: container_pb2.Container) -> container_pb2.Container:
    if not container.id:
        # A request that another replica carried out, of a container that is gone since.
        raise NotFound("the container is gone by now", Reason.CONTAINER_NOT_FOUND)
    return container


def _position(token: str) -> tuple[int, str] | None:
    """Read where a page begins: the time and the ID of the last container before it."""
    created, _, container_id = token.partition(" ")
    if not token:
        return None
    if not created.isdecimal() or len(created) > 19 or not is_container_id(container_id):
        raise InvalidArgument("not a page token of this service", Reason.INVALID_REQUEST)
    return min(int(created), 2**63 - 1), container_id


def _state(value: int) -> State:
    try:
        return State(value)
    except ValueError:
        raise InvalidArgument(f"no state of a container: {value}") from None


def _event(event: StoredEvent) -> exec_pb2.Event:
    return exec_pb2.Event(
        sequence=event.sequence,
        time=timestamp(event.time_ns),
        kind=event.kind,  # type: ignore[arg-type]
        container_id=event.container_id,
        attributes=event.attributes,
        detail=event.detail,
    )
