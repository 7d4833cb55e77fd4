"""Wait: the end of a container, by Docker's three conditions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vic.exec.v1 import exec_pb2

from services.exec.eventlog import EventLog
from services.exec.states import State
from services.exec.store import Containers

_ENDED = (State.CREATED, State.EXITED, State.DEAD)


async def wait(
    containers: Containers, events: EventLog, reference: str, condition: int
) -> AsyncGenerator[exec_pb2.WaitResponse, None]:
    """Yield `waiting`, then the result when the condition holds.

    The newest event's number is taken before the container is looked at, so that nothing that
    happens in between is missed. Raises NotFound as Containers.resolve does.
    """
    after = await events.newest()
    record = await containers.resolve(reference)
    yield exec_pb2.WaitResponse(waiting=exec_pb2.WaitStarted(container_id=record.id))
    not_running = condition in (
        exec_pb2.WAIT_CONDITION_UNSPECIFIED,
        exec_pb2.WAIT_CONDITION_NOT_RUNNING,
    )
    if not_running and record.state in _ENDED:
        yield _result(record.exit_code, record.error)
        return
    code, error = record.exit_code, record.error
    async with aclosing(events.follow(after, container_id=record.id)) as following:
        async for event in following:
            if event.kind == exec_pb2.EVENT_KIND_DIE:
                code, error = int(event.attributes["exitCode"]), ""
                if condition != exec_pb2.WAIT_CONDITION_REMOVED:
                    break
            # Of a container that waited for its restart the end was told before.
            given_up = event.kind == exec_pb2.EVENT_KIND_STOP and record.state is State.RESTARTING
            if given_up and condition != exec_pb2.WAIT_CONDITION_REMOVED:
                break
            if event.kind == exec_pb2.EVENT_KIND_DESTROY:
                # Whoever waits for an exit of a container that is removed without one would wait
                # for ever.
                break
    yield _result(code, error)


def _result(code: int, error: str) -> exec_pb2.WaitResponse:
    return exec_pb2.WaitResponse(result=exec_pb2.WaitResult(exit_code=code, error=error))
