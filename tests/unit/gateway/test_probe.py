"""What tells a container's engine whether its gateway serves."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import build_app
from gateway.origins import OriginPolicy
from gateway.probe import own_socket, serves
from gateway.server import GatewayServer
from installer.pki import Authority
from tests.unit.gateway.fake_facets import FakeSuite

SECONDS = 60.0


@asynccontextmanager
async def gateway(suite: FakeSuite, path: Path, tls: Path | None) -> AsyncIterator[None]:
    """A gateway on a Unix socket."""
    stop = asyncio.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        app = build_app(suite.facets, OriginPolicy([]), "0.1.0")
        serving = asyncio.create_task(GatewayServer(app, stop, tls).serve_on([listener]))
        yield
        stop.set()
        await serving


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """The files of an endpoint that speaks TLS."""
    identity = Authority.create("probe").issue("endpoint", dns_names=["localhost"])
    identity.write(tmp_path / "tls", owner=(os.getuid(), os.getgid()))
    return tmp_path / "tls"


async def told(path: Path, *, tls: bool) -> bool:
    async with asyncio.timeout(SECONDS):
        return await asyncio.to_thread(serves, str(path), tls=tls)


async def test_a_gateway_that_serves_is_told_from_one_that_is_away(
    suite: FakeSuite, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    assert not await told(path, tls=False)
    async with gateway(suite, path, None):
        assert await told(path, tls=False)
        assert not await told(path, tls=True)


async def test_a_demand_for_a_certificate_is_an_answer(
    suite: FakeSuite, tmp_path: Path, certificates: Path
) -> None:
    path = tmp_path / "s"
    async with gateway(suite, path, certificates):
        assert await told(path, tls=True)


def test_the_socket_is_the_last_of_those_that_it_listens_on() -> None:
    assert own_socket(["unix:///a", "tcp://127.0.0.1:1", "unix:///b"]) == "/b"
    with pytest.raises(ValueError, match="no Unix socket"):
        own_socket(["tcp://127.0.0.1:1"])
