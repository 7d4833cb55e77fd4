"""HTTP to registries: what is sent, what is taken, and when it is given up."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

import aiohttp
import pytest

from portlayer.web import transport as module
from portlayer.web.proxies import Proxies
from portlayer.web.transport import Transport
from services.storage.imagec.authorization import read_limited
from services.storage.imagec.errors import RegistryUnavailable
from tests.unit.storage.fake_registry import Answer, FakeRegistry

PACKET_SECONDS = 0.01
"""Between two packets, so that the kernel doesn't join them: nothing tells when one was read."""


class Then(Enum):
    """What a server does after its last word."""

    LEAVE = auto()
    STAY = auto()
    RESET = auto()


@asynccontextmanager
async def server(
    *answers: bytes, then: Then = Then.LEAVE, deaf: bool = False
) -> AsyncIterator[str]:
    """A server that answers each request's head with the same packets; its address."""
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not deaf:
                await reader.readuntil(b"\r\n\r\n")
            for answer in answers:
                writer.write(answer)
                await writer.drain()
                await asyncio.sleep(PACKET_SECONDS)
            if then is Then.STAY:
                await over.wait()
            elif then is Then.RESET:
                linger = struct.pack("ii", 1, 0)
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        over.set()


async def fetch(transport: Transport, url: str) -> bytes:
    async with transport.get(url, verify=False, headers={}, authorization=None) as response:
        return await read_limited(response, 1 << 20)


async def refusal(transport: Transport, url: str) -> str:
    with pytest.raises(RegistryUnavailable) as refused:
        await fetch(transport, url)
    return str(refused.value)


async def put(transport: Transport, address: str, body: AsyncIterator[bytes], size: int) -> int:
    headers = {"Content-Length": str(size)}
    async with transport.send(
        "PUT", f"http://{address}/x", verify=False, headers=headers, content=body
    ) as response:
        return response.status


async def zeros(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield bytes(1 << 20)


async def test_bytes_come_as_they_were_sent(transport: Transport, registry: FakeRegistry) -> None:
    packed = gzip.compress(b"what is hashed")
    registry.always["/x"] = lambda _request: Answer(
        headers={"Content-Encoding": "gzip", "Set-Cookie": "a=b"}, body=packed
    )
    for _ in range(2):
        assert await fetch(transport, f"http://{registry.address}/x") == packed
    for request in registry.requests:
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["user-agent"] == "vic-imagec"
        assert "cookie" not in request.headers


async def test_the_environments_proxies_are_not_asked(
    transport: Transport, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await fetch(transport, f"http://{registry.address}/v2/") == b"{}"


async def test_a_signed_url_is_asked_for_as_it_was_given(
    transport: Transport, registry: FakeRegistry
) -> None:
    signed = "/a%2Fb+c/%7Ex?X-Sig=a%2Bb%2F+c~%7e&q=%20&r=%41#part"
    registry.always["/v2/"] = lambda _request: Answer(307, {"Location": signed})
    registry.always["/a%2Fb+c/%7Ex"] = lambda _request: Answer(body=b"here")
    assert await fetch(transport, f"http://{registry.address}/v2/") == b"here"
    assert registry.requests[-1].target == signed.partition("#")[0]


async def test_what_no_url_can_hold_is_quoted(transport: Transport, registry: FakeRegistry) -> None:
    registry.always["/a%20%C3%BC"] = lambda _request: Answer(body=b"here")
    assert await fetch(transport, f'http://{registry.address}/a ü?x=%"\r\nX-Evil: 1') == b"here"
    assert "x-evil" not in registry.requests[-1].headers


@pytest.mark.parametrize("host", ["a b", "a%0d%0ab", "[::1%25eth0]", "x" * 300, "a..b"])
async def test_a_host_that_can_be_none_is_refused(transport: Transport, host: str) -> None:
    await refusal(transport, f"http://{host}/")


async def test_https_goes_through_a_tunnel_of_the_proxy(registry: FakeRegistry) -> None:
    proxies = Proxies(https=f"http://{registry.address}", exceptions=[".direct.invalid"])
    transport = Transport(proxies=proxies)
    registry.always["443"] = lambda _request: Answer(403)
    try:
        words = await refusal(transport, "https://registry.invalid/v2/")
        assert words == 'Get "https://registry.invalid/v2/": proxyconnect tcp: 403 Reason'
    finally:
        await transport.close()
    (asked,) = registry.requests
    assert (asked.method, asked.target) == ("CONNECT", "registry.invalid:443")


def test_loopback_and_exceptions_have_no_proxy() -> None:
    proxies = Proxies("http://p:1", "http://p:2", ["plain.example", ".below.example"])
    for url, proxy in {
        "http://a.example/": "http://p:1",
        "https://a.example/": "http://p:2",
        "https://below.example/": "http://p:2",
        "https://A.Below.example:5000/": None,
        "http://plain.example/": None,
        "http://sub.plain.example/": "http://p:1",
        "http://localhost:5000/": None,
        "https://127.0.0.1/": None,
        "https://[::1]:5000/": None,
    }.items():
        assert proxies.of(url) == proxy, url
    assert Proxies(http="http://p:1").of("https://a.example/") is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", "unexpected EOF"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 100_000, "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (4 << 20), "malformed HTTP response"),
    ],
    ids=["nothing", "cut", "cut in a chunk", "another protocol", "headers", "a header"],
)
async def test_an_answer_that_is_none_is_told(
    transport: Transport, answer: bytes, words: str
) -> None:
    async with server(answer) as address:
        told = await refusal(transport, f"http://{address}/x?secret")
    assert told.startswith(f'Get "http://{address}/x": ')
    assert told.endswith(words)


