"""The default bridge as a container sees it, and what it must not reach."""

import http.client
import http.server
import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from installer.instance import load_instance
from tests.e2e.suite import Suite
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("containers")


@pytest.fixture
def web_server() -> Iterator[int]:
    """A server on all of this host's addresses; its port."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from outside")

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def host_address() -> str:
    """Return the address from which this host would speak to the outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


def test_a_container_has_address_gateway_name_server_and_hosts(suite: Suite, image: str) -> None:
    script = (
        "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/^default/{print $3}'; "
        "cat /sys/class/net/eth0/address; ls /sys/class/net | tr '\\n' ' '; echo; "
        "grep -c ^nameserver /etc/resolv.conf; grep -w $(hostname) /etc/hosts | cut -f1"
    )
    told = suite.ok("run", "--rm", image, "sh", "-c", script).splitlines()
    address, gateway, mac, interfaces, servers, own = told
    assert ipaddress.ip_address(gateway) in ipaddress.ip_interface(address).network
    assert own == address.split("/")[0]
    assert mac == mac.lower()
    assert interfaces.split() == ["eth0", "lo"]  # the management NIC is not to be seen
    assert int(servers) >= 1


def test_a_running_containers_address_is_the_inspected_one(suite: Suite, image: str) -> None:
    script = "ip -4 -o addr show eth0 | awk '{print $4}'; echo ready; exec sleep 1000"
    suite.ok("run", "-d", "--name", "same", image, "sh", "-c", script)
    suite.await_output("same", "ready")
    network = suite.inspect("same")["NetworkSettings"]["Networks"]["bridge"]
    told = suite.ok("logs", "same").splitlines()[0]
    assert told == f"{network['IPAddress']}/{network['IPPrefixLen']}"


def test_containers_reach_one_another_and_the_outside(
    suite: Suite, image: str, web_server: int
) -> None:
    # It listens before it goes to the background.
    serve = "mkdir /www && echo hi > /www/index.html && httpd -p 80 -h /www && echo ready"
    serve += " && exec sleep 1000"
    suite.ok("run", "-d", "--name", "web", image, "sh", "-c", serve)
    suite.await_output("web", "ready")
    address = suite.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    # wget of a statically linked busybox crashes in its C library's resolver; nc needs none.
    fetch = "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 10 %s %d | tail -n 1"
    assert suite.ok("run", "--rm", image, "sh", "-c", fetch % (address, 80)) == "hi"
    outside = fetch % (host_address(), web_server)
    assert suite.ok("run", "--rm", image, "sh", "-c", outside) == "from outside"


def test_without_a_network_there_is_loopback_alone(suite: Suite, image: str) -> None:
    listing = suite.ok("run", "--rm", "--network", "none", image, "ls", "/sys/class/net")
    assert listing.split() == ["lo"]


def test_a_container_reaches_nothing_of_ours_over_the_management_network(
    suite: Suite, image: str
) -> None:
    instance = load_instance(suite.data_dir)
    assert instance is not None
    gateway = ipaddress.ip_address("100.112.0.0") + instance.slot * 4096 + 1
    attempt = f"nc -w 3 {gateway} 7443 </dev/null && echo reached || echo kept out"
    assert suite.ok("run", "--rm", image, "sh", "-c", attempt) == "kept out"


@pytest.fixture
def networks(suite: Suite, containers: None) -> Iterator[None]:
    """Remove what networks a test has left, after its containers."""
    yield
    left = suite.ok("ps", "--all", "--quiet").split()
    if left:
        suite.ok("rm", "--force", *left)
    left = suite.ok("network", "ls", "--quiet", "--filter", "type=custom").split()
    if left:
        suite.ok("network", "rm", *left)


