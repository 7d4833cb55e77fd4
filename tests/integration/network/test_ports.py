"""Taps on bridges and off, several in one call, and what it means to them that one goes."""

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from services.network.drivers import Segment
from services.network.drivers.linux import ports
from services.network.drivers.linux.ports import Place, Ports, index_of
from tests.integration.network.conftest import Facet
from tests.integration.network.guest import Guest
from tests.integration.network.namespaces import run

GONE = "vt0-gone00"
STALE = 987_654


@pytest.fixture
def taps(host: None) -> Iterator[Ports]:
    made = Ports()
    yield made
    made.close()


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tap that goes just when its index has been asked for."""
    answers = iter([STALE])

    def index(name: str) -> int | None:
        return next(answers, None) if name == GONE else index_of(name)

    monkeypatch.setattr(ports, "index_of", index)


async def segment(facet: Facet) -> tuple[str, Segment, Guest]:
    """Return the default network's bridge and segment, and a card that is on it."""
    _, card = await facet.container("c1")
    found = facet.networks.segment(facet.networks.find("bridge"))
    return facet.driver.segment_name(found), found, card


async def test_one_that_goes_meanwhile_keeps_no_other_on_its_bridge(
    facet: Facet, taps: Ports, stale: None
) -> None:
    bridge, _, card = await segment(facet)
    assert f"master {bridge}" in run("ip", "link", "show", card.name)
    taps.detach([GONE, card.name])
    shown = run("ip", "link", "show", card.name)
    assert "master" not in shown
    assert "state DOWN" in shown


async def test_one_that_goes_meanwhile_is_told(facet: Facet, taps: Ports, stale: None) -> None:
    bridge, its, card = await segment(facet)
    places = [Place(GONE, bridge, its), Place(card.name, bridge, its)]
    assert taps.attach(places) == [None, index_of(card.name)]


async def test_one_that_goes_while_its_parameters_are_set_is_told(
    facet: Facet, taps: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge, its, card = await segment(facet)
    opened = os.open

    def then_it_goes(path: Any, *more: Any, **named: Any) -> int:
        descriptor = opened(path, *more, **named)
        if str(path).endswith(f"/{card.name}/disable_ipv6"):
            run("ip", "link", "del", card.name)
        return descriptor

    monkeypatch.setattr(os, "open", then_it_goes)
    assert taps.attach([Place(card.name, bridge, its)]) == [None]


async def test_a_bridge_that_is_gone_is_no_success(facet: Facet, taps: Ports) -> None:
    _, its, card = await segment(facet)
    with pytest.raises(OSError, match="no such bridge") as refusal:
        taps.attach([Place(card.name, "vic0b77", its)])
    assert refusal.value.errno == errno.ENODEV


async def test_of_several_requests_the_first_error_is_told(facet: Facet, taps: Ports) -> None:
    _, _, card = await segment(facet)
    good = index_of(card.name)
    assert good is not None
    requests = [ports.set_port(good, False, 0), ports.set_port(STALE, False, 0)]
    for some in (requests, requests[::-1]):
        with pytest.raises(OSError, match="taps") as refusal:
            taps._socket.run(some, "taps")
        assert refusal.value.errno == errno.ENODEV
        taps._socket.run(requests[:1], "taps")
