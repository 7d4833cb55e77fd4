"""Talking to registries: credentials, redirects, and words for what goes wrong."""

import logging

import pytest

from portlayer.errors import VicError
from portlayer.web.transport import Transport
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.challenge import parse_challenges
from services.storage.imagec.digest import Digest
from services.storage.imagec.endpoints import Endpoints
from services.storage.imagec.errors import (
    DigestMismatch,
    InvalidManifest,
    ManifestNotFound,
    PullDenied,
    RegistryMisbehaves,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.registries import Registries
from services.storage.imagec.registry import FetchedManifest, Repository
from tests.images import busybox_image
from tests.unit.storage.fake_registry import (
    Answer,
    FakeRegistry,
    asks_basic,
    asks_bearer,
    gives_token,
    problem,
)

IMAGE = busybox_image()
LOGIN = Credentials("me", "secret")
MANIFEST = "/v2/x/manifests/latest"


async def connect(
    transport: Transport, registry: FakeRegistry, credentials: Credentials | None = None
) -> Repository:
    registry.add(IMAGE, "x", "latest")
    reference = parse_reference(f"{registry.address}/x:latest")
    registries = Registries(transport, Endpoints())
    found = [
        repository
        async for repository in registries.repositories(reference, credentials or Credentials())
    ]
    return found[0]


async def read(repository: Repository) -> bytes:
    layer = IMAGE.layers[0]
    async with repository.blob(Digest(layer.digest), 0, len(layer.blob)) as body:
        return b"".join([chunk async for chunk in body.chunks])


async def test_a_manifest_and_its_blobs_come_anonymously(
    transport: Transport, registry: FakeRegistry
) -> None:
    repository = await connect(transport, registry)
    manifest = await repository.manifest("latest")
    assert manifest == FetchedManifest(IMAGE.manifest_bytes, IMAGE.media_type, Digest(IMAGE.digest))
    assert await read(repository) == IMAGE.layers[0].blob
    assert all("authorization" not in request.headers for request in registry.requests)


async def test_basic_credentials_are_sent_once_asked_for(
    transport: Transport, registry: FakeRegistry
) -> None:
    registry.authenticate = asks_basic("me", "secret")
    repository = await connect(transport, registry, LOGIN)
    await repository.manifest("latest")
    assert "authorization" not in registry.requests[0].headers


async def test_no_credentials_where_some_are_wanted(
    transport: Transport, registry: FakeRegistry
) -> None:
    registry.authenticate = asks_basic("me", "secret")
    with pytest.raises(RegistryUnauthorized, match="no basic auth credentials"):
        await connect(transport, registry)


async def test_a_wrong_password_is_told_without_telling_it(
    transport: Transport, registry: FakeRegistry
) -> None:
    registry.authenticate = asks_basic("me", "secret")
    repository = await connect(transport, registry, Credentials("me", "hunter2"))
    with pytest.raises(RegistryUnauthorized) as refused:
        await repository.manifest("latest")
    assert "unauthorized: authentication required" in refused.value.message
    assert "hunter2" not in refused.value.message + repr(Credentials("me", "hunter2"))


async def test_no_log_has_credentials_or_tokens(
    transport: Transport,
    registry: FakeRegistry,
    elsewhere: FakeRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "t0ken")
    elsewhere.always["/token"] = gives_token(token="t0ken")
    repository = await connect(transport, registry, LOGIN)
    await repository.manifest("latest")
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "another")
    with pytest.raises(VicError):
        await (await connect(transport, registry, LOGIN)).manifest("latest")
    basic = (LOGIN.basic_header() or "").removeprefix("Basic ")
    for secret in (LOGIN.password, basic, "t0ken"):
        assert secret not in caplog.text


async def test_a_token_is_got_from_the_realm_and_goes_to_the_registry_alone(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "t0ken")
    elsewhere.always["/token"] = gives_token(token="t0ken", expires_in=300)
    repository = await connect(transport, registry, LOGIN)
    await repository.manifest("latest")
    await read(repository)
    (asked,) = elsewhere.requests
    assert asked.headers["authorization"].startswith("Basic ")
    assert asked.query["service"] == ["registry.test"]
    assert asked.query["scope"] == ["repository:x:pull"]
    assert asked.query["account"] == ["me"]
    # The credentials never reached the registry, nor the token the realm.
    sent = [request.headers.get("authorization") for request in registry.requests]
    assert set(sent) == {None, "Bearer t0ken"}


