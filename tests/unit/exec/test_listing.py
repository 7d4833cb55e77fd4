"""Lists come in pages, and what is pruned is what doesn't run and fits."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from vic.exec.v1 import container_pb2, exec_pb2
from vic.tether.v1 import health_pb2

from portlayer.errors import InvalidArgument
from services.exec import listed, lookup, schema, server
from services.exec.answers import Answers
from services.exec.removing import Pruned
from services.exec.schema import CONTAINERS
from services.exec.server import ExecServicer
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import kinds, spec

NO_CONTEXT: Any = SimpleNamespace()


def servicer(facet: Facet) -> ExecServicer:
    return ExecServicer(
        facet.containers,
        facet.events,
        facet.creator,
        facet.lifecycle,
        facet.vch,
        facet.restarts,
        Answers(facet.store),
    )


async def test_a_list_of_many_comes_in_pages(facet: Facet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "READ_AT_ONCE", 2)
    made = [(await facet.creator.create("", spec())).id for _ in range(7)]
    monkeypatch.setattr(server, "PAGE_BYTES", 1000)
    found: list[str] = []
    request, pages = exec_pb2.ListRequest(), 0
    while True:
        page = await servicer(facet).List(request, NO_CONTEXT)
        found += [container.id for container in page.containers]
        pages += 1
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        # What was last on a page may be gone by the next.
        await facet.lifecycle.remove(found[-1], found[-1], force=True)
    assert found == made[::-1]
    assert pages > 1


@pytest.mark.parametrize("health_boot_id", ["", "boot", "another"])
@pytest.mark.parametrize("state", list(State))
async def test_a_list_tells_of_each_what_its_inspection_does(
    facet: Facet, state: State, health_boot_id: str
) -> None:
    check = container_pb2.HealthCheck(test=["CMD", "true"])
    record = await facet.creator.create("", spec(health_check=check))
    told = replace(
        record,
        state=state,
        boot_id="boot",
        pid=7,
        exit_code=3,
        error="an error",
        oom_killed=True,
        started_ns=1_000_000_001,
        finished_ns=2_000_000_002,
        restart_count=4,
        start_kind=container_pb2.START_KIND_INSTANT_CLONE,
        kernel_release="6.1",
        published_ports=(container_pb2.PortBinding(host_port_start=8080),),
        disk_chain_length=3,
    )
    assert await facet.containers.update(told, [])
    async with facet.store.transaction() as connection:
        health = health_pb2.Health(status=health_pb2.HEALTH_STATUS_HEALTHY)
        values = {"health": health.SerializeToString(), "health_boot_id": health_boot_id}
        await connection.execute(CONTAINERS.update().values(values))
    await facet.creator.create("", spec())  # with zeros for most of it
    exec_ = servicer(facet)
    found = (await exec_.List(exec_pb2.ListRequest(), NO_CONTEXT)).containers
    assert len(found) == 2
    for container in found:
        got = await exec_.Get(exec_pb2.GetRequest(reference=container.id), NO_CONTEXT)
        assert got.container == container
    assert found[1].status.health.status == (
        health.status if health_boot_id == "boot" else health_pb2.HEALTH_STATUS_STARTING
    )


async def test_a_later_list_tells_what_has_changed(facet: Facet) -> None:
    exec_ = servicer(facet)
    changed = await facet.creator.create("", spec(name="former"))
    await facet.creator.create("", spec(name="same"))
    before = (await exec_.List(exec_pb2.ListRequest(), NO_CONTEXT)).containers
    assert [one.spec.name for one in before] == ["same", "former"]
    await facet.lifecycle.rename(changed.id, "later")
    await facet.lifecycle.start(changed.id)
    now = (await exec_.List(exec_pb2.ListRequest(), NO_CONTEXT)).containers
    assert now[0] == before[0]
    got = await exec_.Get(exec_pb2.GetRequest(reference=changed.id), NO_CONTEXT)
    assert now[1] == got.container
    assert now[1].spec.name == "later"
    assert now[1].status.state == container_pb2.CONTAINER_STATE_RUNNING


async def test_few_messages_are_kept_and_no_large_ones(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[str] = []

    def fill(container: container_pb2.Container, row: Any) -> None:
        filled.append(row.id)
        schema.fill(container, row)

    monkeypatch.setattr(listed, "fill", fill)
    exec_ = servicer(facet)
    large = spec(labels={"large": "x" * listed.LARGEST_KEPT_BYTES})
    made = [(await facet.creator.create("", one)).id for one in (spec(), large, spec(), spec())]

    async def filled_by_a_list() -> list[str]:
        filled.clear()
        page = await exec_.List(exec_pb2.ListRequest(), NO_CONTEXT)
        assert [container.id for container in page.containers] == made[::-1]
        return list(filled)

    assert await filled_by_a_list() == made[::-1]
    assert await filled_by_a_list() == [made[1]]
    monkeypatch.setattr(listed, "KEPT", 2)
    # The first one's is there; it takes the place of the next one's, and so on.
    assert await filled_by_a_list() == made[2::-1]


async def test_a_page_holds_one_container_however_large(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await facet.creator.create("", spec())
    monkeypatch.setattr(server, "PAGE_BYTES", 1)
    page = await servicer(facet).List(exec_pb2.ListRequest(), NO_CONTEXT)
    assert len(page.containers) == 1
    assert not page.next_page_token


@pytest.mark.parametrize("token", ["x", "1 x", "-1 " + "a" * 64, "9" * 30 + " " + "a" * 64])
async def test_what_is_no_page_is_refused(facet: Facet, token: str) -> None:
    with pytest.raises(InvalidArgument):
        await servicer(facet).List(exec_pb2.ListRequest(page_token=token), NO_CONTEXT)


async def test_prune_removes_what_does_not_run(facet: Facet) -> None:
    running = await facet.run("running")
    created = (await facet.creator.create("", spec())).id
    exited = await facet.run("exited")
    await facet.peers.end(exited, 0)
    await facet.exits.drain()
    answer = await servicer(facet).Prune(exec_pb2.PruneRequest(), NO_CONTEXT)
    assert set(answer.removed_ids) == {created, exited}
    assert [record.id for record in await facet.containers.select()] == [running]
    assert (await kinds(facet))[-3:] == ["destroy", "destroy", "prune"]


@pytest.mark.parametrize(
    ("filters", "removed"),
    [
        (["tier"], {"a", "b"}),
        (["tier=front"], {"a"}),
        (["tier", "zone=1"], {"a"}),
        (["!tier=front"], {"b", "c"}),
        (["!tier"], {"c"}),
        (["!tier", "!zone"], {"b", "c"}),
    ],
)
async def test_prune_by_labels(facet: Facet, filters: list[str], removed: set[str]) -> None:
    await facet.creator.create("", spec(name="aa", labels={"tier": "front", "zone": "1"}))
    await facet.creator.create("", spec(name="bb", labels={"tier": "back"}))
    await facet.creator.create("", spec(name="cc"))
    before = {record.name[0] for record in await facet.containers.select()}
    await facet.lifecycle.prune(None, filters)
    assert before - {record.name[0] for record in await facet.containers.select()} == removed


async def test_prune_until_a_moment(facet: Facet) -> None:
    old = await facet.creator.create("", spec())
    new = await facet.creator.create("", spec())
    pruned = await facet.lifecycle.prune(new.created_ns, [])
    assert pruned == Pruned([old.id], 1000)


async def test_the_end_of_the_service_waits_for_a_prune(facet: Facet) -> None:
    exec_ = servicer(facet)
    container = await facet.creator.create("", spec())
    async with facet.turns.turn(container.id):
        pruning = asyncio.create_task(exec_.Prune(exec_pb2.PruneRequest(), NO_CONTEXT))
        await turns()
        draining = asyncio.create_task(exec_.drain(60))
        await turns()
        assert not draining.done()
    assert await draining
    assert list((await pruning).removed_ids) == [container.id]
