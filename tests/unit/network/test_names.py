"""Names of containers, and what is said of them."""

from ipaddress import IPv4Network

import pytest
from dns.name import Name

from portlayer.errors import NotFound
from services.network.model import Wish
from services.network.plans import Plan
from tests.unit.network.conftest import Facet, Runs
from tests.unit.network.naming import ID, asked, run


async def test_a_container_has_its_name_id_host_name_and_aliases(app: Facet) -> None:
    address = await run(app, ID, "web", Wish("app", aliases=("www", "Site")), hostname="box")
    for name in ("web", "WEB", "c0ffee000000", "box", "www", "site", "web.app"):
        assert asked(app, "app", "10.1.0.9", name) == ("NOERROR", [address]), name
    # Such names have no other data, which is not the same as not to be.
    assert asked(app, "app", "10.1.0.9", "web", "AAAA") == ("NOERROR", [])
    assert asked(app, "app", "10.1.0.9", "web", "MX") == ("NOERROR", [])
    assert asked(app, "app", "10.1.0.9", "web.other") is None
    assert asked(app, "app", "10.1.0.9", "example.com") is None


async def test_one_alias_of_several_has_all_their_addresses(app: Facet) -> None:
    addresses = [await run(app, f"c{n}", "", Wish("app", aliases=("db",))) for n in range(3)]
    assert asked(app, "app", "10.1.0.9", "db") == ("NOERROR", sorted(addresses))
    await app.endpoints.release("c1")
    assert asked(app, "app", "10.1.0.9", "db") == ("NOERROR", [addresses[0], addresses[2]])


async def test_who_does_not_run_is_not_found(app: Facet) -> None:
    await run(app, "c1", "web", Wish("app"))
    await app.endpoints.unbind("c1")
    assert asked(app, "app", "10.1.0.9", "web") is None
    await app.endpoints.bind("c1")
    assert asked(app, "app", "10.1.0.9", "web") is not None


async def test_names_do_not_leak_into_other_networks(app: Facet) -> None:
    address = await run(app, "c1", "web", Wish("app"))
    stranger = await run(app, "c2", "spy", Wish("other"))
    backwards = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    assert asked(app, "other", stranger, "web") is None
    assert asked(app, "other", stranger, backwards, "PTR") is None


async def test_who_is_in_two_networks_finds_the_names_of_both(app: Facet) -> None:
    one = await run(app, "c1", "one", Wish("app"))
    two = await run(app, "c2", "two", Wish("other"))
    both = await run(app, "c3", "both", Wish("app"), Wish("other"))
    assert asked(app, "app", both, "one") == ("NOERROR", [one])
    assert asked(app, "app", both, "two") == ("NOERROR", [two])
    assert asked(app, "app", one, "two") is None


async def test_an_address_has_the_name_of_its_container(app: Facet) -> None:
    await run(app, "c1", "web", Wish("app", ipv4="10.1.0.7", aliases=("www",)))
    name = "7.0.1.10.in-addr.arpa"
    assert asked(app, "app", "10.1.0.9", name, "PTR") == ("NOERROR", ["web.app."])
    assert asked(app, "app", "10.1.0.9", "8.0.1.10.in-addr.arpa", "PTR") == ("NXDOMAIN", [])
    assert asked(app, "app", "10.1.0.9", "8.8.8.8.in-addr.arpa", "PTR") is None
    assert asked(app, "app", "10.1.0.9", "in-addr.arpa", "PTR") is None


async def test_a_new_name_counts_at_once_and_after_a_restart(runs: Runs) -> None:
    first = await runs.start()
    await first.networks.create(Plan("app"))
    address = await run(first, "c1", "old", Wish("app", aliases=("a",)))
    await first.endpoints.rename("c1", "new")
    await first.endpoints.rename("c1", "new")
    assert asked(first, "app", address, "old") is None
    assert asked(first, "app", address, "new") == ("NOERROR", [address])
    second = await runs.start()
    for name in ("new", "a"):
        assert asked(second, "app", address, name) == ("NOERROR", [address])
    with pytest.raises(NotFound):
        await second.endpoints.rename("nobody", "x")


async def test_an_internal_network_asks_nobody_outside(facet: Facet) -> None:
    await facet.networks.create(Plan("inner", internal=True))
    address = await run(facet, "c1", "web", Wish("inner"))
    assert asked(facet, "inner", address, "web") == ("NOERROR", [address])
    assert asked(facet, "inner", address, "example.com") == ("NXDOMAIN", [])


async def test_questions_that_are_none_are_refused(app: Facet) -> None:
    assert asked(app, "app", "10.1.0.9", "web", "AXFR") == ("REFUSED", [])
    assert asked(app, "app", "10.1.0.9", "web", edns=1) == ("BADVERS", [])


async def test_a_name_that_no_host_may_have_is_found_as_it_was_given(app: Facet) -> None:
    # As with dockerd anything goes.
    odd = ("bad name", "größe", "a/b", "", "x" * 300)
    address = await run(app, ID, "web", Wish("app", aliases=odd))
    for name in ("bad\\032name", "a/b", Name(("größe".encode(), b""))):
        assert asked(app, "app", "10.1.0.9", name) == ("NOERROR", [address]), name


async def test_an_address_has_a_name_in_a_network_whose_own_is_too_long_for_one(
    facet: Facet,
) -> None:
    await facet.networks.create(Plan("n" * 64, subnet=IPv4Network("10.3.0.0/16")))
    await facet.networks.create(Plan("two words", subnet=IPv4Network("10.4.0.0/16")))
    await run(facet, "c1", "web", Wish("n" * 64, ipv4="10.3.0.7"))
    await run(facet, "c2", "web2", Wish("two words", ipv4="10.4.0.7"))
    found = asked(facet, "n" * 64, "10.3.0.9", "7.0.3.10.in-addr.arpa", "PTR")
    assert found == ("NOERROR", ["web."])
    found = asked(facet, "two words", "10.4.0.9", "7.0.4.10.in-addr.arpa", "PTR")
    assert found == ("NOERROR", ["web2.two\\032words."])


async def test_an_address_whose_container_has_no_name_for_dns_has_none(app: Facet) -> None:
    for number, name in enumerate(("l" * 64, "a..b", "web.")):
        address = await run(app, f"{number}" * 64, name, Wish("app"))
        backwards = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        assert asked(app, "app", "10.1.0.9", backwards, "PTR") == ("NXDOMAIN", []), name
