"""A gateway in front of facets in memory."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from gateway.app import build_app
from gateway.listeners import bound
from gateway.origins import OriginPolicy
from gateway.server import GatewayServer
from tests.unit.gateway.fake_facets import FakeSuite, fake_suite
from tests.unit.portlayer.conftest import TestAuthority

DOCKER = shutil.which("docker")


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where a server of a test's own may listen."""
    return tmp_path / "docker.sock"


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    """One authority for all tests: making keys costs milliseconds."""
    return TestAuthority()


@pytest.fixture
async def suite(tmp_path: Path, authority: TestAuthority) -> AsyncIterator[FakeSuite]:
    async with fake_suite(tmp_path, authority) as facets:
        yield facets


@pytest.fixture
def app(suite: FakeSuite) -> ASGIApp:
    return build_app(suite.facets, OriginPolicy(), "0.1.0")


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """The application without a server; streams arrive when they have ended."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@dataclass
class Result:
    """What a command left."""

    code: int
    out: str
    err: str


@dataclass
class Endpoint:
    """A served Docker endpoint."""

    path: Path

    async def docker(self, *arguments: str, stdin: bytes | None = None) -> Result:
        """Run the docker CLI against it."""
        assert DOCKER is not None
        process = await asyncio.create_subprocess_exec(
            DOCKER,
            *arguments,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/nonexistent",
                "DOCKER_HOST": f"unix://{self.path}",
            },
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin)
        return Result(process.returncode or 0, out.decode(), err.decode())

    async def output(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run the docker CLI and return its output; it must succeed."""
        result = await self.docker(*arguments, stdin=stdin)
        assert result.code == 0, result
        return result.out

    def http(self) -> httpx.AsyncClient:
        """A client on the socket."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.path))
        return httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=60)


@asynccontextmanager
async def serving(app: ASGIApp, path: Path) -> AsyncIterator[Endpoint]:
    stop = asyncio.Event()
    server = GatewayServer(app, stop)
    task = asyncio.create_task(server.serve_on(bound([f"unix://{path}"])))
    try:
        yield Endpoint(path)
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task


@pytest.fixture
async def engine(app: ASGIApp, tmp_path: Path) -> AsyncIterator[Endpoint]:
    """The gateway on a unix socket, served as in production."""
    async with serving(app, tmp_path / "docker.sock") as endpoint:
        yield endpoint


Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Let the loop run until a condition holds, with a bound."""

    async def wait(condition: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while not condition():
                await loop.run_in_executor(None, lambda: None)

    return wait
