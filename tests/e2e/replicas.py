"""Two replicas of exec on one PostgreSQL beneath a suite, and one of them killed at a chosen step.

The other must finish or undo what that one had in hand, by itself, while callers go on.
"""

import asyncio
import copy
import itertools
import json
import os
import select
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc

from installer.instance import Instance
from portlayer.client import FacetChannel, open_channel
from portlayer.identity import Credentials, Role
from tests.databases import postgresql
from tests.e2e.faults import (
    SETTLED_SECONDS,
    Counts,
    Fault,
    Verb,
    await_held,
    held,
    machines,
    remove,
    striking,
)
from tests.e2e.programs import Program, await_listener
from tests.e2e.suite import Suite
from tests.ports import free_port

BYSTANDER = "beside"
# One that was killed in its last step of a verb is dead by then.
DEATH_SECONDS = 1.0
# The survivor hears of a kill within 0.2 s and compares then; that is some calls to each facet, and
# the end of a VM where one was being made. The rest is for a machine that has much else to do.
TAKEN_OVER_SECONDS = 45.0

_STAY: Mapping[int | None, int] = {
    None: 0,
    container_pb2.CONTAINER_STATE_CREATED: 0,
    container_pb2.CONTAINER_STATE_EXITED: 0,
    container_pb2.CONTAINER_STATE_RUNNING: 1,
}
"""States that a container can stay in, and how many VMs it has there; None is not to be."""

_WANTED: Mapping[str, int] = {
    "create": container_pb2.CONTAINER_STATE_CREATED,
    "start": container_pb2.CONTAINER_STATE_RUNNING,
    "stop": container_pb2.CONTAINER_STATE_EXITED,
}
"""The state after a verb; after others there is no container."""


@dataclass(frozen=True)
class Side:
    """A replica of exec, and the gateway that calls it alone, as docker's users see it."""

    program: Program
    address: str
    suite: Suite

    def await_serving(self) -> None:
        """Return when the replica serves."""
        await_listener(Path(self.address.removeprefix("unix:")))


@dataclass(frozen=True)
class TakenOver:
    """What came of a kill."""

    settled_seconds: float
    """Until the container was in a state that it can stay in, with its VMs."""
    calls: int
    """How many calls others made meanwhile, none of which failed."""


@contextmanager
def beside(victim: int, suites: Sequence[Suite], image: str) -> Iterator[list[str]]:
    """Make and remove a container again and again from a process's end on, by each suite in turn.

    Yields the calls so far; fails in the end where one of them did.
    """
    over, calls, failures = threading.Event(), list[str](), list[str]()
    ended = os.pidfd_open(victim)

    def call() -> None:
        while not over.is_set() and not select.select([ended], [], [], 0.05)[0]:
            pass
        for suite in itertools.cycle(suites):
            for command in (
                ("create", "--name", BYSTANDER, "--entrypoint", "true", image),
                ("inspect", BYSTANDER),
                ("ps", "--all"),
                ("rm", BYSTANDER),
            ):
                if over.is_set() and command[0] == "create":
                    return
                done = suite.docker(*command)
                calls.append(command[0])
                if done.returncode:
                    failures.append(f"{command[0]} by {suite.endpoint}: {done.stderr}")

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield calls
    finally:
        over.set()
        thread.join()
        os.close(ended)
    assert not failures, failures


