"""Networks that an administrator maps, and names of outside hosts: the documents' use cases."""

import errno
import json
import os
import re
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.suite import Suite
from tests.integration.network.namespaces import Outside, run

pytestmark = pytest.mark.usefixtures("containers")

SERVE = "mkdir -p /www && echo Hello world > /www/index.html && exec httpd -f -p 80 -h /www"


@pytest.fixture
def surroundings() -> Iterator[tuple[Outside, Outside]]:
    """Two LANs: one behind a bridge on which the host has an address, one by a cable of its own."""
    # Names that no other run of this test has.
    number = os.getpid() % 10_000
    bridge = f"office{number}"
    office = Outside(f"cable{number}", "", "10.2.0.1", 16)
    production = Outside(f"prod{number}", "", "208.91.3.1")
    production.run("ip", "addr", "add", "2001:db8:91::1/64", "dev", "eth0", "nodad")
    try:
        run("ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0")
        run("ip", "link", "set", f"cable{number}", "master", bridge)
        run("ip", "link", "set", bridge, "up")
        # The host routes no more than it must to what may be somebody's network.
        run("ip", "addr", "add", "10.2.0.2/24", "dev", bridge)
        yield office, production
    finally:
        office.close()
        production.close()
        run("ip", "link", "del", bridge)


@pytest.fixture
def mapped(suite: Suite, surroundings: tuple[Outside, Outside]) -> Iterator[None]:
    """Both, mapped as in the documents."""
    number = os.getpid() % 10_000
    add = ("network", "external", "add")
    default = ("default-external", f"--parent=office{number}", "--subnet=10.2.0.0/16")
    production = ("vic-production", f"--parent=prod{number}", "--subnet=208.91.3.0/24")
    production6 = ("--subnet=2001:db8:91::/64", "--gateway=2001:db8:91::1")
    for command in (
        (*add, *default, "--gateway=10.2.0.1", "--ip-range=10.2.9.0/24", "--publish"),
        (*add, *production, "--gateway=208.91.3.1", "--dns=208.91.3.53", *production6),
    ):
        done = suite.vic(*command)
        assert done.returncode == 0, done.stderr
    yield
    left = suite.ok("ps", "--all", "--quiet").split()
    if left:
        suite.ok("rm", "--force", *left)
    for name in ("default-external", "vic-production"):
        done = suite.vic("network", "external", "rm", name)
        assert done.returncode == 0, done.stderr


def fetched(lan: Outside, address: str, port: int) -> str:
    """Return what somebody on a LAN reads at an address, once it is served."""
    while True:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with lan.socket(socket.SOCK_STREAM, family) as caller:
            caller.settimeout(60)
            try:
                caller.connect((address, port))
            except OSError as error:
                # The container runs, and its server not yet, or it is slow to say where it is.
                if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                    raise
                continue
            caller.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            text = b""
            while part := caller.recv(1000):
                text += part
            return text.decode().rpartition("\r\n\r\n")[2].strip()


