"""The Docker endpoint over TLS: who gets in, and that all works as without it."""

import asyncio
import datetime
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.app import build_app
from gateway.origins import OriginPolicy
from gateway.server import GatewayServer
from gateway.tls import certified_names
from installer import endpoint_tls
from installer.endpoint_tls import SERVER, client_directory, lay_out_tls
from installer.instance import Instance, Options
from installer.pki import Authority, Identity
from installer.probe import docker_probe
from tests.unit.gateway.conftest import DOCKER
from tests.unit.gateway.fake_facets import FakeSuite

SOON = 60.0


@dataclass
class Served:
    """A gateway that serves TLS."""

    port: int
    instance: Instance

    async def ask(self, context: ssl.SSLContext, host: str = "localhost") -> bytes:
        """Return the head of the answer to a ping; nothing where the connection is refused."""
        async with asyncio.timeout(SOON):
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=context, server_hostname="localhost"
                )
                request = f"GET /_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read()
                writer.close()
            except (ssl.SSLError, ConnectionError):
                return b""
            return answer

    def context(
        self, client: Identity | None = None, directory: Path | None = None
    ) -> ssl.SSLContext:
        """Return what a client has: our authority, and perhaps a certificate."""
        own = client_directory(self.instance)
        context = ssl.create_default_context(cafile=own / "ca.pem")
        if client is not None:
            assert directory is not None
            client.write(directory, owner=(os.getuid(), os.getgid()))
            context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        return context


@pytest.fixture
async def served(
    suite: FakeSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """A gateway with certificates that vic made."""
    monkeypatch.setattr(endpoint_tls, "uid_of", lambda _kind, _slot: os.getuid())
    options = Options(host="tcp://127.0.0.1:2376", tls_verify=True)
    instance = Instance(tmp_path / "data", "0a1b2c3d", 0, options)
    instance.pki_dir.mkdir(parents=True)
    lay_out_tls(instance)
    lay_out_tls(instance)  # what is there is kept
    directory = instance.pki_dir / SERVER
    listener = socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()
    app = build_app(suite.facets, OriginPolicy(certified_names(directory)), "0.1.0")
    serving = asyncio.create_task(GatewayServer(app, stop, directory).serve_on([listener]))
    yield Served(listener.getsockname()[1], instance)
    stop.set()
    await serving


async def test_only_certificates_of_the_endpoints_authority_get_in(
    served: Served, tmp_path: Path
) -> None:
    own = Authority.load(served.instance.endpoint_pki)
    day = datetime.timedelta(days=1)
    ours = served.context(own.issue("me"), tmp_path / "me")
    assert b" 200 " in await served.ask(ours)
    assert await served.ask(served.context()) == b""
    expired = own.issue("late", lifetime=-datetime.timedelta(minutes=5))
    assert await served.ask(served.context(expired, tmp_path / "late")) == b""
    # The suite's own authority is another one: a tether's certificate opens nothing here.
    other = Authority.create("0a1b2c3d").issue("tether", lifetime=day)
    assert await served.ask(served.context(other, tmp_path / "other")) == b""
    server = own.issue("server only", dns_names=["localhost"])
    assert b" 200 " in await served.ask(served.context(server, tmp_path / "server"))


async def test_host_names_are_those_of_the_certificate(served: Served, tmp_path: Path) -> None:
    own = Authority.load(served.instance.endpoint_pki)
    ours = served.context(own.issue("me"), tmp_path / "me")
    assert b" 403 " in await served.ask(ours, "evil.example")
    assert b" 200 " in await served.ask(ours, "10.0.0.1:2376")


@pytest.mark.skipif(DOCKER is None, reason="no docker CLI")
@pytest.mark.parametrize(
    ("whose", "told"),
    [("expired", "tls: expired certificate"), ("another's", "tls: unknown certificate authority")],
)
async def test_the_docker_cli_is_told_what_is_wrong_with_its_certificate(
    served: Served, tmp_path: Path, whose: str, told: str
) -> None:
    assert DOCKER is not None
    own = Authority.load(served.instance.endpoint_pki)
    if whose == "expired":
        client = own.issue("late", lifetime=-datetime.timedelta(minutes=5))
    else:
        client = Authority.create("0a1b2c3d").issue("stranger")
    client.write(tmp_path / "client", owner=(os.getuid(), os.getgid()))
    docker = await asyncio.create_subprocess_exec(
        *(DOCKER, "-H", f"tcp://localhost:{served.port}", "--tlsverify"),
        *("--tlscacert", str(client_directory(served.instance) / "ca.pem")),
        *("--tlscert", str(tmp_path / "client" / "tls.crt")),
        *("--tlskey", str(tmp_path / "client" / "tls.key"), "ps"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SOON):
        _, err = await docker.communicate()
    assert told in err.decode()
    assert docker.returncode == 1


@pytest.mark.skipif(DOCKER is None, reason="no docker CLI")
async def test_the_docker_cli_half_closes_over_tls(served: Served, suite: FakeSuite) -> None:
    assert DOCKER is not None
    suite.pulled("busybox:latest")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "DOCKER_HOST": f"tcp://localhost:{served.port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(client_directory(served.instance)),
    }
    docker = await asyncio.create_subprocess_exec(
        *(DOCKER, "run", "-i", "busybox", "cat"),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SOON):
        out, err = await docker.communicate(b"over and out\n")
    assert (out, err, docker.returncode) == (b"over and out\n", b"", 0)


async def test_the_watchers_probe_gets_in(served: Served) -> None:
    options = Options(host=f"tcp://127.0.0.1:{served.port}", tls_verify=True)
    instance = Instance(served.instance.data_dir, served.instance.id, 0, options)
    async with docker_probe(instance)() as probe:
        await probe(SOON)
