"""Signal: a signal to the init process of a container, whatever else is done to it."""

from vic.interaction.v1 import process_pb2

from portlayer.errors import FailedPrecondition, Reason, VicError
from portlayer.signals import parse_signal
from services.exec.exits import INIT
from services.exec.parts import SIGKILL, Parts, check_record
from services.exec.pausing import Pausing
from services.exec.policy import UNLESS_STOPPED
from services.exec.record import Record
from services.exec.states import State, Verb
from services.exec.stopping import KILL_SECONDS, Stopping, stop_signal


class Signalling:
    """Sends signals."""

    def __init__(self, parts: Parts, pausing: Pausing, stopping: Stopping) -> None:
        self._parts = parts
        self._pausing = pausing
        self._stopping = stopping

    async def signal(self, container_id: str, signal: str) -> None:
        """Send a signal to the init process; with SIGKILL return when that has ended.

        It takes no turn: a stop that waits for its time-out must not keep a kill waiting. For a
        start it waits, as dockerd does, and means what has come of that. A paused container goes on
        where the signal is to end it; any other is kept until it goes on.
        """
        number = parse_signal(signal or "KILL")
        record = await self._parts.current(container_id)
        ends = means_the_end(record, number)
        ends_policy = ends or record.spec.restart_policy.condition == UNLESS_STOPPED
        while True:
            if record.state is State.STARTING or (ends and record.state is State.RESTARTING):
                async with self._parts.turns.turn(container_id):
                    record = await self._parts.current(container_id)
                    if ends and record.state is State.RESTARTING:
                        await self._stopping.end(record, None, str(number))
                        return
            check_record(Verb.SIGNAL, record)
            if record.state is State.RESTARTING:
                # It is started again all the same, and stays ended after that.
                if not ends_policy or await self._parts.containers.stop_by_hand(record):
                    return
                record = await self._parts.current(container_id)
                continue
            before = record.stopped_by_hand
            if not ends_policy or await self._parts.containers.stop_by_hand(record):
                break
            # It has ended meanwhile.
            record = await self._parts.current(container_id)
        if record.state is State.PAUSED and not ends:
            if await self._parts.containers.hold_signal(record, number):
                await self._parts.announce_kill(record, number)
                return
            record = await self._parts.current(container_id)
            check_record(Verb.SIGNAL, record)
        if record.state is State.PAUSED:
            record = await self._pausing.go_on(record)
        await self._parts.announce_kill(record, number)
        try:
            await self._parts.peers.processes.Signal(
                process_pb2.SignalRequest(container_id=record.id, process_id=INIT, signal=number)
            )
        except VicError as error:
            # What another's crash has left of a start has no process, and its policy goes on.
            if ends_policy and (number != SIGKILL or record.state is State.STARTING):
                await self._parts.containers.stop_by_hand(record, before)
            if error.reason is Reason.NOT_RUNNING:
                raise FailedPrecondition(
                    f"cannot kill container: {record.name}: container {record.id} is not running",
                    state="exited",
                ) from error
            if error.reason is not Reason.TETHER_AWAY or number != SIGKILL:
                raise
            await self._parts.hypervisor.destroy(record.id, record.boot_id)
        if number == SIGKILL and not await self._stopping.ends_within(record, KILL_SECONDS):
            await self._parts.hypervisor.destroy(record.id, record.boot_id)


def means_the_end(record: Record, number: int) -> bool:
    """Tell whether who sends a signal is taken to want a container's end, as dockerd takes it.

    That is every signal where the container has no stop signal of its own, and SIGKILL and the stop
    signal where it has one (moby's daemon/kill.go).
    """
    return number == SIGKILL or not record.spec.stop_signal or number == stop_signal(record)
