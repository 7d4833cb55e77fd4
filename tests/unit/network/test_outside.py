"""Outside hosts under a name of a network."""

from ipaddress import IPv4Network

import pytest

from portlayer.errors import FailedPrecondition, InvalidArgument, NotFound
from services.network.model import Wish
from services.network.names.answers import Answers
from services.network.names.askers import Askers
from services.network.outside import OutsideHosts
from services.network.plans import Plan
from tests.unit.network.conftest import Facet, Runs
from tests.unit.network.naming import questioned, run


@pytest.fixture
async def app(facet: Facet) -> Facet:
    """A service with two networks that users made."""
    await facet.networks.create(Plan("app", subnet=IPv4Network("10.1.0.0/16")))
    await facet.networks.create(Plan("other", subnet=IPv4Network("10.2.0.0/16")))
    return facet


def answers(facet: Facet, outside: OutsideHosts) -> Answers:
    """Return what the name server says."""
    return Answers(
        facet.endpoints.directory, Askers(facet.networks, facet.endpoints).networks_of, outside
    )


async def test_an_outside_host_has_its_name_in_one_network(app: Facet) -> None:
    outside = OutsideHosts(app.store, app.networks)
    await outside.set("app", "Db.Example.", "192.0.2.7")
    await outside.set("app", "six", "2001:db8::7")
    rules, app_network = answers(app, outside), app.networks.find("app")
    assert questioned(rules, app_network, "10.1.0.9", "db.example") == ("NOERROR", ["192.0.2.7"])
    assert questioned(rules, app_network, "10.1.0.9", "db.example.app") == (
        "NOERROR",
        ["192.0.2.7"],
    )
    assert questioned(rules, app_network, "10.1.0.9", "six") == ("NOERROR", [])
    assert questioned(rules, app_network, "10.1.0.9", "six", "AAAA") == ("NOERROR", ["2001:db8::7"])
    assert questioned(rules, app_network, "10.1.0.9", "7.2.0.192.in-addr.arpa", "PTR") == (
        "NOERROR",
        ["db.example.app."],
    )
    assert questioned(rules, app.networks.find("other"), "10.2.0.9", "six", "AAAA") is None


async def test_no_container_comes_in_its_place(app: Facet) -> None:
    outside = OutsideHosts(app.store, app.networks)
    await run(app, "c1", "db", Wish("app"))
    await outside.set("app", "db", "192.0.2.7")
    found = questioned(answers(app, outside), app.networks.find("app"), "10.1.0.9", "db")
    assert found == ("NOERROR", ["192.0.2.7"])


async def test_it_can_move_and_go_and_survives_a_restart(runs: Runs) -> None:
    facet = await runs.start()
    network = await facet.networks.create(Plan("app"))
    outside = OutsideHosts(facet.store, facet.networks)
    await outside.set("app", "db", "192.0.2.7")
    await outside.set("app", "db", "192.0.2.8")
    facet = await runs.start()
    outside = OutsideHosts(facet.store, facet.networks)
    await outside.load()
    assert {name: str(host) for name, host in outside.of(network).items()} == {"db": "192.0.2.8"}
    await outside.remove("app", "DB")
    assert outside.of(network) == {}
    with pytest.raises(NotFound, match="network app has no outside alias db"):
        await outside.remove("app", "db")


async def test_it_goes_with_its_network(runs: Runs) -> None:
    facet = await runs.start()
    await facet.networks.create(Plan("app"))
    outside = OutsideHosts(facet.store, facet.networks)
    facet.networks.followers.append(outside.drop_gone)
    await outside.set("app", "db", "192.0.2.7")
    network = await facet.networks.remove("app")
    assert outside.of(network) == {}
    assert await facet.store.outside_aliases() == {}


@pytest.mark.parametrize(
    "name", ["", "-db", "d b", "db..x", "x" * 64, "a." * 128, "dä", "1.2.3.4", "localhost"]
)
async def test_what_is_no_name_is_refused(app: Facet, name: str) -> None:
    outside = OutsideHosts(app.store, app.networks)
    with pytest.raises(InvalidArgument, match="invalid alias"):
        await outside.set("app", name, "192.0.2.7")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "db",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%1",
    ],
)
async def test_what_is_no_reachable_address_is_refused(app: Facet, address: str) -> None:
    outside = OutsideHosts(app.store, app.networks)
    with pytest.raises(InvalidArgument, match="invalid address"):
        await outside.set("app", "db", address)


async def test_a_network_without_a_name_server_has_no_aliases(app: Facet) -> None:
    outside = OutsideHosts(app.store, app.networks)
    for network in ("bridge", "none"):
        with pytest.raises(FailedPrecondition, match="no name server of its own"):
            await outside.set(network, "db", "192.0.2.7")
    with pytest.raises(NotFound):
        await outside.set("nowhere", "db", "192.0.2.7")
