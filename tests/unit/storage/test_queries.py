"""What registries are asked besides images, and which of them may be asked."""

import json

import pytest

from portlayer.errors import InvalidArgument
from portlayer.web.transport import Transport
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.endpoints import AllowList, Endpoints
from services.storage.imagec.errors import (
    ManifestNotFound,
    RegistryMisbehaves,
    RegistryNotAllowed,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from services.storage.imagec.queries import Hit, RegistryQueries, registry_of
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.registries import Registries
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.fake_registry import (
    Answer,
    FakeRegistry,
    asks_basic,
    asks_bearer,
    gives_token,
    problem,
)

NOBODY = Credentials()
SMALL = Image((Layer(make_tar([file("x", "x")])),))


@pytest.fixture
def queries(transport: Transport) -> RegistryQueries:
    return RegistryQueries(Registries(transport, Endpoints()))


async def test_tags_come_page_by_page(queries: RegistryQueries, registry: FakeRegistry) -> None:
    path = "/v2/x/tags/list"
    registry.faults[path] = [
        lambda _: Answer(
            headers={"Link": f'<{path}?last=b>; rel="next"'}, body=b'{"tags": ["a", "b"]}'
        ),
        lambda _: Answer(body=b'{"tags": ["c"]}'),
        lambda _: Answer(body=b'{"tags": null}'),
        lambda _: problem(404, "NAME_UNKNOWN", "repository name not known to registry"),
        lambda _: Answer(body=b'{"tags": [1]}'),
        lambda _: Answer(
            headers={"Link": '<http://other.test/>; rel="next"'}, body=b'{"tags": ["a"]}'
        ),
    ]
    repository = parse_reference(f"{registry.address}/x")
    assert [tag.tag for tag in await queries.tags(repository, NOBODY)] == ["a", "b", "c"]
    assert registry.fetched(path)[1].query == {"last": ["b"]}
    assert await queries.tags(repository, NOBODY) == []
    with pytest.raises(ManifestNotFound, match="not found"):
        await queries.tags(repository, NOBODY)
    with pytest.raises(RegistryMisbehaves):
        await queries.tags(repository, NOBODY)
    with pytest.raises(RegistryMisbehaves, match="another host"):
        await queries.tags(repository, NOBODY)


async def test_what_a_registry_has_is_described_and_not_pulled(
    queries: RegistryQueries, registry: FakeRegistry
) -> None:
    arm = Image(SMALL.layers, architecture="arm64")
    digest = registry.add_index([SMALL, arm], "x", "both")
    registry.add(arm, "x", "arm")
    both = await queries.inspect(parse_reference(f"{registry.address}/x:both"), NOBODY)
    assert both.digest == digest
    assert [str(platform) for platform in both.platforms] == ["linux/amd64", "linux/arm64"]
    one = await queries.inspect(parse_reference(f"{registry.address}/x:arm"), NOBODY)
    assert (one.digest, one.size) == (arm.digest, len(arm.manifest_bytes))
    assert [str(platform) for platform in one.platforms] == ["linux/arm64"]
    assert not registry.fetched(SMALL.layers[0].digest)
    with pytest.raises(ManifestNotFound):
        await queries.inspect(parse_reference(f"{registry.address}/x:nosuch"), NOBODY)


async def test_credentials_are_tried(queries: RegistryQueries, registry: FakeRegistry) -> None:
    registry.authenticate = asks_basic("me", "secret")
    await queries.authenticate(f"http://{registry.address}/v1/", Credentials("me", "secret"))
    for wrong in (Credentials("me", "wrong"), NOBODY):
        with pytest.raises(RegistryUnauthorized):
            await queries.authenticate(registry.address, wrong)
    with pytest.raises(RegistryUnavailable):
        await queries.authenticate("127.0.0.1:1", Credentials("me", "secret"))
    for address in ("", "https://index.docker.io/v1/", "registry-1.docker.io"):
        assert registry_of(address) == "docker.io"


async def test_a_login_gets_an_identity_token_where_the_registry_gives_one(
    queries: RegistryQueries, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "t0ken")
    elsewhere.always["/token"] = gives_token(token="t0ken", refresh_token="for-later")
    told = await queries.authenticate(registry.address, Credentials("me", "secret"))
    assert told == "for-later"
    (asked,) = elsewhere.requests
    assert asked.query["offline_token"] == ["true"]
    assert asked.query["client_id"] == ["vic"]
    elsewhere.always["/token"] = gives_token(token="t0ken")
    assert await queries.authenticate(registry.address, Credentials("me", "secret")) == ""


async def test_a_search_asks_the_registry_that_the_term_names(
    queries: RegistryQueries, registry: FakeRegistry
) -> None:
    hit = {"name": "a/b", "description": "d", "star_count": 7, "is_official": True}
    found = json.dumps({"results": [hit, {"name": None, "star_count": "x"}, 3]}).encode()
    registry.faults["/v1/search"] = [
        lambda _: Answer(body=found),
        lambda _: Answer(body=b'{"results": 1}'),
        lambda _: Answer(404),
    ]
    term = f"{registry.address}/some words"
    hits = await queries.search(term, 2, Credentials("me", "secret"))
    assert hits == [Hit("a/b", "d", 7, True), Hit("", "", 0, False)]
    (asked,) = registry.fetched("/v1/search")
    assert asked.query == {"q": ["some words"], "n": ["2"]}
    assert asked.headers["authorization"].startswith("Basic ")
    for kind in (RegistryUnavailable, RegistryMisbehaves):
        with pytest.raises(kind):
            await queries.search(term, 0, NOBODY)
    for bad, limit in ((term, 101), ("", 1), ("http://x/y", 1)):
        with pytest.raises(InvalidArgument):
            await queries.search(bad, limit, NOBODY)


@pytest.mark.parametrize(
    ("entries", "domain", "allowed"),
    [
        (["registry.test"], "registry.test", True),
        (["registry.test"], "Registry.test:5000", True),
        (["registry.test:5000"], "registry.test:5001", False),
        (["*.test"], "a.b.test:5000", True),
        (["*.test"], "test", False),
        (["*.test"], "eviltest", False),
        (["10.0.0.0/8"], "10.1.2.3:5000", True),
        (["10.0.0.0/8"], "11.1.2.3", False),
        (["docker.io"], "docker.io", True),
        (["registry.test"], "docker.io", False),
    ],
)
async def test_only_allowed_registries_are_asked(
    entries: list[str], domain: str, allowed: bool
) -> None:
    endpoints = Endpoints(allowed=entries)
    if allowed:
        assert await endpoints.of(domain)
    else:
        with pytest.raises(RegistryNotAllowed, match="denied"):
            await endpoints.of(domain)


@pytest.mark.parametrize("entry", ["", "a b", "*", "a.*.b", "10.0.0.0/99", "http://x"])
def test_an_entry_that_allows_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AllowList([entry])
