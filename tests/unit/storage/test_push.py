"""Pushes, to a registry that may misbehave."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from portlayer.errors import InvalidArgument
from portlayer.web.transport import Transport
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.endpoints import Endpoints
from services.storage.imagec.errors import RegistryUnauthorized, RegistryUnavailable
from services.storage.imagec.progress import Progress, Status
from services.storage.imagec.push import ATTEMPTS, Pushed, Pusher
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.registries import Registries
from services.storage.images import ImageNotFound, parse_push_reference
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.conftest import Storage
from tests.unit.storage.fake_registry import (
    Answer,
    FakeRegistry,
    Request,
    asks_basic,
    asks_bearer,
    gives_token,
    problem,
    serving,
)

IMAGE = Image(tuple(Layer(make_tar([file(name, name)])) for name in ("a", "b")), flavour="docker")
SHORT = [layer.diff_id[7:19] for layer in IMAGE.layers]


@pytest_asyncio.fixture(loop_scope="session")
async def target() -> AsyncIterator[FakeRegistry]:
    """A registry that has nothing."""
    async with serving() as registry:
        yield registry


class Push:
    """Pushes, and what they said."""

    def __init__(self, storage: Storage, transport: Transport) -> None:
        self._storage = storage
        self._pusher = Pusher(Registries(transport, Endpoints()), storage.store, backoff=0.001)
        self.lines: list[Progress] = []

    async def __call__(
        self, name: str, credentials: Credentials | None = None, image: Image = IMAGE
    ) -> Pushed:
        await self._storage.images.tag(image.id, name)
        self.lines.clear()
        return await self._pusher.push(
            self._storage.images.find(image.id),
            parse_reference(name),
            credentials or Credentials(),
            self.lines.append,
        )

    def of(self, short: str) -> list[Status]:
        return [line.status for line in self.lines if line.id == short]


@pytest_asyncio.fixture(loop_scope="session")
async def push(storage: Storage, registry: FakeRegistry, transport: Transport) -> Push:
    registry.add(IMAGE, "x", "latest")
    await storage.pull(f"{registry.address}/x")
    return Push(storage, transport)


async def test_a_push_sends_the_very_bytes(
    storage: Storage, target: FakeRegistry, push: Push
) -> None:
    pushed = await push(f"{target.address}/y:1")
    assert pushed == Pushed("1", pushed.digest, len(IMAGE.manifest_bytes))
    assert pushed.digest == IMAGE.digest
    assert target.manifests["y/1"] == (IMAGE.media_type, IMAGE.manifest_bytes)
    contents = {IMAGE.config_bytes, *(layer.blob for layer in IMAGE.layers)}
    assert set(target.blobs.values()) == contents
    assert push.of(SHORT[0]) == [Status.PREPARING, Status.PUSHING, Status.PUSHED]
    use = storage.images.use(storage.images.find(IMAGE.id))
    assert f"{target.address}/y@{IMAGE.digest}" in use.digests


async def test_two_pushes_of_one_tag_both_end_and_it_is_the_later_ones(
    storage: Storage, registry: FakeRegistry, target: FakeRegistry, push: Push
) -> None:
    other = Image((IMAGE.layers[0], Layer(make_tar([file("c", "c")]))), flavour="docker")
    registry.add(other, "z", "latest")
    await storage.pull(f"{registry.address}/z")
    name = f"{target.address}/y:1"
    pushed = await asyncio.gather(push(name), push(name, image=other))
    assert [one.digest for one in pushed] == [IMAGE.digest, other.digest]
    puts = [r for r in target.requests if r.method == "PUT" and "/manifests/" in r.path]
    assert [r.path for r in puts] == ["/v2/y/manifests/1"] * 2
    assert target.manifests["y/1"][1] == puts[-1].body
    for image in (IMAGE, other):
        assert {layer.blob for layer in image.layers} <= set(target.blobs.values())
        use = storage.images.use(storage.images.find(image.id))
        assert f"{target.address}/y@{image.digest}" in use.digests
    # The name here was given to one after the other, and is the later one's as well.
    assert storage.images.find(name).id == other.id


async def test_what_the_registry_has_is_not_sent(target: FakeRegistry, push: Push) -> None:
    await push(f"{target.address}/y:1")
    target.requests.clear()
    await push(f"{target.address}/y:2")
    assert push.of(SHORT[0]) == [Status.PREPARING, Status.LAYER_EXISTS]
    assert {request.method for request in target.requests} <= {"GET", "HEAD", "PUT"}
    assert [r.path for r in target.requests if r.method == "PUT"] == ["/v2/y/manifests/2"]


async def test_a_layer_of_another_repository_there_is_mounted(
    registry: FakeRegistry, push: Push
) -> None:
    for layer in IMAGE.layers:
        missing = f"/v2/y/blobs/{layer.digest}"
        registry.always[missing] = lambda _request: problem(404, "BLOB_UNKNOWN", "unknown")
    await push(f"{registry.address}/y:1")
    assert push.lines[-1].status is Status.MOUNTED
    assert push.lines[-1].text == "x"
    mounts = [request for request in registry.requests if "mount" in request.query]
    assert {(r.query["mount"][0], r.query["from"][0]) for r in mounts} == {
        (layer.digest, "x") for layer in IMAGE.layers
    }


async def test_a_mount_that_is_not_granted_becomes_an_upload(
    registry: FakeRegistry, push: Push
) -> None:
    kept = {layer.digest: registry.blobs.pop(layer.digest) for layer in IMAGE.layers}
    await push(f"{registry.address}/y:1")
    assert push.of(SHORT[1])[-1] is Status.PUSHED
    assert kept.items() <= registry.blobs.items()


async def test_a_push_asks_for_the_right_to_push_and_to_mount(
    registry: FakeRegistry, elsewhere: FakeRegistry, push: Push
) -> None:
    elsewhere.always["/token"] = gives_token(token="good")
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "good")
    await push(f"{registry.address}/y:1", Credentials("me", "secret"))
    (asked,) = elsewhere.fetched("/token")
    assert asked.query["scope"] == ["repository:y:pull,push", "repository:x:pull"]


async def test_credentials_that_are_refused(target: FakeRegistry, push: Push) -> None:
    target.authenticate = asks_basic("me", "secret")
    with pytest.raises(RegistryUnauthorized, match="no basic auth credentials"):
        await push(f"{target.address}/y")
    with pytest.raises(RegistryUnauthorized):
        await push(f"{target.address}/y", Credentials("me", "wrong"))
    # Its requests go side by side, and all but one come without credentials at first.
    for number in range(5):
        pushed = await push(f"{target.address}/y{number}", Credentials("me", "secret"))
        assert pushed.tag == "latest"


async def test_a_right_that_is_missing(target: FakeRegistry, push: Push) -> None:
    denied = problem(403, "DENIED", "requested access to the resource is denied")
    target.always["/v2/y/blobs/uploads/"] = lambda _request: denied
    with pytest.raises(RegistryUnauthorized) as refused:
        await push(f"{target.address}/y")
    assert refused.value.message == "denied: requested access to the resource is denied"
    assert not target.manifests


async def test_a_registry_that_fails_is_asked_again_and_not_for_ever(
    target: FakeRegistry, push: Push
) -> None:
    broken = problem(503, "UNAVAILABLE", "later")
    path = f"/v2/y/blobs/{IMAGE.layers[0].digest}"
    target.faults[path] = [lambda _request: broken] * (ATTEMPTS - 1)
    await push(f"{target.address}/y")
    target.faults[path] = [lambda _request: broken] * ATTEMPTS
    with pytest.raises(RegistryUnavailable):
        await push(f"{target.address}/y:other")


async def test_an_image_removed_while_it_is_pushed_keeps_its_layers_until_the_end(
    storage: Storage, target: FakeRegistry, push: Push
) -> None:
    reached, hold = asyncio.Event(), asyncio.Event()

    def slow(_request: Request) -> Answer:
        reached.set()
        return Answer(404, silent=True, hold_head=hold)

    target.faults[f"/v2/y/blobs/{IMAGE.layers[0].digest}"] = [slow]
    pushing = asyncio.create_task(push(f"{target.address}/y"))
    await asyncio.wait_for(reached.wait(), 60)
    blob = storage.store.blobs.path(storage.images.find(IMAGE.id).layers[0].blob)
    await storage.removal.remove(IMAGE.id, force=True)
    assert blob.exists()
    hold.set()
    assert (await pushing).digest == IMAGE.digest
    assert not blob.exists()
    assert storage.files() == []


@pytest.mark.parametrize(
    ("name", "all_tags", "pushed"),
    [
        ("mine/a", False, ["mine/a:latest"]),
        ("mine/a:2", False, ["mine/a:2"]),
        ("mine/a", True, ["mine/a:2", "mine/a:latest"]),
    ],
)
async def test_which_tags_are_pushed(
    storage: Storage, push: Push, name: str, all_tags: bool, pushed: list[str]
) -> None:
    for tag in ("mine/a", "mine/a:2", "mine/b"):
        await storage.images.tag(IMAGE.id, tag)
    chosen = storage.images.to_push(parse_push_reference(name, all_tags=all_tags))
    assert [reference.familiar for reference in chosen] == pushed


async def test_what_is_not_there_cannot_be_pushed(storage: Storage, push: Push) -> None:
    await storage.images.tag(IMAGE.id, "mine/a")
    for name, message in (
        ("nosuch", "An image does not exist locally with the tag: nosuch"),
        ("mine/a:3", "tag does not exist: mine/a:3"),
    ):
        with pytest.raises(ImageNotFound) as refused:
            storage.images.to_push(parse_push_reference(name, all_tags=False))
        assert refused.value.message == message
    with pytest.raises(InvalidArgument, match="cannot push a digest reference"):
        parse_push_reference(f"x@{IMAGE.digest}", all_tags=False)
