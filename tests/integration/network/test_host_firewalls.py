"""Hosts whose own rules drop: containers and tethers get through, and nothing else does."""

import shutil
import socket

import pytest

from tests.integration.network.conftest import INSTANCE, Facet
from tests.integration.network.guest import BOUND_SECONDS
from tests.integration.network.namespaces import Outside, run
from tests.integration.network.state import doubted, host_state, talk

FIREWALLS = {
    "iptables": "table ip filter {\n chain FORWARD {\n"
    "  type filter hook forward priority filter; policy drop;\n }\n}\n",
    "docker": "table ip filter {\n chain DOCKER-USER {\n }\n chain FORWARD {\n"
    "  type filter hook forward priority filter; policy drop;\n  jump DOCKER-USER\n }\n}\n",
    "inet with reject": "table inet fw {\n chain forward {\n"
    "  type filter hook forward priority 10; policy accept;\n  reject\n }\n}\n",
}


@pytest.mark.parametrize("firewall", FIREWALLS.values(), ids=FIREWALLS.keys())
async def test_containers_get_through_a_host_that_drops_by_default(
    facet: Facet, outside: Outside, firewall: str
) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    tether, _ = await facet.container("c3")
    await facet.driver.restore()
    before = host_state()
    run("nft", "-f", "-", text=firewall)
    await doubted(facet)
    with outside.socket() as server:
        server.settimeout(BOUND_SECONDS)
        server.bind((outside.address, 9000))
        one.send_udp(outside.address, 9000, b"dropped")
        await facet.driver.restore()
        one.send_udp(outside.address, 9000, b"passed")
        data, sender = server.recvfrom(100)
        assert data == b"passed"
        server.sendto(b"answer", sender)
        one.receive_data(b"answer")
        talk(one, two, b"bridged")
        # It has not become a hole for anything else.
        tether.send_udp(outside.address, 9000, b"from a tether")
        one.send_udp(outside.address, 9000, b"the end")
        assert server.recvfrom(100)[0] == b"the end"
    assert await facet.driver.restore() == []
    rules = run("nft", "list", "ruleset")
    assert rules.count(f'comment "vic {INSTANCE}:') == 2
    await facet.driver.teardown()
    table = firewall.split(" {")[0]
    run("nft", "delete", *table.split())
    assert "vic" not in run("nft", "list", "ruleset")
    assert f"table inet vic_{INSTANCE}" in before


async def test_iptables_still_reads_its_tables(facet: Facet) -> None:
    if shutil.which("iptables-nft") is None:
        pytest.skip("needs iptables-nft")
    for rule in ("-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER"):
        run("iptables-nft", *rule.split())
    before = run("iptables-nft", "-S")
    await facet.driver.restore()
    listed = run("iptables-nft", "-S")
    for match in ("-o vic0b+", "-i vic0b+"):
        assert f'-A DOCKER-USER {match} -m comment --comment "vic {INSTANCE}: ' in listed
    await facet.driver.teardown()
    assert run("iptables-nft", "-S") == before


async def test_tethers_get_through_a_host_that_drops_input(facet: Facet) -> None:
    tether, card = await facet.container("c1")
    run(
        "nft",
        "-f",
        "-",
        text="table ip filter {\n chain INPUT {\n"
        "  type filter hook input priority filter; policy drop;\n }\n"
        " chain OUTPUT {\n  type filter hook output priority filter; policy drop;\n }\n}\n",
    )
    await facet.driver.restore()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("100.112.0.1", 7443))
        listener.listen()
        card.connect("100.112.0.1", 7443)
        tether.connect("100.112.0.1", 7443)
        answer = tether.receive(lambda frame: frame.protocol == 6)
        assert answer.ports[0] == 7443
    await facet.driver.teardown()
