"""Published ports, from the specification to the end of a run."""

import asyncio
from dataclasses import replace

import pytest
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import AlreadyExists, InvalidArgument, NotImplementedYet, Reason, Unavailable
from services.exec import room, taken
from services.exec.ports import wanted_bindings
from services.exec.record import Record
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns

TCP, UDP = container_pb2.PROTOCOL_TCP, container_pb2.PROTOCOL_UDP


def binding(
    port: int,
    first: int = 0,
    last: int = 0,
    *,
    protocol: container_pb2.Protocol = TCP,
    at: str = "",
) -> container_pb2.PortBinding:
    """Return the wish for a port."""
    return container_pb2.PortBinding(
        container_port=port,
        protocol=protocol,
        host_address=at,
        host_port_start=first,
        host_port_end=last or first,
    )


def spec(
    *bindings: container_pb2.PortBinding, name: str = "", **fields: object
) -> container_pb2.ContainerSpec:
    return container_pb2.ContainerSpec(
        image="busybox",
        name=name,
        port_bindings=bindings,
        **fields,  # type: ignore[arg-type]
    )


async def record_of(facet: Facet, container_id: str) -> Record:
    return await facet.containers.resolve(container_id)


async def test_ports_are_published_while_a_container_runs(facet: Facet) -> None:
    container_id = await facet.run(
        port_bindings=[binding(80, 8080, at="127.0.0.1"), binding(53, protocol=UDP)]
    )
    record = await record_of(facet, container_id)
    given = [binding(80, 8080, at="127.0.0.1"), binding(53, 49153, protocol=UDP, at="0.0.0.0")]
    assert list(record.published_ports) == given
    assert list(record.message().published_ports) == given
    await facet.peers.end(container_id, 0)
    await facet.exits.drain()
    assert facet.peers.published == {}
    await facet.lifecycle.start(container_id)
    again = (await record_of(facet, container_id)).published_ports
    assert [port.host_port_start for port in again] == [8080, 49154]
    await facet.lifecycle.stop(container_id, 1, "")
    assert facet.peers.published == {}


async def test_who_wishes_for_no_port_asks_for_none(facet: Facet) -> None:
    facet.peers.failing["Publish"] = Unavailable("nobody asks")
    container_id = await facet.run(exposed_ports=["80/tcp"])
    assert (await record_of(facet, container_id)).published_ports == ()


async def test_a_port_in_use_fails_the_start_before_there_is_a_vm(facet: Facet) -> None:
    first = await facet.run(port_bindings=[binding(80, 8080)])
    record = await facet.creator.create("", spec(binding(81, 8081), binding(80, 8080)))
    with pytest.raises(AlreadyExists, match="port is already allocated") as refusal:
        await facet.lifecycle.start(record.id)
    assert refusal.value.reason is Reason.PORT_IN_USE
    assert len(facet.hypervisor.launched) == 1
    failed = await record_of(facet, record.id)
    assert (failed.state, failed.exit_code) == (State.CREATED, 128)
    assert "port is already allocated" in failed.error
    assert set(facet.peers.published) == {first}
    await facet.lifecycle.remove(first, first, force=True)
    await facet.lifecycle.start(record.id)
    assert set(facet.peers.published) == {record.id}


async def test_a_start_waits_for_the_port_of_one_that_has_ended(facet: Facet) -> None:
    first = await facet.run(port_bindings=[binding(80, 8080)])
    record = await facet.creator.create("", spec(binding(80, 8080)))
    # Its process has ended, and its VM is about to go.
    async with facet.turns.turn(first):
        await facet.peers.end(first, 0)
        starting = asyncio.create_task(facet.lifecycle.start(record.id))
        done, _ = await asyncio.wait({starting}, timeout=0.1)
        assert not done
        assert set(facet.peers.published) == {first}
    async with asyncio.timeout(60):
        await starting
    assert set(facet.peers.published) == {record.id}


@pytest.mark.parametrize("auto_remove", [True, False])
async def test_a_start_waits_for_the_port_of_one_that_is_removed(
    facet: Facet, monkeypatch: pytest.MonkeyPatch, *, auto_remove: bool
) -> None:
    # Far beyond what a test may take.
    monkeypatch.setattr(taken, "RETIRE_LOOK_SECONDS", 600.0)
    first = await facet.run(port_bindings=[binding(80, 8080)], auto_remove=auto_remove)
    record = await facet.creator.create("", spec(binding(80, 8080)))
    release, may_release = facet.peers.Release, asyncio.Event()

    async def releasing(request: network_pb2.ReleaseRequest) -> None:
        await may_release.wait()
        await release(request)

    monkeypatch.setattr(facet.peers, "Release", releasing)
    removing = None
    async with facet.turns.turn(first):
        if auto_remove:
            await facet.peers.end(first, 0)
        else:
            # Its clean-up failed.
            assert await facet.containers.end(await record_of(facet, first), [])
            removing = asyncio.create_task(facet.lifecycle.remove(first, first, force=True))
        starting = asyncio.create_task(facet.lifecycle.start(record.id))
        await turns()
    async with asyncio.timeout(60):
        while (  # noqa: ASYNC110 — a turn of the loop is the event
            await record_of(facet, first)
        ).state is not State.REMOVING:
            await asyncio.sleep(0)
        await turns()
        assert not starting.done()
        may_release.set()
        await starting
        if removing is not None:
            await removing
    assert set(facet.peers.published) == {record.id}
    await facet.exits.drain()


