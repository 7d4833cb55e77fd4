"""docker-py against the gateway and facets in memory."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import docker
import docker.errors
import pytest

from tests.unit.gateway.conftest import Endpoint, Eventually
from tests.unit.gateway.fake_facets import FakeSuite

T = TypeVar("T")


@pytest.fixture
def sdk(engine: Endpoint) -> Iterator[Any]:
    client = docker.DockerClient(base_url=f"unix://{engine.path}", version="1.51", timeout=60)
    yield client
    client.close()


async def blocking(function: Callable[[], T]) -> T:
    async with asyncio.timeout(60):
        return await asyncio.to_thread(function)


async def test_version_is_negotiated(engine: Endpoint) -> None:
    def negotiate() -> str:
        client = docker.DockerClient(base_url=f"unix://{engine.path}", version="auto")
        try:
            assert client.ping()
            version: str = client.api.api_version
            return version
        finally:
            client.close()

    assert await blocking(negotiate) == "1.51"


async def test_run_and_logs(sdk: Any, suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")
    output = await blocking(lambda: sdk.containers.run("busybox", ["echo", "hi"], remove=True))
    assert output == b"hi\n"
    with pytest.raises(docker.errors.ContainerError, match="non-zero exit status 3"):
        await blocking(lambda: sdk.containers.run("busybox", ["both", "3"]))


async def test_life_of_a_container(sdk: Any, suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")

    def live() -> None:
        container = sdk.containers.run("busybox", ["sleep"], detach=True, name="one")
        assert [c.name for c in sdk.containers.list()] == ["one"]
        container.reload()
        assert container.status == "running"
        container.rename("two")
        container.stop(timeout=1)
        assert container.wait()["StatusCode"] == 143
        assert container.logs() == b"sleeping\n"
        container.remove()
        with pytest.raises(docker.errors.NotFound):
            sdk.containers.get("two")

    await blocking(live)


async def test_attach_socket_send_and_close(sdk: Any, suite: FakeSuite) -> None:
    """The SDK's idiom for feeding a container: what was sent before the close arrives."""
    suite.pulled("busybox:latest")

    def feed() -> bytes:
        container = sdk.containers.create("busybox", ["cat"], stdin_open=True)
        attached = container.attach_socket(params={"stdin": 1, "stream": 1})
        container.start()
        attached._sock.sendall(b"make this test pass\n")
        attached._sock.close()
        attached.close()
        assert container.wait()["StatusCode"] == 0
        logs: bytes = container.logs()
        return logs

    assert await blocking(feed) == b"make this test pass\n"


async def test_input_of_a_client_that_left_waits_for_a_facet_that_is_slow(
    sdk: Any, suite: FakeSuite, eventually: Eventually
) -> None:
    suite.pulled("busybox:latest")
    suite.interaction.taking_input.clear()

    def feed() -> Any:
        container = sdk.containers.run("busybox", ["cat"], stdin_open=True, detach=True)
        # Its output is attached as well, and nobody reads it.
        attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        attached._sock.sendall(b"first\n")
        attached._sock.sendall(b"last\n")
        attached._sock.close()
        attached.close()
        return container

    container = await blocking(feed)
    # Long enough for a gateway that doesn't wait to give up; never too long for one that does.
    await asyncio.sleep(0.3)
    suite.interaction.taking_input.set()
    assert (await blocking(container.wait))["StatusCode"] == 0
    assert await blocking(container.logs) == b"first\nlast\n"
    await eventually(lambda: suite.interaction.attached == 0)


async def test_attach_streams(sdk: Any, suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")

    def attach() -> tuple[bytes, bytes]:
        container = sdk.containers.create("busybox", ["both", "0"])
        stream = container.attach(stream=True, demux=True)
        container.start()
        pieces = list(stream)
        out = b"".join(piece[0] or b"" for piece in pieces)
        err = b"".join(piece[1] or b"" for piece in pieces)
        return out, err

    assert await blocking(attach) == (b"out\n", b"err\n")


async def test_pull_images_and_remove(sdk: Any) -> None:
    def images() -> None:
        image = sdk.images.pull("busybox", tag="latest")
        assert image.tags == ["busybox:latest"]
        assert [i.id for i in sdk.images.list()] == [image.id]
        sdk.images.remove("busybox:latest")
        with pytest.raises(docker.errors.ImageNotFound):
            sdk.images.get("busybox")
        with pytest.raises(docker.errors.NotFound, match="manifest for busybox:nope not found"):
            sdk.images.pull("busybox", tag="nope")

    await blocking(images)


async def test_networks_info_and_refusals(sdk: Any) -> None:
    def look() -> None:
        assert sorted(n.name for n in sdk.networks.list()) == ["bridge", "none"]
        assert sdk.info()["OSType"] == "linux"
        with pytest.raises(docker.errors.APIError, match="not a swarm manager"):
            sdk.services.list()
        network = sdk.networks.create("n", driver="bridge", labels={"a": "b"}, internal=True)
        assert sdk.networks.get(network.id).attrs["Internal"]
        with pytest.raises(docker.errors.APIError, match="network driver 'overlay' is not impl"):
            sdk.networks.create("m", driver="overlay")
        assert sdk.networks.prune() == {"NetworksDeleted": ["n"]}
        assert sorted(n.name for n in sdk.networks.list()) == ["bridge", "none"]

    await blocking(look)


async def test_events_stream_and_close(sdk: Any, suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")

    def watch() -> list[str]:
        events = sdk.events(decode=True)
        sdk.containers.run("busybox", ["true"], name="one")
        seen = [next(events)["Action"] for _ in range(3)]
        events.close()
        return seen

    assert await blocking(watch) == ["create", "start", "die"]
