"""Events of networks: each change once, in order, through restarts."""

import pytest
from vic.network.v1 import network_pb2 as pb

from portlayer.errors import FailedPrecondition
from services.network.model import Wish
from services.network.plans import Plan
from tests.unit.network.conftest import Facet, Runs


def told(facet: Facet) -> list[str]:
    """What was told: the kind, the network, and the container where there is one."""
    return [
        " ".join(
            (
                pb.EventKind.Name(entry.kind).removeprefix("EVENT_KIND_").lower(),
                entry.attributes.get("name", "-"),
                *([entry.attributes["container"]] if "container" in entry.attributes else []),
            )
        )
        for entry in facet.networks.happenings.journal
    ]


async def test_the_life_of_a_network_is_told(facet: Facet) -> None:
    network = await facet.networks.create(Plan("app"))
    await facet.networks.create(Plan("app", network_id=network.id))  # the same once more
    await facet.endpoints.reserve("c1", "web", "h", [Wish("bridge"), Wish("app")])
    await facet.endpoints.bind("c1")
    await facet.endpoints.bind("c1")
    with pytest.raises(FailedPrecondition):
        await facet.networks.remove("app")
    await facet.endpoints.unbind("c1")
    await facet.endpoints.unbind("c1")
    await facet.endpoints.release("c1")
    await facet.networks.remove("app")
    assert told(facet) == [
        "create app",
        *("connect bridge c1", "connect app c1"),
        *("disconnect bridge c1", "disconnect app c1"),
        "destroy app",
    ]
    first = next(iter(facet.networks.happenings.journal))
    assert first.actor == network.id
    assert first.attributes == {"name": "app", "type": "bridge"}


async def test_a_container_without_network_is_on_none(facet: Facet) -> None:
    await facet.endpoints.reserve("c1", "", "", [Wish("none")])
    await facet.endpoints.bind("c1")
    await facet.endpoints.release("c1")
    assert told(facet) == ["connect none c1", "disconnect none c1"]


async def test_a_prune_is_told_after_what_it_removed(facet: Facet) -> None:
    await facet.networks.create(Plan("app"))
    await facet.networks.prune(None, [])
    assert told(facet) == ["create app", "destroy app", "prune -"]


async def test_an_end_that_came_while_the_service_was_away_is_told(runs: Runs) -> None:
    facet = await runs.start()
    await facet.endpoints.reserve("c1", "", "", [Wish("bridge")])
    await facet.endpoints.bind("c1")
    facet = await runs.start()
    for port in list(facet.platform.ports):
        await facet.platform.detach([port])
    await facet.endpoints.bind("c1")
    await facet.endpoints.unbind("c1")
    await facet.endpoints.unbind("c1")
    facet = await runs.start()
    await facet.endpoints.unbind("c1")
    assert told(facet) == ["connect bridge c1", "disconnect bridge c1"]
