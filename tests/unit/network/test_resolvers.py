"""Name servers for containers."""

from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlayer.errors import AlreadyExists, InvalidArgument
from services.network.model import Wish
from services.network.names.askers import Askers
from services.network.resolvers import PUBLIC_SERVERS, Resolvers, for_containers, of_host, parse
from tests.unit.network.conftest import Facet, Runs


def test_a_resolv_conf_is_read_as_the_resolver_reads_it() -> None:
    text = """
# a comment
nameserver 10.0.0.1 ; another
nameserver 10.0.0.2
domain old.example
search a.example b.example .
options ndots:2 rotate
options timeout:1
sortlist 10.0.0.0
nameserver
"""
    assert parse(text) == Resolvers(
        ("10.0.0.1", "10.0.0.2"),
        ("a.example", "b.example"),
        ("ndots:2", "rotate", "timeout:1"),
    )


@given(st.text())
def test_nothing_in_a_resolv_conf_is_fatal(text: str) -> None:
    parse(text)


def files(directory: Path, host: str | None, systemd: str | None = None) -> Resolvers:
    paths = []
    for name, text in (("host", host), ("systemd", systemd)):
        path = directory / name
        if text is not None:
            path.write_text(text)
        paths.append(path)
    return for_containers(*paths)


def test_containers_get_the_host_s_servers(tmp_path: Path) -> None:
    found = files(tmp_path, "nameserver 10.0.0.1\nsearch x.example\noptions edns0\n")
    assert found == Resolvers(("10.0.0.1",), ("x.example",), ("edns0",))


def test_what_the_host_changes_counts_at_once(tmp_path: Path) -> None:
    for number in (1, 2, 1):
        server = f"10.0.0.{number}"
        assert files(tmp_path, f"nameserver {server}\n").servers == (server,)
        assert of_host([], [], tmp_path / "host") == [IPv4Address(server)]
    assert files(tmp_path, "", "nameserver 10.0.0.3\n").servers == ("10.0.0.3",)


def test_servers_that_containers_cannot_reach_are_left_out(tmp_path: Path) -> None:
    text = "nameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 10.0.0.9\n"
    assert files(tmp_path, text).servers == ("10.0.0.9",)


def test_behind_systemd_s_stub_are_its_own_servers(tmp_path: Path) -> None:
    found = files(tmp_path, "nameserver 127.0.0.53\nsearch lan\n", "nameserver 192.0.2.53\n")
    assert found == Resolvers(("192.0.2.53",), ("lan",))


def test_without_any_server_containers_get_docker_s_public_ones(tmp_path: Path) -> None:
    assert files(tmp_path, "nameserver 127.0.0.1\n").servers == PUBLIC_SERVERS
    assert files(tmp_path / "nowhere", None).servers == PUBLIC_SERVERS


def test_the_host_s_servers_are_asked_but_for_our_own() -> None:
    found = of_host(["10.9.0.1", "127.0.0.53", "fe80::1", "junk", "0.0.0.0"], [])
    assert [str(server) for server in found] == ["10.9.0.1", "127.0.0.53", "fe80::1"]
    own = [IPv4Network("100.112.0.0/12")]
    assert [str(s) for s in of_host(["100.112.0.1", "9.9.9.9"], own)] == ["9.9.9.9"]
    assert [str(s) for s in of_host(["100.112.0.1"], own)] == ["8.8.8.8", "8.8.4.4"]


def test_what_a_container_behind_a_name_server_has_in_its_resolv_conf() -> None:
    host = Resolvers(("9.9.9.9",), ("lan",), ("ndots:2", "rotate"))
    assert host.behind(IPv4Address("10.1.0.1")) == Resolvers(
        ("10.1.0.1",), ("lan",), ("rotate", "ndots:0")
    )


async def test_whose_servers_are_asked_goes_by_the_asker_and_survives_a_restart(
    app: Facet, runs: Runs
) -> None:
    own = [ip_address("192.0.2.53"), ip_address("2001:db8::53")]
    wishes = [Wish("app")]
    reservation = await app.endpoints.reserve("c1", "web", "", wishes, own)
    address = reservation.endpoints[1].ipv4
    assert address is not None
    await runs.stop()
    facet = await runs.start()
    network = facet.networks.find("app")
    assert list(Askers(facet.networks, facet.endpoints).resolvers_of(network, address)) == own
    assert list(Askers(facet.networks, facet.endpoints).resolvers_of(network, address + 1)) == []
    assert await facet.endpoints.reserve("c1", "web", "", wishes, own) == reservation
    with pytest.raises(AlreadyExists):
        await facet.endpoints.reserve("c1", "web", "", wishes)


async def test_a_containers_loopback_is_no_server_for_the_hosts_to_ask(app: Facet) -> None:
    own = [ip_address("127.0.0.1")]
    with pytest.raises(InvalidArgument, match=r"127\.0\.0\.1"):
        await app.endpoints.reserve("c1", "web", "", [Wish("app")], own)
    # On the default network it is the container that asks.
    await app.endpoints.reserve("c1", "web", "", [Wish("bridge")], own)