async def test_starts_that_wait_for_a_port_keep_no_place_from_others(facet: Facet) -> None:
    first = await facet.run(port_bindings=[binding(80, 8080)])
    specs = (spec(binding(80, 8080), name=f"c{n}") for n in range(room.LEAST_AT_ONCE))
    ids = [(await facet.creator.create("", one)).id for one in specs]
    async with facet.turns.turn(first):
        await facet.peers.end(first, 0)
        starts = [asyncio.create_task(facet.lifecycle.start(one)) for one in ids]
        await turns()
        async with asyncio.timeout(60):
            await facet.run("other")
        assert not any(start.done() for start in starts)
    async with asyncio.timeout(60):
        results = await asyncio.gather(*starts, return_exceptions=True)
    assert [isinstance(result, AlreadyExists) for result in results].count(False) == 1


async def test_a_port_that_was_given_back_meanwhile_is_asked_for_again(facet: Facet) -> None:
    record = await facet.creator.create("", spec(binding(80, 8080)))
    facet.peers.failing["Publish"] = AlreadyExists("taken", Reason.PORT_IN_USE, container="gone")
    await facet.lifecycle.start(record.id)
    assert set(facet.peers.published) == {record.id}


@pytest.mark.parametrize("call", ["create", "load", "Bind", "Launch"])
async def test_a_start_that_fails_leaves_no_port_open(facet: Facet, call: str) -> None:
    record = await facet.creator.create("", spec(binding(80, 8080)))
    failing = facet.peers if call[0].isupper() else facet.hypervisor
    failing.failing[call] = Unavailable("no", Reason.HYPERVISOR_FAILED)
    with pytest.raises((Unavailable, ExceptionGroup)):
        await facet.lifecycle.start(record.id)
    assert facet.peers.published == {}
    assert (await record_of(facet, record.id)).published_ports == ()


async def test_a_clone_that_is_booted_instead_has_its_ports(facet: Facet) -> None:
    facet.hypervisor.failing["load"] = Unavailable("no", Reason.CLONE_FAILED)
    container_id = await facet.run(port_bindings=[binding(80, 8080)])
    (port,) = (await record_of(facet, container_id)).published_ports
    assert port.host_port_start == facet.peers.published[container_id][0].host_port == 8080


async def test_an_interrupted_start_gives_its_ports_back(facet: Facet) -> None:
    facet.peers.answer_launch.clear()
    start = asyncio.create_task(facet.run(port_bindings=[binding(80, 8080)]))
    await facet.peers.launched.wait()
    (record,) = await facet.containers.select([State.STARTING])
    start.cancel()
    await asyncio.wait({start})
    # What a crash leaves: nothing of it was undone.
    boot = replace(record, state=State.STARTING)
    await facet.containers.update(boot)
    facet.hypervisor.machines[record.id] = record.boot_id
    facet.peers.published[record.id] = []
    assert await facet.restarted().reconciler.reconcile()
    assert facet.peers.published == {}


async def test_a_lost_record_of_what_runs_finds_its_ports(facet: Facet) -> None:
    container_id = await facet.run(port_bindings=[binding(80)])
    before = (await record_of(facet, container_id)).published_ports
    await facet.containers.delete(container_id)
    assert await facet.reconciler.reconcile()
    assert (await record_of(facet, container_id)).published_ports == before


async def test_a_lost_record_is_restored_where_its_ports_are_gone(facet: Facet) -> None:
    container_id = await facet.run(port_bindings=[binding(80, 8080)])
    await facet.containers.delete(container_id)
    facet.peers.failing["Publish"] = AlreadyExists("taken", Reason.PORT_IN_USE)
    assert await facet.reconciler.reconcile()
    record = await record_of(facet, container_id)
    assert (record.state, record.published_ports) == (State.RUNNING, ())


async def test_all_exposed_ports_are_published(facet: Facet) -> None:
    record = await facet.creator.create(
        "",
        spec(
            binding(80, 8080),
            exposed_ports=["80/tcp", "80/udp", "90", "100-101/tcp"],
            publish_all_ports=True,
        ),
    )
    # What was asked for stays what it was.
    assert list(record.spec.port_bindings) == [binding(80, 8080)]
    bindings = wanted_bindings(record.spec)
    wanted = {(b.container_port, b.protocol, b.host_port_start) for b in bindings}
    assert wanted == {(80, TCP, 8080), (80, UDP, 0), (90, TCP, 0), (100, TCP, 0), (101, TCP, 0)}
    await facet.lifecycle.start(record.id)
    assert len((await record_of(facet, record.id)).published_ports) == 5


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (binding(0, 80), "invalid port specification: 0"),
        (binding(70000, 80), "invalid port specification: 70000"),
        (binding(80, 90, 80), "invalid port specification: 90-80"),
        (binding(80, 65535, 65536), "invalid port specification"),
        (container_pb2.PortBinding(container_port=80), "is of TCP or UDP"),
        (binding(80, 80, at="::x"), "invalid IP address: ::x"),
    ],
)
async def test_ports_that_cannot_be_are_refused(
    facet: Facet, wish: container_pb2.PortBinding, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await facet.creator.create("", spec(wish))
    assert facet.leftovers() == []


async def test_exposed_ports_that_cannot_be_published_are_refused(facet: Facet) -> None:
    with pytest.raises(NotImplementedYet, match="published ports of sctp"):
        await facet.creator.create("", spec(exposed_ports=["9/sctp"], publish_all_ports=True))
    with pytest.raises(InvalidArgument, match="invalid port specification: web"):
        await facet.creator.create("", spec(exposed_ports=["web"], publish_all_ports=True))
    for bindings, exposed in (([], "1-65535/tcp"), ([binding(n + 1) for n in range(1000)], "1001")):
        with pytest.raises(InvalidArgument, match="at most 1000 published ports"):
            await facet.creator.create(
                "", spec(*bindings, exposed_ports=[exposed], publish_all_ports=True)
            )
    # Where nobody publishes them they are but words.
    await facet.creator.create("", spec(exposed_ports=["9/sctp", "web"]))