async def test_an_identity_token_is_exchanged_by_post(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "t0ken")
    elsewhere.always["/token"] = gives_token(access_token="t0ken")
    repository = await connect(transport, registry, Credentials(identity_token="refresh"))
    await repository.manifest("latest")
    (asked,) = elsewhere.requests
    assert asked.method == "POST"
    assert b"grant_type=refresh_token" in asked.body
    assert b"refresh_token=refresh" in asked.body


async def test_a_registry_token_is_sent_as_it_is(
    transport: Transport, registry: FakeRegistry
) -> None:
    registry.authenticate = asks_bearer("http://127.0.0.1:1/", "ready-made")
    repository = await connect(transport, registry, Credentials(registry_token="ready-made"))
    await repository.manifest("latest")


async def test_a_wrong_password_at_the_realm(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "t0ken")
    elsewhere.always["/token"] = lambda _request: Answer(
        401, body=b'{"details": "incorrect username or password"}'
    )
    with pytest.raises(RegistryUnauthorized, match="incorrect username or password"):
        await connect(transport, registry, LOGIN)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(307, {"Location": "http://127.0.0.1:1/steal"}),
        Answer(200, body=b"[]"),
        Answer(200, body=b'{"token": 5}'),
        Answer(200, body=b'{"token": "two words\\r\\nX-Evil: 1"}'),
        Answer(200, body=b"{" * 100_000),
        Answer(200, body=b" " * 2_000_000),
        Answer(500),
    ],
    ids=["redirect", "list", "number", "header injection", "deep", "long", "error"],
)
async def test_a_token_server_that_answers_nonsense_is_refused(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry, answer: Answer
) -> None:
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "t0ken")
    elsewhere.always["/token"] = lambda _request: answer
    with pytest.raises(RegistryUnavailable):
        await connect(transport, registry, LOGIN)


@pytest.mark.parametrize(
    "realm", ["ftp://x/", "file:///etc/passwd", "", "http://u:p@x/", "/token", "http://x:y/"]
)
async def test_a_realm_that_is_no_web_address_is_refused(
    transport: Transport, registry: FakeRegistry, realm: str
) -> None:
    registry.authenticate = asks_bearer(realm, "t0ken")
    with pytest.raises(RegistryUnavailable, match="invalid token realm"):
        await connect(transport, registry, LOGIN)


