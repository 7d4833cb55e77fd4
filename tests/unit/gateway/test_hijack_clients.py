"""The hijack with real clients: docker CLI over unix socket, TCP and TLS, and Python's ssl."""

import asyncio
import hashlib
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.hijack import HijackedConnection
from tests.unit.gateway.hijack_server import Served, TinyEngine, frame, serving

DOCKER = shutil.which("docker")
needs_docker = pytest.mark.skipif(DOCKER is None, reason="needs the docker CLI")


class Result:
    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out, err


async def docker(
    served: Served, *arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None
) -> Result:
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
            "DOCKER_HOST": served.docker_host,
            **(env or {}),
        },
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    return Result(process.returncode or 0, out, err)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as DOCKER_CERT_PATH wants it, for a server on 127.0.0.1."""
    directory = tmp_path_factory.mktemp("pki")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    shutil.copy(directory / "cert.pem", directory / "ca.pem")
    return directory


@needs_docker
async def test_run_with_input(tmp_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=tmp_path / "s") as served:
        result = await docker(served, "run", "-i", "image", "cat", stdin=b"a\nb\n")
    assert (result.code, result.out, result.err) == (0, b"a\nb\n", b"")


@needs_docker
async def test_run_without_input_is_not_taken_for_gone(tmp_path: Path) -> None:
    """The CLI closes its write side right after the 101."""

    async def two_streams(connection: HijackedConnection, body: bytes) -> None:
        assert await connection.read() == b""
        assert not connection.gone.is_set()
        await connection.write(frame(1, b"out\n") + frame(2, b"err\n"))

    async with serving(TinyEngine(two_streams).application(), unix=tmp_path / "s") as served:
        result = await docker(served, "run", "image", "true")
    assert (result.code, result.out, result.err) == (0, b"out\n", b"err\n")


@needs_docker
async def test_exec_with_input_in_parallel(tmp_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=tmp_path / "s") as served:
        inputs = [f"line {n}\n".encode() * 100 for n in range(8)]
        results = await asyncio.gather(
            *(docker(served, "exec", "-i", "c", "cat", stdin=data) for data in inputs)
        )
    assert [result.out for result in results] == inputs


@needs_docker
async def test_large_input_and_output_are_byte_exact(tmp_path: Path) -> None:
    async def echo(connection: HijackedConnection, body: bytes) -> None:
        while data := await connection.read():
            await connection.write(frame(1, data))

    data = os.urandom(16 * 1024 * 1024)
    async with serving(TinyEngine(echo).application(), unix=tmp_path / "s") as served:
        result = await docker(served, "exec", "-i", "c", "cat", stdin=data)
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(data).digest()


@needs_docker
@pytest.mark.parametrize("verb", [("run", "-i", "image"), ("exec", "-i", "c")])
async def test_half_close_over_tls(certificate: Path, verb: tuple[str, ...]) -> None:
    async with serving(
        TinyEngine().application(),
        certificate=certificate / "cert.pem",
        key=certificate / "key.pem",
    ) as served:
        result = await docker(
            served,
            "--tlsverify",
            *verb,
            "cat",
            stdin=b"hi\n",
            env={"DOCKER_CERT_PATH": str(certificate)},
        )
    assert (result.code, result.out, result.err) == (0, b"hi\n", b"")


async def test_refused_hijack_over_tls_closes(certificate: Path) -> None:
    context = ssl.create_default_context(cafile=certificate / "ca.pem")
    async with serving(
        TinyEngine().application(),
        certificate=certificate / "cert.pem",
        key=certificate / "key.pem",
    ) as served:
        reader, writer = await served.connect(tls=context)
        writer.write(
            b"POST /v1.50/containers/missing/attach HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        async with asyncio.timeout(60):
            assert b"No such container" in await reader.read(-1)
        writer.close()