class Replicas:
    """Two replicas of exec, on one database, in place of a suite's own one."""

    def __init__(
        self,
        suite: Suite,
        instance: Instance,
        database: str,
        sides: Sequence[Side],
        image: str,
    ) -> None:
        """``suite`` is that through a gateway which calls both, as the kernel deals them out."""
        self.suite = suite
        self.sides = sides
        self.instance = instance
        self._database = database
        self.image = image
        self._credentials = Credentials.load(instance.pki_dir / Role.INSTALLER)

    def containers(self) -> int:
        """Return how many containers are on record."""
        return asyncio.run(self._count("SELECT count(*) FROM containers"))

    def turns(self) -> int:
        """Return how many turns are held."""
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        return asyncio.run(self._count(query))

    def clones(self) -> tuple[int, int]:
        """Return how many clones wait, and how many are to, of the replicas that are there."""
        infos = [
            asyncio.run(self._info(side.address))
            for side in self.sides
            if not side.program.ends_within(0)
        ]
        return (
            sum(info.ready_clones_waiting for info in infos),
            sum(info.start_mode.ready_clones for info in infos),
        )

    def state(self, side: Side, name: str) -> int | None:
        """Return the state of a container, as a replica has it, or None where there is none."""
        listed = asyncio.run(self._list(side.address))
        return next((one.status.state for one in listed if one.spec.name == name), None)

    def strike(
        self, victim: Side, verb: Verb, fault: Fault, name: str, nothing: Counts
    ) -> TakenOver | None:
        """Do a verb by a replica that dies of it; return None where it didn't come so far.

        Fails where the other doesn't put all in order. The container is gone in the end, and the
        replica back.
        """
        (survivor,) = (side for side in self.sides if side is not victim)
        for command in verb.prepare:
            self.suite.ok(*command)
        with beside(victim.program.pid, (self.suite, survivor.suite), self.image) as calls:
            with striking(victim.program.pid, fault):
                done = victim.suite.docker(*verb.command)
            assert "Traceback" not in done.stderr, done.stderr
            if not victim.program.ends_within(DEATH_SECONDS):
                assert done.returncode == 0, done.stderr
                self._clear(name, nothing)
                return None
            begun = time.monotonic()
            state = self._settled(survivor, name)
            took = time.monotonic() - begun
            self._check(verb, state, told=done.returncode == 0)
            self._repeat(verb, survivor, name)
        remove(self.suite, name)
        self._await_all_but_clones(nothing)
        victim.program.start()
        victim.await_serving()
        self._clear(name, nothing)
        return TakenOver(took, len(calls))

    def _repeat(self, verb: Verb, survivor: Side, name: str) -> None:
        """Do a verb that was cut off once more, until all is as if it had never been cut off.

        What it had in hand is nobody's to touch until the survivor has undone it: a name that
        is taken yet is a conflict until then. Fails where that lasts.
        """
        deadline = time.monotonic() + TAKEN_OVER_SECONDS
        while True:
            again = self.suite.docker(*verb.command)
            assert "Traceback" not in again.stderr, again.stderr
            state = self._settled(survivor, name)
            if state == _WANTED.get(verb.name):
                return
            assert time.monotonic() < deadline, f"{verb.name}: {state=}; {again.stderr}"

    def _clear(self, name: str, nothing: Counts) -> None:
        remove(self.suite, name)
        await_held(self.suite, self.instance, nothing, self)
        # One is held by who compares or builds a parent just now; nothing tells of its end.
        deadline = time.monotonic() + SETTLED_SECONDS
        while self.turns():
            assert time.monotonic() < deadline, f"a turn is kept\n{self.suite.logs()}"
            time.sleep(0.2)

    def _settled(self, survivor: Side, name: str) -> int | None:
        """Return a container's state, None for none, once it can stay so; nothing tells of it."""
        deadline = time.monotonic() + TAKEN_OVER_SECONDS
        while True:
            state, running = self.state(survivor, name), machines(self.instance)
            if running == _STAY.get(state):
                return state
            assert time.monotonic() < deadline, f"{state=}, {running} VMs\n{self.suite.logs()}"
            time.sleep(0.05)

    @staticmethod
    def _check(verb: Verb, state: int | None, *, told: bool) -> None:
        """Fail where a container is lost, or isn't as its caller was told that it is."""
        if told:
            assert state == _WANTED.get(verb.name), f"{verb.name}: {state=}"
        else:
            assert state is not None or verb.name not in ("start", "stop"), "it is lost"

    def _await_all_but_clones(self, nothing: Counts) -> None:
        """Return when nothing is left but the dead replica's clones; nothing tells of it.

        Its successor ends those.
        """
        deadline = time.monotonic() + SETTLED_SECONDS
        wanted = {**nothing, "clones of nobody": 0}
        while {**(found := held(self.suite, self.instance, self)), "clones of nobody": 0} != (
            wanted
        ):
            assert time.monotonic() < deadline, f"{found}, not {wanted}\n{self.suite.logs()}"
            time.sleep(0.2)

    async def _count(self, query: str) -> int:
        engine = create_async_engine(self._database)
        try:
            async with engine.connect() as connection:
                return int((await connection.execute(sa.text(query))).scalar_one())
        finally:
            await engine.dispose()

    def _channel(self, address: str) -> FacetChannel:
        return open_channel(address, Role.EXEC, self.instance.id, self._credentials)

    async def _info(self, address: str) -> exec_pb2.InfoResponse:
        async with self._channel(address) as channel:
            stub = exec_pb2_grpc.ExecServiceStub(channel)
            return await stub.Info(exec_pb2.InfoRequest(), timeout=60)

    async def _list(self, address: str) -> list[container_pb2.Container]:
        async with self._channel(address) as channel:
            stub = exec_pb2_grpc.ExecServiceStub(channel)
            return list((await stub.List(exec_pb2.ListRequest(), timeout=60)).containers)


@contextmanager
def replicas_of(suite: Suite, instance: Instance, image: str) -> Iterator[Replicas]:
    """Have two replicas of exec serve a suite instead of its own, which is back afterwards.

    One is called by the suite's gateway, the other by a second one, and both by a third one at a
    port that they share, as docker-compose.yml has it.
    """
    run, data = suite.data_dir / "run", suite.data_dir
    shared = f"127.0.0.1:{free_port()}"
    addresses = [f"unix:{run}/exec.sock", f"unix:{run}/exec-2.sock"]
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        log, own = data / "log", suite.pid("exec")
        sides = tuple(
            Side(
                Program(
                    own,
                    {
                        "VIC_DATABASE_URL": database,
                        "VIC_LISTEN": json.dumps([address, shared]),
                        "VIC_SHARE_PORTS": "true",
                    },
                    log / f"exec-{number}.log",
                ),
                address,
                copy.copy(suite),
            )
            for number, address in enumerate(addresses, 1)
        )
        both = copy.copy(suite)
        gateway = suite.pid("gateway")
        stack.enter_context(suite.without("exec"))
        for side in sides:
            # One after the other: the first one makes the tables.
            stack.enter_context(side.program.running())
            side.await_serving()
        for target, user in ((addresses[1], sides[1].suite), (shared, both)):
            path = data / "gateway" / f"docker-{'both' if user is both else 2}.sock"
            settings = {
                "VIC_GATEWAY_LISTEN_FD": "",
                "VIC_GATEWAY_LISTEN": f"unix://{path}",
                "VIC_TARGETS": json.dumps({"exec": target}),
            }
            # A gateway leaves its socket, and the directory is another file's as well.
            stack.callback(path.unlink, missing_ok=True)
            stack.enter_context(Program(gateway, settings, log / "gateways.log").running())
            await_listener(path)
            user.endpoint = f"unix://{path}"
        yield Replicas(both, instance, database, sides, image)