@pytest.mark.usefixtures("networks")
def test_a_network_is_made_as_asked_used_and_removed(suite: Suite, image: str) -> None:
    options = (
        "--subnet 10.211.0.0/24 --gateway 10.211.0.254 --ip-range 10.211.0.64/26 "
        "--aux-address printer=10.211.0.64 --label team=a -o com.docker.network.driver.mtu=1400"
    )
    made = suite.ok("network", "create", *options.split(), "app")
    fixed = "--network app --ip 10.211.0.9 --mac-address 02:42:00:00:00:99"
    script = (
        "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/^default/{print $3}'; "
        "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; echo ready; exec sleep 1000"
    )
    suite.ok("run", "-d", "--name", "one", *fixed.split(), image, "sh", "-c", script)
    suite.await_output("one", "ready")
    assert suite.ok("logs", "one").splitlines()[:4] == [
        "10.211.0.9/24",
        "10.211.0.254",
        "02:42:00:00:00:99",
        "1400",
    ]
    suite.ok("create", "--name", "two", "--network", "app", image, "true")
    shown = suite.inspect("app")
    assert (shown["Id"], shown["Labels"]) == (made, {"team": "a"})
    # As with dockerd, of its containers those that run.
    assert [member["Name"] for member in shown["Containers"].values()] == ["one"]
    taken = ("create", "--network", "app", "--ip", "10.211.0.9", image, "true")
    suite.refused(*taken, code=1, message="Address already in use")
    suite.refused("network", "rm", "app", code=1, message="has active endpoints")
    suite.ok("rm", "--force", "one", "two")
    # Its VM is still at its end when the client knows of it.
    suite.ok("run", "--network", "app", image, "true")
    suite.ok("network", "rm", "app")
    suite.refused("network", "inspect", "app", code=1, message="network app not found")


@pytest.mark.usefixtures("networks")
def test_networks_that_cannot_be_are_refused_in_docker_s_words(suite: Suite, image: str) -> None:
    suite.ok("network", "create", "--subnet", "10.212.0.0/16", "app")
    create = ("network", "create")
    for arguments, message in (
        (("app",), "network with name app already exists"),
        (("bridge",), "operation is not permitted on predefined bridge network"),
        (("--subnet", "10.212.9.0/24", "b"), "Pool overlaps with other one on this address space"),
        (("--subnet", "10.213.0.0/16", "--gateway", "10.9.9.9", "b"), "no matching subnet"),
        (("--subnet", "10.213.0.0/33", "b"), "invalid subnet 10.213.0.0/33: invalid CIDR block"),
        (("-d", "overlay", "b"), "network driver 'overlay'"),
        (("-o", "parent=eth0", "b"), "network option parent is not implemented"),
    ):
        suite.refused(*create, *arguments, code=1, message=message)
    suite.refused("network", "rm", "bridge", code=1, message="is a pre-defined network")
    # Not taken for an image that is missing, which the CLI would pull.
    suite.ok("tag", image, "here-alone")
    nowhere = ("run", "--rm", "--network", "nowhere", "here-alone", "true")
    suite.refused(*nowhere, code=125, message="daemon: network nowhere not found")
    suite.ok("rmi", "here-alone")
    outside = ("run", "--rm", "--network", "app", "--ip", "10.213.0.9", image, "true")
    said = "invalid config for network app: invalid endpoint settings:\nno configured subnet"
    suite.refused(*outside, code=125, message=said)
    on_default = ("run", "--rm", "--ip", "172.17.0.9", image, "true")
    suite.refused(*on_default, code=125, message="user specified IP address is supported on user")
    names = suite.ok("network", "ls", "--format", "{{.Name}}", "--filter", "driver=bridge")
    assert names.split() == ["app", "bridge"]


def addresses_of(suite: Suite, container: str, name: str) -> set[str]:
    """Return what a name resolves to inside a container."""
    # The first address is the server's, and the exit code that of the AAAA question as well.
    told = suite.docker("exec", container, "nslookup", name).stdout
    answers = told.partition("Name:")[2]
    return {line.split()[-1] for line in answers.splitlines() if line.startswith("Address")}


def address_in(suite: Suite, container: str, network: str) -> str:
    """Return a container's address in a network."""
    found = suite.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"]
    return str(found)


@pytest.mark.usefixtures("networks")
def test_containers_find_one_another_by_name_in_their_network_alone(
    suite: Suite, image: str
) -> None:
    for network in ("app", "other"):
        suite.ok("network", "create", network)
    for name in ("web", "db1", "db2"):
        alias = "db" if name.startswith("db") else "www"
        options = ["--network", "app", "--network-alias", alias, "--name", name]
        if name == "web":
            # A server of its own doesn't keep a container from finding its neighbours.
            options += ["--dns", "192.0.2.53"]
        suite.ok("run", "-d", *options, image, "sleep", "1000")
    suite.ok("run", "-d", "--network", "other", "--name", "stranger", image, "sleep", "1000")
    web = address_in(suite, "web", "app")
    gateway = suite.inspect("app")["IPAM"]["Config"][0]["Gateway"]
    assert f"nameserver {gateway}" in suite.ok("exec", "web", "cat", "/etc/resolv.conf")
    assert addresses_of(suite, "db1", "web") == {web}
    assert addresses_of(suite, "db1", "www") == {web}
    assert addresses_of(suite, "web", "db") == {address_in(suite, n, "app") for n in ("db1", "db2")}
    assert addresses_of(suite, "stranger", "web") == set()
    assert addresses_of(suite, "stranger", "stranger") != set()
    suite.ok("rename", "web", "front")
    assert addresses_of(suite, "db1", "front") == {web}
    assert addresses_of(suite, "db1", "web") == set()
    suite.kill("network")
    assert addresses_of(suite, "db1", "front") == {web}