async def test_headers_that_are_no_text_can_be_stored(transport: Transport) -> None:
    async with server(
        b"HTTP/1.1 200 \xff\r\nContent-Type: \xfe\r\nContent-Length: 0\r\n\r\n"
    ) as at:
        url = f"http://{at}/"
        async with transport.get(url, verify=False, headers={}, authorization=None) as response:
            assert response.header("content-type").encode() == "\ufffd".encode()
            assert response.reason.encode() == "\ufffd".encode()


async def test_a_registry_that_says_nothing_is_given_up(
    transport: Transport, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_read=0.05))
    silent = asyncio.Event()
    registry.always["/head"] = lambda _request: Answer(hold_head=silent)
    registry.always["/body"] = lambda _request: Answer(body=b"late", hold=silent)
    for path in ("/head", "/body"):
        assert await refusal(transport, f"http://{registry.address}{path}") == (
            f'Get "http://{registry.address}{path}": net/http: request canceled '
            "(Client.Timeout exceeded while awaiting headers)"
        )


async def test_a_name_that_is_looked_up_for_ever_is_given_up(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_arguments: object, **_options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    assert await refusal(transport, "http://slow.invalid/") == (
        'Get "http://slow.invalid/": dial tcp slow.invalid:80: i/o timeout'
    )


async def test_a_registry_that_takes_nothing_is_given_up(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(RegistryUnavailable, match="request canceled"):
            await put(transport, address, zeros(64), 64 << 20)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT", "WRITE_TIMEOUT"):
        monkeypatch.setattr(module, name, 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answers",
    [
        (CHUNKED, b"ZZZ\r\n"),
        (CHUNKED, b"0\r\nX: " + b"x" * (64 << 10)),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
    ],
    ids=["bad chunk", "endless trailer", "hints", "continue"],
)
async def test_an_answer_that_never_comes_to_its_end_is_given_up(
    transport: Transport, answers: tuple[bytes, ...]
) -> None:
    async with asyncio.timeout(60), server(*answers, then=Then.STAY) as address:
        await refusal(transport, f"http://{address}/x")


@pytest.mark.usefixtures("impatient")
async def test_a_proxy_that_is_silent_is_given_up() -> None:
    async with asyncio.timeout(60), server(then=Then.STAY) as address:
        transport = Transport(proxies=Proxies(https=f"http://{address}"))
        try:
            await refusal(transport, "https://registry.invalid/v2/")
        finally:
            await transport.close()


@pytest.mark.usefixtures("impatient")
async def test_an_upload_whose_refusal_stalls_is_given_up(transport: Transport) -> None:
    early = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n"
    async with asyncio.timeout(60), server(early, then=Then.STAY) as address:
        headers = {"Content-Length": str(64 << 20)}
        with pytest.raises(RegistryUnavailable):
            async with transport.send(
                "PUT", f"http://{address}/x", verify=False, headers=headers, content=zeros(64)
            ) as response:
                assert response.status == 403
                await read_limited(response, 1 << 20)


@pytest.mark.usefixtures("impatient")
async def test_bytes_that_nobody_takes_are_given_up(transport: Transport) -> None:
    async with asyncio.timeout(60), server(deaf=True, then=Then.STAY) as address:
        with pytest.raises(RegistryUnavailable):
            async with transport.send(
                "PUT", f"http://{address}/x", verify=False, headers={}, content=bytes(32 << 20)
            ):
                pass


async def test_a_body_of_bytes_has_its_length(transport: Transport, registry: FakeRegistry) -> None:
    registry.always["/x"] = lambda _request: Answer(201)
    body = bytes(range(256)) * 1000
    async with transport.send(
        "PUT", f"http://{registry.address}/x", verify=False, headers={}, content=body
    ) as response:
        assert response.status == 201
    (request,) = registry.requests
    assert request.headers["content-length"] == str(len(body))
    assert "transfer-encoding" not in request.headers
    assert request.body == body


async def test_a_reset_is_no_end_of_a_body(transport: Transport) -> None:
    async with server(OK + b"\r\n", b"some", then=Then.RESET) as address:
        await refusal(transport, f"http://{address}/x")
    async with server(OK + b"\r\nall of it") as address:
        assert await fetch(transport, f"http://{address}/x") == b"all of it"


async def test_an_upload_that_is_refused_at_once_is_told(transport: Transport) -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    async with server(answer) as address:
        assert await put(transport, address, zeros(1), 1 << 20) == 403


async def test_an_upload_that_can_not_be_read_fails(
    transport: Transport, registry: FakeRegistry
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise RuntimeError

    with pytest.raises(RegistryUnavailable):
        await put(transport, registry.address, broken(), 100)
