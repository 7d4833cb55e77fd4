"""docker exec: the real CLI."""

import asyncio

import pytest
from vic.exec.v1 import container_pb2

from tests.unit.gateway.conftest import DOCKER, Endpoint
from tests.unit.gateway.test_execs import container

__all__ = ["container"]

pytestmark = pytest.mark.skipif(DOCKER is None, reason="needs the docker CLI")


async def test_cli_gives_streams_and_code(
    engine: Endpoint, container: container_pb2.Container
) -> None:
    done = await engine.docker("exec", "c1", "both", "7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


async def test_cli_gives_input_and_its_end(
    engine: Endpoint, container: container_pb2.Container
) -> None:
    assert await engine.output("exec", "-i", "c1", "cat", stdin=b"a\nb\n") == "a\nb\n"
    assert await engine.output("exec", "c1", "echo", "no input") == "no input\n"


@pytest.mark.parametrize(
    ("command", "code", "why"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ],
)
async def test_cli_tells_what_cannot_be_run(
    engine: Endpoint, container: container_pb2.Container, command: str, code: int, why: str
) -> None:
    done = await engine.docker("exec", "c1", command)
    assert done.code == code
    assert done.out == (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        f"{why}: unknown\r\n"
    )


async def test_cli_detached(engine: Endpoint, container: container_pb2.Container) -> None:
    assert await engine.output("exec", "-d", "c1", "sleep") == ""


async def test_ten_at_once(engine: Endpoint, container: container_pb2.Container) -> None:
    outputs = await asyncio.gather(
        *(engine.output("exec", "c1", "echo", str(number)) for number in range(10))
    )
    assert outputs == [f"{number}\n" for number in range(10)]
