"""Reaching registries: which endpoints a name stands for, TLS, proxies, mirrors."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portlayer.web.errors import HostNotFound, NotTls
from portlayer.web.proxies import Proxies
from portlayer.web.transport import Transport
from services.storage.imagec.authorization import Credentials, read_limited
from services.storage.imagec.endpoints import Endpoint, Endpoints
from services.storage.imagec.errors import (
    RegistryMisbehaves,
    RegistryUnavailable,
)
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.registries import Registries
from services.storage.imagec.registry import Repository
from tests.unit.storage.fake_registry import (
    Answer,
    FakeRegistry,
    Request,
    serving,
)
from tests.unit.storage.test_registry import IMAGE, connect, read

LOOPBACK = ipaddress.ip_address("127.0.0.1")
MANIFEST = "/v2/x/manifests/latest"


@pytest_asyncio.fixture(loop_scope="session")
async def closed_port() -> AsyncIterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        yield taken.getsockname()[1]


async def first(transport: Transport, name: str) -> Repository:
    registries = Registries(transport, Endpoints())
    async for repository in registries.repositories(parse_reference(name), Credentials()):
        return repository
    raise AssertionError("no endpoint")


async def test_a_host_that_does_not_exist(transport: Transport) -> None:
    with pytest.raises(HostNotFound) as refused:
        await first(transport, "nosuch.invalid/x")
    assert str(refused.value) == (
        'Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch.invalid: no such host'
    )


async def test_a_host_that_does_not_listen(transport: Transport, closed_port: int) -> None:
    with pytest.raises(RegistryUnavailable) as refused:
        await first(transport, f"127.0.0.1:{closed_port}/x")
    assert str(refused.value) == (
        f'Get "http://127.0.0.1:{closed_port}/v2/": dial tcp 127.0.0.1:{closed_port}: '
        "connect: connection refused"
    )


def own_certificate(directory: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "both.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return context


async def test_any_certificate_will_do_for_a_loopback_registry_and_https_comes_first(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(own_certificate(tmp_path)) as registry:
        repository = await connect(transport, registry)
        assert repository.endpoint.scheme == "https"
        assert await read(repository) == IMAGE.layers[0].blob


async def test_a_certificate_that_nobody_vouches_for_is_refused_elsewhere(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(own_certificate(tmp_path)) as registry:
        url = f"https://{registry.address}/v2/"
        with pytest.raises(RegistryUnavailable) as refused:
            async with transport.get(url, verify=True, headers={}, authorization=None):
                pass
    assert str(refused.value).startswith(
        f'Get "{url}": tls: failed to verify certificate: x509: self-signed certificate'
    )
    assert registry.requests == []


async def test_an_authority_of_ones_own_is_trusted(tmp_path: Path) -> None:
    async with serving(own_certificate(tmp_path)) as registry:
        transport = Transport([(tmp_path / "both.pem").read_text()])
        url = f"https://{registry.address}/v2/"
        try:
            async with transport.get(url, verify=True, headers={}, authorization=None) as answer:
                assert answer.status == 200
        finally:
            await transport.close()
    with pytest.raises(ValueError, match="no certificate"):
        Transport(["nonsense"])


async def test_registries_are_asked_through_a_proxy_but_for_exceptions(
    registry: FakeRegistry,
) -> None:
    proxies = Proxies(http=f"http://{registry.address}", exceptions=[".direct.invalid"])
    transport = Transport(proxies=proxies)
    registry.always["/v2/"] = lambda _request: Answer(body=b"through the proxy")
    try:
        url = "http://registry.invalid/v2/"
        async with transport.get(url, verify=False, headers={}, authorization=None) as answer:
            assert await read_limited(answer, 100) == b"through the proxy"
        with pytest.raises(HostNotFound):
            async with transport.get(
                "http://a.direct.invalid/v2/", verify=False, headers={}, authorization=None
            ):
                pass
    finally:
        await transport.close()
    assert len(registry.requests) == 1


async def test_https_where_only_http_is_spoken(
    transport: Transport, registry: FakeRegistry
) -> None:
    url = f"https://{registry.address}/v2/?secret=in-a-query"
    with pytest.raises(NotTls) as refused:
        async with transport.get(url, verify=True, headers={}, authorization=None):
            pass
    assert str(refused.value) == (
        f'Get "https://{registry.address}/v2/": http: server gave HTTP response to HTTPS client'
    )


async def test_a_redirect_from_https_to_http_is_refused(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = own_certificate(tmp_path)
    async with serving(context) as secure:
        secure.always["/x"] = lambda _request: Answer(
            302, {"Location": f"http://{registry.address}/x"}
        )
        checked = ssl.create_default_context(cadata=(tmp_path / "both.pem").read_text())
        checked.check_hostname = False
        monkeypatch.setattr(ssl, "create_default_context", lambda: checked)
        url = f"https://{secure.address}/x"
        transport = Transport()
        with pytest.raises(RegistryMisbehaves, match="redirected from https to http"):
            async with transport.get(url, verify=True, headers={}, authorization=None):
                pass
        await transport.close()
    assert registry.requests == []


async def test_plain_http_off_loopback_is_for_listed_registries_only() -> None:
    endpoints = Endpoints(insecure=["listed.example:5000", "10.0.0.0/8"])
    both = ["https", "http"]
    for domain, schemes in {
        "localhost": both,
        "localhost:5000": both,
        "127.3.2.1:5000": both,
        "[::1]:5000": both,
        "listed.example:5000": both,
        "LISTED.example:5000": both,
        "listed.example": ["https"],
        "10.1.2.3": both,
        "11.1.2.3:5000": ["https"],
        "unlisted.invalid": ["https"],
    }.items():
        found = await endpoints.of(domain)
        assert [endpoint.scheme for endpoint in found] == schemes, domain
        assert all(endpoint.verify == (schemes == ["https"]) for endpoint in found)


async def test_mirrors_stand_in_for_docker_hub_alone() -> None:
    endpoints = Endpoints(mirrors=["http://mirror.example:5000", "https://two.example/"])
    hub = await endpoints.of("docker.io")
    assert [endpoint.url for endpoint in hub] == [
        "http://mirror.example:5000",
        "https://two.example",
        "https://registry-1.docker.io",
    ]
    assert hub[0] == Endpoint("http", "mirror.example:5000", verify=False, mirror=True)
    assert [endpoint.url for endpoint in await endpoints.of("quay.io")] == ["https://quay.io"]


@pytest.mark.parametrize(
    "url", ["mirror", "ftp://x", "https://x/path", "https://u:p@x", "https://x?y"]
)
def test_a_mirror_that_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="registry mirror"):
        Endpoints(mirrors=[url])


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        Endpoints(insecure=["10.0.0.0/99"])


async def test_a_registry_that_answered_is_not_pinged_again(
    transport: Transport, registry: FakeRegistry
) -> None:
    registry.add(IMAGE, "x", "latest")
    registries = Registries(transport, Endpoints())
    reference = parse_reference(f"{registry.address}/x:latest")
    for _ in range(2):
        async for repository in registries.repositories(reference, Credentials()):
            await repository.manifest("latest")

    def path(request: Request) -> str:
        return request.path

    assert [path(request) for request in registry.requests] == ["/v2/", MANIFEST, MANIFEST]