@pytest.mark.usefixtures("mapped")
def test_external_networks_as_the_documents_have_them(
    suite: Suite, image: str, surroundings: tuple[Outside, Outside]
) -> None:
    office, production = surroundings
    listed = [line.split() for line in suite.ok("network", "ls").splitlines()[1:]]
    assert [row[1:] for row in listed] == [
        ["bridge", "bridge", "local"],
        ["default-external", "bridge", "external"],
        ["none", "null", "local"],
        ["vic-production", "bridge", "external"],
    ]
    shown = suite.inspect("vic-production")
    assert (shown["Scope"], shown["Driver"], shown["Containers"]) == ("external", "bridge", {})
    assert shown["IPAM"]["Config"] == [
        {"Subnet": "208.91.3.0/24", "Gateway": "208.91.3.1"},
        {"Subnet": "2001:db8:91::/64", "Gateway": "2001:db8:91::1"},
    ]
    assert "vic-production" in suite.vic("network", "external", "ls").stdout

    # A container directly on it: what it exposes is open at its own address.
    run_ = ("run", "-d", "--expose=80", "--net=vic-production", "--name", "server")
    suite.ok(*run_, image, "sh", "-c", SERVE)
    template = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = suite.ok("inspect", template, "server")
    assert address == "208.91.3.2"
    assert fetched(production, address, 80) == "Hello world"
    assert fetched(production, "2001:db8:91::2", 80) == "Hello world"
    assert "nameserver 208.91.3.53" in suite.ok("exec", "server", "cat", "/etc/resolv.conf")
    ports = set(suite.ok("ps", "--format", "{{.Ports}}").split(", "))
    assert ports == {"208.91.3.2:80->80/tcp", "[2001:db8:91::2]:80->80/tcp"}
    # It reaches its router; its other ports are closed.
    ping = ("ping", "-c", "1", "-W", "30")
    assert " 0% packet loss" in suite.ok("exec", "server", *ping, "208.91.3.1")
    production.run("sh", "-c", "! ping -c 2 -W 1 208.91.3.2")
    suite.ok("rm", "--force", "server")

    # Another number is the documents' configuration error.
    wrong = ("run", "-d", "-p", "8080:80", "--net=vic-production", image, "sh", "-c", SERVE)
    suite.refused(*wrong, code=125, message="configuration error: port 80 can't be mapped to 8080")
    same = ("run", "-d", "-p", "80:80", "--net=vic-production", "--name", "same")
    suite.ok(*same, image, "sh", "-c", SERVE)
    assert fetched(production, suite.ok("inspect", template, "same"), 80) == "Hello world"

    # The default for publishing: containers on bridge networks, at the host's address out there.
    suite.ok("run", "-d", "-p", "8080:80", "--name", "test1", image, "sh", "-c", SERVE)
    assert suite.ok("port", "test1", "80/tcp") == "10.2.0.2:8080"
    assert fetched(office, "10.2.0.2", 8080) == "Hello world"

    # A user of the Docker API removes nothing that an administrator mapped.
    refused = "default-external is an external network: its administrator removes it"
    suite.refused("network", "rm", "default-external", code=1, message=refused)
    in_use = suite.vic("network", "external", "rm", "vic-production")
    assert (in_use.returncode, "has active endpoints" in in_use.stderr) == (1, True)


def test_an_external_network_that_cannot_be_is_refused(suite: Suite) -> None:
    before = suite.ok("network", "ls")
    add = ("network", "external", "add", "lan", "--subnet=10.9.0.0/16", "--gateway=10.9.0.1")
    for more, message in {
        "--gateway=fe80::1": "--gateway fe80::1: no --subnet of its version of IP is named",
        "--gateway=10.9.0.2": "--gateway 10.9.0.2: one of its version of IP is named already",
        "--subnet=2001:db8::/64": "needs its subnet and gateway, of each version of IP",
    }.items():
        done = suite.vic(*add, "--parent=nowhere0", more)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    for parent, message in {
        "nowhere0": "there is no network interface nowhere0 on this host",
        "lo": "interface lo leads to no network outside",
        "a b": "invalid name of an interface: 'a b'",
    }.items():
        done = suite.vic(*add, f"--parent={parent}")
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert suite.ok("network", "ls") == before


def test_an_outside_host_has_a_name(suite: Suite, image: str) -> None:
    suite.ok("network", "create", "app")
    try:
        suite.ok("run", "-d", "--network", "app", "--name", "client", image, "sleep", "1000")
        alias = ("network", "alias")
        assert suite.vic(*alias, "add", "app", "database", "192.0.2.7").returncode == 0
        listed = suite.vic(*alias, "ls", "app").stdout
        assert re.search(r"^app +database +192\.0\.2\.7$", listed, re.MULTILINE)
        lookup = ("exec", "client", "nslookup", "database")
        assert "192.0.2.7" in suite.docker(*lookup).stdout
        suite.kill("network")
        assert "192.0.2.7" in suite.docker(*lookup).stdout
        assert suite.vic(*alias, "rm", "app", "database").returncode == 0
        assert "192.0.2.7" not in suite.docker(*lookup).stdout
        unnamed = suite.vic(*alias, "add", "app", "no name", "192.0.2.7")
        assert (unnamed.returncode, "invalid alias" in unnamed.stderr) == (1, True)
        assert json.loads(suite.ok("network", "inspect", "app"))[0]["Name"] == "app"
    finally:
        suite.docker("rm", "--force", "client")
        suite.ok("network", "rm", "app")
