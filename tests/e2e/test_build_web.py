"""What `docker build` fetches from the web, from a server beside the suite."""

import gzip
import hashlib
import http.server
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

# Of the range for tests of networks (RFC 2544): an address of this host that isn't loopback's own.
ADDRESS = f"198.18.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
BIG = bytes(range(256)) * 4096 * 8


class _Pages(http.server.BaseHTTPRequestHandler):
    """Serves what the test has put up."""

    pages: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.pages.get(self.path)
        if body is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_said: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server's URL and what it serves, by path."""
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        found: dict[str, bytes] = {}
        handler = type("Handler", (_Pages,), {"pages": found})
        with http.server.ThreadingHTTPServer((ADDRESS, 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://{ADDRESS}:{server.server_port}", found
            finally:
                server.shutdown()
                thread.join()
    finally:
        subprocess.run(["ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo"], check=True)


def test_a_build_adds_what_it_fetches(
    suite: Suite, image: str, pages: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    url, served = pages
    served["/some/big%20file"] = BIG
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image}\nADD --chown=nobody:1 {url}/some/big%20file /to/\nCMD sha256sum /to/big*\n"
    )
    built = suite.build(tmp_path, "-t", "fetched")
    assert built.returncode == 0, built.stderr
    assert suite.ok("run", "--rm", "fetched").split()[0] == hashlib.sha256(BIG).hexdigest()
    stat = ("stat", "-c", "%a %u %Y %n", "/to/big file")
    assert suite.ok("run", "--rm", "fetched", *stat) == "600 65534 784903526 /to/big file"
    assert " ---> Using cache" in suite.build(tmp_path).stdout
    served["/some/big%20file"] = BIG[1:]
    assert " ---> Using cache" not in suite.build(tmp_path).stdout

    for source, why in (
        (f"{url}/nothing", "with status 404 Not Found"),
        (url.replace(ADDRESS, "127.0.0.1"), "builds don't reach the host's loopback"),
        (url.replace(ADDRESS, "localhost"), "builds don't reach the host's loopback"),
        (f"http://{_management(suite)}:7443/", "builds don't reach the networks of containers"),
    ):
        (tmp_path / "Dockerfile").write_text(f"FROM {image}\nADD {source} /x\n")
        refused = suite.build(tmp_path)
        assert refused.returncode == 1
        assert why in refused.stderr
    suite.ok("rmi", "fetched")


def _management(suite: Suite) -> str:
    """The address at which tethers reach the suite."""
    slot = suite.status()["slot"]
    return f"100.{112 + slot // 16}.{slot % 16 * 16}.1"


def test_a_client_names_a_context_on_the_web(
    suite: Suite, image: str, pages: tuple[str, dict[str, bytes]]
) -> None:
    url, served = pages
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in (("Dockerfile", f"FROM {image}\nCOPY a /x\n"), ("a", "fetched")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    served["/context"] = gzip.compress(packed.getvalue())
    served["/dockerfile"] = f"FROM {image}\nENV HERE=there\n".encode()
    client = docker.from_env(environment={"DOCKER_HOST": suite.endpoint})
    try:
        built, _ = client.images.build(path=f"{url}/context", tag="far:tar")
        assert suite.ok("run", "--rm", "far:tar", "cat", "/x") == "fetched"
        text, _ = client.images.build(path=f"{url}/dockerfile", tag="far:text")
        assert "HERE=there" in text.attrs["Config"]["Env"]
        assert built.id != text.id
        with pytest.raises(docker.errors.APIError, match="clone it and send the directory"):
            client.images.build(path=f"{url}/x.git")
    finally:
        client.close()
    suite.ok("rmi", "far:tar", "far:text")