def fetched(port: int) -> bytes:
    """Return what a server behind a port of this host's loopback serves, once it does."""
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/index.html")
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            # The port is open before its server is.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        finally:
            connection.close()


def closed(port: int) -> bool:
    """Tell whether nobody answers at a port of this host's loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


SERVE = "mkdir -p /www && echo hi $(hostname) > /www/index.html && exec httpd -f -p 8080 -h /www"


def test_a_published_port_leads_to_the_container(suite: Suite, image: str) -> None:
    port = free_port()
    publish = ("-p", f"127.0.0.1:{port}:8080")
    with socket.create_server(("127.0.0.1", port)):
        taken = f"failed to bind host port for 127.0.0.1:{port}:"
        foreign = ("run", "--name", "late", *publish, image, "true")
        suite.refused(*foreign, code=125, message=taken)
        error = suite.inspect("late")["State"]["Error"]
        assert error.endswith(":8080/tcp: address already in use"), error
    # It can be had as soon as the other program is gone.
    suite.ok("start", "late")
    suite.ok("wait", "late")
    suite.ok("run", "-d", "--name", "web", "-h", "web", *publish, image, "sh", "-c", SERVE)
    assert suite.ok("port", "web", "8080/tcp") == f"127.0.0.1:{port}"
    assert fetched(port) == b"hi web\n"
    shown = suite.inspect("web")
    given = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    assert shown["NetworkSettings"]["Ports"] == given
    assert shown["HostConfig"]["PortBindings"] == given
    assert suite.ok("ps", "--format", "{{.Ports}}") == f"127.0.0.1:{port}->8080/tcp"

    # Another container can't have it, and says so as dockerd does; it stays, to be started later.
    second = ("--name", "second", "-h", "second", *publish)
    suite.refused(
        *("run", "-d", *second, image, "sh", "-c", SERVE),
        code=125,
        message="driver failed programming external connectivity on endpoint second (",
    )
    state = suite.inspect("second")["State"]
    assert state["Status"] == "created"
    failed = f"Bind for 127.0.0.1:{port} failed: port is already allocated"
    assert failed in state["Error"]
    status, told = suite.api("POST", "/containers/second/start")
    assert (status, failed in told["message"]) == (500, True)

    restarted = suite.vic("restart", "network")
    assert restarted.returncode == 0, restarted.stderr + suite.logs()
    suite.settle()
    assert fetched(port) == b"hi web\n"
    suite.refused("start", "second", code=1, message=failed)

    # Its VM ends behind everybody's back: the port is another's as soon as that is known.
    os.kill(suite.inspect("web")["State"]["Pid"], signal.SIGKILL)
    suite.ok("wait", "web")
    suite.ok("start", "second")
    assert fetched(port) == b"hi second\n"
    suite.refused("start", "web", code=1, message=failed)
    suite.ok("rm", "web")
    suite.ok("restart", "--time", "0", "second")
    assert fetched(port) == b"hi second\n"
    suite.ok("stop", "--time", "0", "second")
    assert closed(port)
    assert suite.ok("port", "second") == ""


def test_who_names_no_port_of_the_host_gets_one(suite: Suite, image: str) -> None:
    options = ("-p", "127.0.0.1::8080", "-P", "--expose", "81", "--expose", "9/udp", "-h", "all")
    suite.ok("run", "-d", "--name", "all", *options, image, "sh", "-c", SERVE)
    shown = suite.inspect("all")
    asked = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert shown["HostConfig"]["PortBindings"] == asked
    ports = shown["NetworkSettings"]["Ports"]
    assert {name: [b["HostIp"] for b in bindings] for name, bindings in ports.items()} == {
        "8080/tcp": ["127.0.0.1"],
        "81/tcp": ["0.0.0.0"],
        "9/udp": ["0.0.0.0"],
    }
    assert fetched(int(ports["8080/tcp"][0]["HostPort"])) == b"hi all\n"
