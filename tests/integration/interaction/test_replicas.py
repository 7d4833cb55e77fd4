"""Two replicas of interaction on one PostgreSQL: a call to either reaches the container."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.tether.v1 import tether_pb2

from portlayer.errors import FailedPrecondition, NotFound, Reason, Unavailable, domain_errors
from portlayer.identity import Role
from portlayer.store import open_store
from services.interaction.service import InteractionService
from services.interaction.store import MIGRATIONS
from tests.unit.interaction.fake_tether import BOOT, INIT, OUT, SOON, soon
from tests.unit.interaction.suite import CONTAINER, OTHER, Suite
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

EXEC = "e0" * 32
CLONE = "ready-00112233445566aa"


class Replica(Suite):
    """One of several services on the same database and the same logs."""

    def __init__(self, authority: TestAuthority, directory: Path, name: str, database: str) -> None:
        super().__init__(authority, directory)
        self._name = name
        self._database = database

    @property
    def address(self) -> str:
        return f"unix:{self.directory}/{self._name}.sock"

    @property
    def tether_address(self) -> str:
        return f"unix:{self.directory}/{self._name}-tethers.sock"

    async def start(self) -> None:
        self.service = await InteractionService.open(
            self.credentials(Role.INTERACTION),
            INSTANCE,
            self._database,
            self.directory,
            self.holder,
            self.address,
        )
        await self.service.serve_clients([self.address])
        await self.service.serve_tethers([self.tether_address])

    async def die(self) -> None:
        """Be gone; of what it had PostgreSQL takes back its presence, and nothing is told."""
        await self.stop()

    async def inspect(self, exec_id: str) -> interaction_pb2.InspectExecResponse:
        request = interaction_pb2.InspectExecRequest(exec_id=exec_id)
        return await self.interaction().InspectExec(request)


@pytest.fixture
async def replicas(
    authority: TestAuthority, tmp_path: Path, database: str
) -> AsyncIterator[tuple[Replica, Replica]]:
    store = await open_store(database, MIGRATIONS)
    async with store.transaction() as connection:
        for table in ("containers", "processes", "events", "replicas", "tethers"):
            await connection.execute(sa.text(f"TRUNCATE {table}"))
    await store.close()
    one, other = (Replica(authority, tmp_path, name, database) for name in ("one", "other"))
    await one.start()
    await other.start()
    yield one, other
    await one.close()
    await other.close()


async def next_event(watching: Any) -> Any:
    message = await soon(watching.read())
    return message.event


async def test_each_reaches_a_container_whose_tether_is_with_the_other(
    replicas: tuple[Replica, Replica],
) -> None:
    one, other = replicas
    watching = other.processes().Watch(process_pb2.WatchRequest())
    assert (await soon(watching.read())).HasField("started")

    # Registered with one, attached to and launched by the other; its tether has come to the other.
    await one.register(open_stdin=True)
    client = await other.attach(stdin=True)
    tether = other.tether()
    await tether.connect()
    await asyncio.gather(other.launch(), tether.take_launch())
    assert (await next_event(watching)).HasField("running")
    second = await one.attach()

    # Output goes to both, into one log that either reads; input comes from either.
    stdio = await tether.stdio()
    await stdio.send(b"some output\n")
    await stdio.settle()
    for attached in (client, second):
        assert await attached.read_until(OUT, 12) == b"some output\n"
    await client.write(b"typed")
    assert await stdio.take_input(5) == b"typed"
    for replica in replicas:
        assert await replica.log_text() == b"some output\n"
        listed = await replica.processes().ListRegistered(process_pb2.ListRegisteredRequest())
        assert list(listed.container_ids) == [CONTAINER]

    # An exec made by one, started by the other, asked for at both.
    made = interaction_pb2.CreateExecRequest(
        container_id=CONTAINER, exec_id=EXEC, process={"args": ["true"]}
    )
    await other.interaction().CreateExec(made)
    assert (await next_event(watching)).HasField("created")
    for replica in replicas:
        assert (await replica.inspect(EXEC)).container_id == CONTAINER
    running: Any = other.interaction().StartExec()
    start = interaction_pb2.StartExecStart(exec_id=EXEC)
    await running.write(interaction_pb2.StartExecRequest(start=start))
    assert (await soon(running.read())).HasField("ready")
    await tether.take_launch(pid=43)
    exec_stdio = await tether.stdio(EXEC)
    await exec_stdio.send(b"of the exec")
    assert (await soon(running.read())).output.data == b"of the exec"
    await exec_stdio.close()
    await tether.exit(5, EXEC)
    for replica in replicas:
        assert (await replica.inspect(EXEC)).exit_code == 5
    assert (await next_event(watching)).HasField("running")
    assert (await next_event(watching)).ended.exit_code == 5

    # The end: of the output for both clients, and as an event at the other.
    await stdio.close()
    await tether.exit(3)
    event = await next_event(watching)
    assert (event.process_id, event.ended.exit_code) == (INIT, 3)
    for attached in (client, second):
        await attached.read_all()
    await one.processes().Acknowledge(process_pb2.AcknowledgeRequest(sequence=event.sequence))
    watching.cancel()

    # Errors come through as they are, and what is removed is gone everywhere.
    await other.processes().Unregister(process_pb2.UnregisterRequest(container_id=CONTAINER))
    for replica in replicas:
        with pytest.raises(NotFound) as refused:
            await replica.interaction().ListExecs(
                interaction_pb2.ListExecsRequest(container_id=CONTAINER)
            )
        assert refused.value.reason is Reason.CONTAINER_NOT_FOUND


async def test_what_a_dead_one_had_the_other_takes_over(
    replicas: tuple[Replica, Replica],
) -> None:
    one, other = replicas
    async with one.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"before\n")
        await stdio.settle()
        assert await other.log_text() == b"before\n"
        await one.die()

    # Its log can be read at once, and its tether, which is back by itself, goes on there.
    assert await other.log_text() == b"before\n"
    tether = other.tether()
    state = {"process_id": INIT, "pid": 42, "started_at": {"seconds": 1000}}
    await tether.connect(BOOT, [state])  # type: ignore[list-item] # protobuf takes a mapping
    client = await other.attach()
    stdio = await tether.stdio(sequence=1)
    await stdio.send(b"before\n")
    await stdio.send(b"after\n")
    await stdio.settle()
    assert await client.read_until(OUT, 6) == b"after\n"
    assert await other.log_text() == b"before\nafter\n"

    # One that comes back finds it with the other.
    await one.start()
    assert await one.log_text() == b"before\nafter\n"
    await stdio.close()
    await tether.exit(0)
    async with asyncio.timeout(SOON):
        await client.read_all()


async def test_a_clone_that_waits_with_one_is_given_by_the_other(
    replicas: tuple[Replica, Replica],
) -> None:
    one, other = replicas
    await one.register()
    waiting = other.tether(CLONE)
    await waiting.connect(CLONE)
    launching = asyncio.ensure_future(one.launch(tether_id=CLONE))
    # It is let go where it waits, and carried to who has the container when it comes back.
    with pytest.raises(Unavailable), domain_errors():
        await soon(waiting.control.read())
    again = other.tether(CLONE)
    await again.connect(CLONE)
    await again.take_launch()
    await launching
    stdio = await again.stdio(INIT, CLONE)
    await stdio.send(b"carried\n")
    await stdio.close()
    assert await one.log_text() == b"carried\n"
    await one.register(OTHER)
    await other.register(OTHER)
    for replica in replicas:
        with pytest.raises(FailedPrecondition):
            await replica.launch(OTHER, "b002", tether_id=CLONE)
    # And by its record, when the one is gone.
    await one.die()
    last = other.tether(CLONE)
    running = tether_pb2.ProcessState(process_id=INIT, pid=42, started_at={"seconds": 1000})
    await last.connect(CLONE, [running])
    await last.exit(0)


async def test_who_watches_many_learns_which_are_here(replicas: tuple[Replica, Replica]) -> None:
    one, other = replicas
    await one.register(CONTAINER)
    await other.register(OTHER)
    for replica, here, there in ((one, CONTAINER, OTHER), (other, OTHER, CONTAINER)):
        call: Any = replica.interaction().WatchStats()
        await call.write(interaction_pb2.WatchStatsRequest(watch=[CONTAINER, OTHER]))
        ends = {told.container_id: told.end for told in (await soon(call.read())).samples}
        assert ends == {here: 0, there: interaction_pb2.WATCH_END_NOT_HERE}
        call.cancel()
        # Of the other one Stats tells.
        stats: Any = replica.interaction().Stats(
            interaction_pb2.StatsRequest(container_id=there, stream=True)
        )
        assert not (await soon(stats.read())).HasField("sample")
        stats.cancel()
