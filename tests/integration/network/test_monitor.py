"""Which of the kernel's news come to the driver."""

import pytest

from services.network.drivers.linux.elements import ElementSocket, port_key
from services.network.drivers.linux.monitor import Monitor
from services.network.drivers.linux.sets import PORTS_SET
from services.network.model import Wish
from tests.integration.network.conftest import INSTANCE, Facet
from tests.integration.network.namespaces import run

TABLE = f"vic_{INSTANCE}_l2"


def nothing(*_: object) -> None: ...


async def test_others_changes_of_rules_are_heard_and_its_own_of_elements_are_not(
    facet: Facet,
) -> None:
    await facet.endpoints.reserve("c1", "", "", [Wish("bridge")])
    (port, *_) = facet.endpoints.ports()
    elements = [(PORTS_SET, port_key(port))]
    own, other = ElementSocket(TABLE), ElementSocket(TABLE)
    monitor = Monitor(nothing, nothing, nothing, nothing, own=own.port)
    news = monitor._rules
    own.change(elements)
    own.change((), elements)
    with pytest.raises(BlockingIOError):
        news.recv(65536)
    other.change(elements)
    assert news.recv(65536)
    run("nft", "add", "chain", "bridge", TABLE, "strange")
    assert news.recv(65536)
    monitor.close()
    for made in (own, other):
        made.close()
