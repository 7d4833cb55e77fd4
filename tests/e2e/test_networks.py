"""Containers in several networks, which they join and leave while they stand and while they run."""

import socket
from collections.abc import Iterator

import pytest

from tests.e2e.suite import Suite
from tests.e2e.test_network import SERVE, address_in, addresses_of, closed, fetched
from tests.ports import free_port

PREFIX = "failed to set up container networking"
LOOK = "ip -4 -o addr | awk '{print $2, $4}'; ip route | awk '/^default/{print $3}'"


@pytest.fixture(autouse=True)
def networks(suite: Suite) -> Iterator[None]:
    """Two networks, which nothing keeps in the end."""
    suite.ok("network", "create", "--subnet", "10.221.0.0/24", "front")
    suite.ok("network", "create", "--subnet", "10.222.0.0/24", "inner")
    yield
    if left := suite.ok("ps", "--all", "--quiet").split():
        suite.ok("rm", "--force", *left)
    suite.ok("network", "rm", "front", "inner")


def seen(suite: Suite, container: str) -> list[str]:
    """Return a container's interfaces with their addresses, and its way out."""
    return suite.ok("exec", container, "sh", "-c", LOOK).splitlines()[1:]


def networks_of(suite: Suite, container: str) -> set[str]:
    return set(suite.inspect(container)["NetworkSettings"]["Networks"])


def test_a_container_is_started_in_all_its_networks(suite: Suite, image: str) -> None:
    chosen = ("--network", "name=front,ip=10.221.0.9,alias=www", "--network", "inner")
    suite.ok("create", "--name", "both", *chosen, image, "sleep", "1000")
    suite.ok("create", "--name", "other", "--network", "inner", image, "sleep", "1000")
    # What stands joins and leaves as well.
    suite.ok("network", "connect", "bridge", "other")
    suite.ok("network", "disconnect", "inner", "other")
    suite.ok("network", "connect", "--alias", "db", "--ip", "10.222.0.77", "inner", "other")
    suite.ok("start", "both", "other")
    assert seen(suite, "both") == ["eth0 10.221.0.9/24", "eth1 10.222.0.2/24", "10.221.0.1"]
    assert networks_of(suite, "both") == {"front", "inner"}
    assert addresses_of(suite, "both", "db") == {"10.222.0.77"}
    assert addresses_of(suite, "other", "both") == {"10.222.0.2"}, "front is none of its networks"
    assert addresses_of(suite, "other", "www") == set()
    assert "1 packets received" in suite.ok("exec", "both", "ping", "-c1", "-w20", "10.222.0.77")
    # A stopped member doesn't keep a network, and finds out when it is started.
    suite.ok("stop", "--time", "0", "both", "other")
    gone = suite.inspect("inner")["Id"]
    suite.ok("network", "rm", "inner")
    suite.refused("start", "both", code=1, message=f"{PREFIX}: network {gone} not found")
    suite.ok("network", "create", "--subnet", "10.222.0.0/24", "inner")
    suite.ok("network", "disconnect", "inner", "both")
    suite.ok("start", "both")
    assert seen(suite, "both") == ["eth0 10.221.0.9/24", "10.221.0.1"]


def test_a_running_container_joins_and_leaves_networks(suite: Suite, image: str) -> None:
    port = free_port()
    publish = ("-p", f"127.0.0.1:{port}:8080")
    suite.ok("run", "-d", "--name", "web", "-h", "web", "--network", "inner", *publish, image, "sh",
             "-c", SERVE)  # fmt: skip
    suite.ok("run", "-d", "--name", "peer", "--network", "front", image, "sleep", "1000")
    assert fetched(port) == b"hi web\n"
    own = address_in(suite, "web", "inner")

    joined = ("network", "connect", "--alias", "www", "--ip", "10.221.0.50", "front", "web")
    suite.ok(*joined)
    suite.refused(*joined, code=1, message="endpoint with name web already exists in network front")
    # The way out is through the first network by name, and published ports are led there.
    assert seen(suite, "web") == [f"eth0 {own}/24", "eth1 10.221.0.50/24", "10.221.0.1"]
    assert fetched(port) == b"hi web\n"
    assert addresses_of(suite, "peer", "www") == {"10.221.0.50"}
    assert addresses_of(suite, "web", "peer") == {address_in(suite, "peer", "front")}
    fetch = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 10.221.0.50 8080 | tail -n 1"
    assert suite.ok("exec", "peer", "sh", "-c", fetch) == "hi web"
    assert {m["Name"] for m in suite.inspect("front")["Containers"].values()} == {"web", "peer"}
    assert "10.221.0.50\tweb" in suite.ok("exec", "web", "cat", "/etc/hosts")

    # Whoever is restarted knows of it.
    for role in ("hostagent", "exec", "network"):
        suite.kill(role)
    suite.ok("network", "disconnect", "inner", "web")
    assert seen(suite, "web") == ["eth1 10.221.0.50/24", "10.221.0.1"]
    assert "nameserver 10.221.0.1" in suite.ok("exec", "web", "cat", "/etc/resolv.conf")
    assert fetched(port) == b"hi web\n"
    suite.ok("network", "disconnect", "--force", "front", "web")
    assert seen(suite, "web") == []
    assert closed(port)
    assert addresses_of(suite, "peer", "www") == set()
    assert networks_of(suite, "web") == set()

    # Also one that is paused; it finds all of it when it goes on.
    suite.ok("pause", "web")
    suite.ok("network", "connect", "inner", "web")
    suite.ok("unpause", "web")
    own = address_in(suite, "web", "inner")
    suite.ok("exec", "web", "sh", "-c", "until ip route | grep -q ^default; do :; done")
    assert seen(suite, "web") == [f"eth0 {own}/24", "10.222.0.1"]
    assert fetched(port) == b"hi web\n"
    # Back at once, while its guest still holds the interface that it lost.
    for _ in range(3):
        for verb in ("disconnect", "connect"):
            path = f"/v1.43/networks/inner/{verb}"
            assert suite.api("POST", path, b'{"Container": "web"}') == (200, None)
    own = address_in(suite, "web", "inner")
    assert seen(suite, "web") == [f"eth0 {own}/24", "10.222.0.1"]
    suite.ok("restart", "--time", "0", "web")
    assert seen(suite, "web") == [f"eth0 {own}/24", "10.222.0.1"]
    refused = ("network", "disconnect", "front", "web")
    suite.refused(*refused, code=1, message="is not connected to the network front")