async def test_a_token_that_is_not_accepted_means_denied(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.authenticate = asks_bearer(f"http://{elsewhere.address}/token", "other")
    elsewhere.always["/token"] = gives_token(token="t0ken")
    repository = await connect(transport, registry)
    with pytest.raises(PullDenied) as refused:
        await repository.manifest("latest")
    assert refused.value.message == (
        f"pull access denied for {registry.address}/x, repository does not exist or may require "
        "'docker login': denied: requested access to the resource is denied"
    )


async def test_a_blob_that_the_registrys_store_has_is_there(
    transport: Transport, registry: FakeRegistry
) -> None:
    """A registry on S3 or the like answers HEAD of a blob by a redirect to its store."""
    repository = await connect(transport, registry)
    there = Digest(IMAGE.layers[0].digest)
    registry.always[f"/v2/x/blobs/{there}"] = lambda _request: Answer(
        307, {"Location": "http://127.0.0.1:9/store"}
    )
    assert await repository.has_blob(there)
    assert not await repository.has_blob(Digest.of(b"another"))


async def test_a_redirect_to_another_host_carries_no_authorization(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.authenticate = asks_basic("me", "secret")
    repository = await connect(transport, registry, LOGIN)
    blob = IMAGE.layers[0]
    location = f"http://{elsewhere.address}/v2/x/blobs/{blob.digest}"
    elsewhere.add(IMAGE, "x")
    registry.always[f"/v2/x/blobs/{blob.digest}"] = lambda _request: Answer(
        307, {"Location": location, "Set-Cookie": "a=b"}
    )
    assert await read(repository) == blob.blob
    (asked,) = elsewhere.requests
    assert "authorization" not in asked.headers
    assert "cookie" not in asked.headers


async def test_a_401_of_another_host_is_not_answered_with_our_credentials(
    transport: Transport, registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    repository = await connect(transport, registry, LOGIN)
    blob = f"/v2/x/blobs/{IMAGE.layers[0].digest}"
    elsewhere.authenticate = asks_basic("me", "secret")
    registry.always[blob] = lambda _request: Answer(
        307, {"Location": f"http://{elsewhere.address}{blob}"}
    )
    with pytest.raises(PullDenied):
        await read(repository)
    assert all("authorization" not in request.headers for request in elsewhere.requests)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:///etc/passwd",
        "gopher://x/",
        "http://user:pw@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
    ],
)
async def test_a_redirect_to_nowhere_is_refused(
    transport: Transport, registry: FakeRegistry, location: str
) -> None:
    repository = await connect(transport, registry)
    registry.always[MANIFEST] = lambda _request: Answer(302, {"Location": location})
    with pytest.raises(RegistryUnavailable):
        await repository.manifest("latest")


async def test_a_redirect_loop_ends(transport: Transport, registry: FakeRegistry) -> None:
    repository = await connect(transport, registry)
    registry.always[MANIFEST] = lambda _request: Answer(302, {"Location": MANIFEST})
    with pytest.raises(RegistryMisbehaves, match="stopped after 5 redirects"):
        await repository.manifest("latest")


async def test_a_manifest_under_another_digest_is_refused(
    transport: Transport, registry: FakeRegistry
) -> None:
    repository = await connect(transport, registry)
    other = "sha256:" + "0" * 64
    registry.manifests[f"x/{other}"] = (IMAGE.media_type, IMAGE.manifest_bytes)
    with pytest.raises(DigestMismatch, match="manifest verification failed"):
        await repository.manifest(other)
    registry.always[MANIFEST] = lambda _request: Answer(
        headers={"Content-Type": IMAGE.media_type, "Docker-Content-Digest": other},
        body=IMAGE.manifest_bytes,
    )
    with pytest.raises(DigestMismatch):
        await repository.manifest("latest")


async def test_a_configuration_under_another_digest_is_refused(
    transport: Transport, registry: FakeRegistry
) -> None:
    repository = await connect(transport, registry)
    registry.blobs[IMAGE.id] = IMAGE.config_bytes.replace(b"amd64", b"amd65")
    with pytest.raises(DigestMismatch):
        await repository.config(Digest(IMAGE.id), len(IMAGE.config_bytes))


@pytest.mark.parametrize("endless", [True, False])
async def test_a_manifest_that_never_ends_is_cut_off(
    transport: Transport, registry: FakeRegistry, *, endless: bool
) -> None:
    repository = await connect(transport, registry)
    body = b" " * (64 << 10 if endless else 5 << 20)
    registry.always[MANIFEST] = lambda _request: Answer(body=body, endless=endless)
    with pytest.raises(InvalidManifest, match="larger than"):
        await repository.manifest("latest")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            problem(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            ManifestNotFound,
            "manifest for {host}/x:latest not found: manifest unknown: manifest unknown",
        ),
        (
            problem(404, "NAME_UNKNOWN", "repository name not known to registry"),
            ManifestNotFound,
            "repository {host}/x not found: name unknown: repository name not known to registry",
        ),
        (
            Answer(404, body=b"<html>gone</html>"),
            ManifestNotFound,
            "manifest for {host}/x:latest not found: manifest unknown: manifest unknown",
        ),
        (
            problem(403, "DENIED", "requested access to the resource is denied"),
            PullDenied,
            "pull access denied for {host}/x, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied",
        ),
        (
            problem(429, "TOOMANYREQUESTS", "You have reached your pull rate limit"),
            RegistryUnavailable,
            "toomanyrequests: You have reached your pull rate limit",
        ),
        (Answer(503), RegistryUnavailable, "received unexpected HTTP status: 503 Reason"),
    ],
)
async def test_refusals_are_worded_as_docker_words_them(
    transport: Transport,
    registry: FakeRegistry,
    answer: Answer,
    kind: type[Exception],
    words: str,
) -> None:
    repository = await connect(transport, registry)
    registry.always[MANIFEST] = lambda _request: answer
    with pytest.raises(kind) as refused:
        await repository.manifest("latest")
    assert str(refused.value) == words.format(host=registry.address)


def test_challenges_are_read_with_their_parameters() -> None:
    found = parse_challenges(
        [
            'Bearer realm="https://a/t",service="s, x",scope="repository:a\\"b:pull", '
            "Basic realm=plain"
        ]
    )
    assert [challenge.scheme for challenge in found] == ["bearer", "basic"]
    assert found[0].parameters == {
        "realm": "https://a/t",
        "service": "s, x",
        "scope": 'repository:a"b:pull',
    }
    assert found[1].parameters == {"realm": "plain"}
    assert parse_challenges(["", "Negotiate", "x" * 10_000])[0].scheme == "negotiate"
