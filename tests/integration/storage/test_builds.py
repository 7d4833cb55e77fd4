"""Builds whose steps need no VM, by the gateway's builder against the real storage service."""

import io
import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from gateway.app import build_app
from gateway.facets import Facets
from gateway.origins import OriginPolicy
from tests.images import Registry, busybox_image, directory, make_tar, symlink
from tests.integration.storage.service import Service, run
from tests.integration.storage.test_service import ID, check_disks, names, read_file
from tests.unit.gateway.web_server import Page, web_server


async def build(service: Service, dockerfile: str, **files: str) -> str:
    """Build with a Dockerfile and some files; the tag is `built`. Returns what is told."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            header = tarfile.TarInfo(name)
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text.encode()))
    facets: Any = SimpleNamespace(images=service.images, interaction=None)
    transport = httpx.ASGITransport(app=build_app(cast(Facets, facets), OriginPolicy(), "1"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/build?t=built", content=packed.getvalue())
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return "".join(line.get("stream", "") + line.get("error", "") for line in lines)


async def test_files_are_copied_by_the_compiler_where_the_images_links_lead(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    base = registry.push(busybox_image(), "base")
    await service.pull(base)
    linked = await service.commit(
        make_tar([directory("srv/real"), symlink("srv/link", "../../../srv/real")]), parent=base
    )
    dockerfile = (
        f"FROM {linked} AS one\nENV A=1\nWORKDIR /made/here\n"
        "COPY --chown=nobody:nogroup a /srv/link/\n"
        f"COPY a *.txt b/\nFROM {base}\nCOPY --from=one /srv/link/ /made/here/b/[a-c] /out/\n"
        'COPY --from=0 /etc/passwd /etc/link-to-be\nCMD ["x"]\n'
    )
    told = await build(service, dockerfile, a="of a", **{"b.txt": "of b"})
    assert "Successfully tagged built:latest" in told, told
    assert "Using cache" not in told
    assert (await build(service, dockerfile, a="of a", **{"b.txt": "of b"})).count("Using") == 7
    raw = check_disks(list((await service.disk("built", ID)).chain), tmp_path)
    assert sorted(names(raw, "/out")) == ["a"]
    assert read_file(raw, "/out/a") == b"of a"
    image = await service.image("built")
    assert list(image.config.command) == ["x"]
    parent = await service.image(image.parent_id)
    assert parent.diff_ids == image.diff_ids


async def test_an_image_begins_with_nothing(service: Service, tmp_path: Path) -> None:
    told = await build(service, "FROM scratch\nLABEL l=1\nADD a /deep/er/\nWORKDIR /w\n", a="1")
    assert "Successfully built" in told, told
    raw = check_disks(list((await service.disk("built", ID)).chain), tmp_path)
    assert sorted(names(raw, "/")) == ["deep", "w"]
    assert read_file(raw, "/deep/er/a") == b"1"
    assert dict((await service.image("built")).config.labels) == {"l": "1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives this host an address")
async def test_a_file_comes_from_the_web(service: Service, address: str, tmp_path: Path) -> None:
    async with web_server(address) as web:
        headers = {"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}
        web.pages["/some%20file"] = Page(b"fetched", headers=headers)
        told = await build(service, f"FROM scratch\nADD {web.url}/some%20file /to/\n")
        assert "Successfully built" in told, told
        here = web.url.replace(address, "localhost")
        told = await build(service, f"FROM scratch\nADD {here}/some%20file /to/\n")
        assert "builds don't reach the host's loopback" in told
    raw = check_disks(list((await service.disk("built", ID)).chain), tmp_path)
    assert read_file(raw, '"/to/some file"') == b"fetched"
    stat = run("debugfs", "-R", 'stat "/to/some file"', str(raw)).decode()
    assert "Mode:  0600" in stat
    assert "User:     0   Group:     0" in stat
    assert f"mtime: 0x{784903526:08x}" in stat