def test_a_running_container_of_no_network_leaves_that_and_joins_one(
    suite: Suite, image: str
) -> None:
    suite.ok("network", "create", "joined-late")
    suite.ok("run", "-d", "--name", "alone", "--network", "none", image, "sleep", "1000")
    networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    assert suite.ok("inspect", "-f", networks, "alone").split() == ["none"]
    suite.ok("network", "disconnect", "none", "alone")
    assert suite.ok("inspect", "-f", networks, "alone").split() == []
    suite.ok("network", "connect", "joined-late", "alone")
    assert suite.ok("inspect", "-f", networks, "alone").split() == ["joined-late"]
    gateway = suite.ok(
        "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "joined-late"
    )
    suite.ok("exec", "alone", "ping", "-c", "1", "-w", "20", gateway)
    suite.ok("rm", "-f", "alone")
    suite.ok("network", "rm", "joined-late")


def test_a_link_is_a_name_for_one_container_alone(suite: Suite, image: str) -> None:
    suite.ok("run", "-d", "--name", "db", "--network", "inner", image, "sleep", "1000")
    linked = ("--network", "inner", "--link", "db:database")
    suite.ok("run", "-d", "--name", "app", *linked, image, "sleep", "1000")
    assert addresses_of(suite, "app", "database") == {address_in(suite, "db", "inner")}
    assert addresses_of(suite, "db", "database") == set()
    legacy = ("run", "--rm", "--link", "db:database", image, "true")
    suite.refused(*legacy, code=125, message="HostConfig.Links is not supported: links on the")


def test_ipv6_comes_with_a_network_and_goes_with_it(suite: Suite, image: str) -> None:
    suite.ok("network", "create", "--ipv6", "--subnet", "2001:db8:77::/64", "six")
    try:
        port = free_port()
        served = ("--network", "six", "--ip6", "2001:db8:77::55", "-p", f"{port}:80")
        # It listens before it goes to the background.
        command = (
            "mkdir /www; echo six > /www/index.html; httpd -p [::]:80 -h /www && echo up && "
            "exec sleep 1000"
        )
        suite.ok("run", "-d", "--name", "web6", *served, image, "sh", "-c", command)
        suite.ok("run", "-d", "--name", "peer6", "--network", "inner", image, "sleep", "1000")
        route6 = ("exec", "peer6", "ip", "-6", "route")
        assert suite.ok(*route6) == ""
        suite.ok("network", "connect", "--ip6", "2001:db8:77::66", "six", "peer6")
        # Each version of IP has a way out of its own, through the first network that has it.
        assert "default via 2001:db8:77::1 dev eth1" in suite.ok(*route6)
        assert seen(suite, "peer6")[-1] == "10.222.0.1"
        assert " 0% packet loss" in suite.ok(
            "exec", "peer6", "ping", "-6", "-c", "1", "-W", "30", "web6"
        )
        shown = suite.inspect("peer6")["NetworkSettings"]["Networks"]["six"]
        assert shown["GlobalIPv6Address"] == "2001:db8:77::66"
        assert shown["IPv6Gateway"] == "2001:db8:77::1"
        assert f"[::]:{port}" in suite.ok("port", "web6")
        suite.await_output("web6", "up")
        request = "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'"
        page = f"{request} | nc -w 20 2001:db8:77::55 80 | tail -n 1"
        assert suite.ok("exec", "peer6", "sh", "-c", page) == "six"
        with socket.create_connection(("2001:db8:77::1", port), timeout=60) as caller:
            caller.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            with caller.makefile("rb") as answer:
                assert answer.read().endswith(b"six\n")
        suite.ok("network", "disconnect", "six", "peer6")
        assert suite.ok(*route6) == ""
    finally:
        suite.docker("rm", "--force", "web6", "peer6")
        suite.ok("network", "rm", "six")
