"""The default bridge as a container sees it, and what it must not reach."""

import http.server
import ipaddress
import socket
import threading
from collections.abc import Iterator

import pytest

from installer.instance import load_instance
from tests.e2e.suite import Suite

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
    serve = "mkdir /www && echo hi > /www/index.html && echo ready && httpd -f -p 80 -h /www"
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
