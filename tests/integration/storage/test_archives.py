"""Save, load, import and commit, with skopeo as the other side."""

import asyncio
import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zstandard
from vic.storage.v1 import image_pb2

from portlayer.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    VicError,
    domain_errors,
)
from tests.images import (
    Image,
    Layer,
    Registry,
    busybox_image,
    directory,
    file,
    make_tar,
    multi_layer_image,
    whiteout,
    whiteout_image,
)
from tests.integration.storage.service import Service, storage_service
from tests.integration.storage.test_service import ID, check_disks, names, read_file
from tests.unit.gateway.web_server import Page, web_server


def skopeo(*words: str) -> str:
    """Run skopeo, which must end well."""
    command = ["skopeo", "--insecure-policy", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def loaded(answers: list[image_pb2.LoadResponse]) -> list[tuple[str, str]]:
    """References and IDs of what was loaded."""
    ends = [answer.loaded for answer in answers if answer.HasField("loaded")]
    return [(end.reference, end.image_id) for end in ends]


async def test_what_is_saved_skopeo_reads_and_another_store_loads_unchanged(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    oci, docker = whiteout_image(flavour="oci"), multi_layer_image(3)
    first, second = registry.push(oci, "saved/oci"), registry.push(docker, "saved/docker")
    for reference in (first, second):
        await service.pull(reference)
    archive = await service.save(first, second, into=tmp_path / "both.tar")
    assert (
        archive.read_bytes()
        == (await service.save(first, second, into=tmp_path / "again.tar")).read_bytes()
    )
    for reference, image in ((first, oci), (second, docker)):
        target = f"docker://{registry.address}/copied/{image.flavour}:latest"
        flags = ("--dest-tls-verify=false", "--preserve-digests")
        alone = await service.save(reference, into=tmp_path / f"{image.flavour}.tar")
        skopeo("copy", *flags, f"oci-archive:{alone}", target)
        told = json.loads(skopeo("inspect", "--tls-verify=false", target))
        assert told["Digest"] == image.digest
        inspected = skopeo("inspect", "--config", f"docker-archive:{archive}:{reference}")
        diff_ids = json.loads(inspected)["rootfs"]["diff_ids"]
        assert diff_ids == [layer.diff_id for layer in image.layers]
    async with storage_service() as other:
        answers = await other.load(archive)
        assert loaded(answers) == [(first, oci.id), (second, docker.id)]
        lines = [answer.progress for answer in answers if answer.HasField("progress")]
        assert {line.status for line in lines} == {image_pb2.PROGRESS_STATUS_LOADING_LAYER}
        shorts = {layer.diff_id[7:19] for image in (oci, docker) for layer in image.layers}
        assert {line.id for line in lines} == shorts
        assert loaded(await other.load(archive)) == loaded(answers)
        assert (
            await other.save(first, second, into=tmp_path / "other.tar")
        ).read_bytes() == archive.read_bytes()
        raw = check_disks(list((await other.disk(first, ID)).chain), tmp_path)
        assert read_file(raw, "/data/reborn") == b"new\n"
        tag = image_pb2.TagRequest(source=first, target=f"{registry.address}/repushed")
        await other.images.Tag(tag)
        push = image_pb2.PushRequest(reference=tag.target)
        results = [m.result async for m in other.images.Push(push) if m.HasField("result")]
        assert [result.digest for result in results] == [oci.digest]


COMPRESSIONS: list[Callable[[bytes], bytes]] = [
    gzip.compress,
    zstandard.ZstdCompressor().compress,
    bz2.compress,
    lzma.compress,
]


async def test_archives_of_skopeo_are_loaded_however_compressed(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    image = multi_layer_image(2)
    source = f"docker://{registry.push(image, 'from/skopeo')}"
    plain = tmp_path / "plain.tar"
    skopeo("copy", "--src-tls-verify=false", source, f"docker-archive:{plain}:mine:one")
    assert loaded(await service.load(plain)) == [("mine:one", image.id)]
    packed = tmp_path / "packed"
    for compress in COMPRESSIONS:
        packed.write_bytes(compress(plain.read_bytes()))
        assert loaded(await service.load(packed)) == [("mine:one", image.id)]
    layout = tmp_path / "layout.tar"
    skopeo("copy", "--src-tls-verify=false", source, f"oci-archive:{layout}:oci/name:two")
    assert [name for name, _ in loaded(await service.load(layout))] == ["oci/name:two"]
    nameless = tmp_path / "nameless.tar"
    skopeo("copy", "--src-tls-verify=false", source, f"oci-archive:{nameless}")
    assert [name for name, _ in loaded(await service.load(nameless))] == [""]


async def test_of_several_platforms_the_hosts_is_loaded(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    here = Image((Layer(make_tar([file("x", "amd")])),))
    there = Image((Layer(make_tar([file("x", "arm")])),), architecture="arm64")
    source = f"docker://{registry.push_index([there, here], 'several')[0]}"
    archive = tmp_path / "all.tar"
    flags = ("--all", "--src-tls-verify=false")
    skopeo("copy", *flags, source, f"oci-archive:{archive}:several:both")
    assert loaded(await service.load(archive)) == [("several:both", here.id)]


async def test_a_name_that_another_image_had_is_told(service: Service, tmp_path: Path) -> None:
    one = await service.import_tar(make_tar([file("a", "1")]), reference="moving")
    archive = await service.save("moving", into=tmp_path / "a.tar")
    other = await service.import_tar(make_tar([file("a", "2")]), reference="moving")
    answers = await service.load(archive)
    (end,) = [answer.loaded for answer in answers if answer.HasField("loaded")]
    assert (end.image_id, end.replaced_image_id) == (one, other)
    assert not (await service.image(other)).repository_tags


def oci_archive(image: Image, **changed: bytes) -> bytes:
    """An archive of an image, members replaced by what is given."""
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": len(image.manifest_bytes),
            }
        ],
    }
    contents = {
        "index.json": json.dumps(index).encode(),
        f"blobs/sha256/{image.id[7:]}": image.config_bytes,
        f"blobs/sha256/{image.digest[7:]}": image.manifest_bytes,
        **{f"blobs/sha256/{layer.digest[7:]}": layer.blob for layer in image.layers},
        **changed,
    }
    return make_tar([file(name, content) for name, content in contents.items()])


async def test_hostile_and_broken_archives_are_refused_and_leave_nothing(
    service: Service, tmp_path: Path
) -> None:
    small = Image((Layer(make_tar([file("x", "x")])),))
    good = tmp_path / "good.tar"
    good.write_bytes(oci_archive(small))
    blob = f"blobs/sha256/{small.layers[0].digest[7:]}"
    docker = [{"Config": "/etc/passwd", "Layers": ["../../etc/shadow"], "RepoTags": ["x:1"]}]
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w") as tar:
        for name in ("manifest.json", "../../../../tmp/escaped"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    bad: dict[str, bytes] = {
        "empty": b"",
        "no tar": b"nonsense" * 1000,
        "without an index": make_tar([file("x", "x")]),
        "cut": good.read_bytes()[: 5 * 512],
        "cut gzip": gzip.compress(good.read_bytes())[:-20],
        "another blob": oci_archive(small, **{blob: gzip.compress(b"another")}),
        "another manifest": oci_archive(small, **{f"blobs/sha256/{small.digest[7:]}": b"{}"}),
        "no layers": make_tar([file("index.json", '{"schemaVersion":2,"manifests":[{}]}')]),
        "paths of the host": make_tar([file("manifest.json", json.dumps(docker))]),
        "links out": links.getvalue(),
        "a huge index": make_tar([file("index.json", b" " * (5 << 20))]),
        "no list": make_tar([file("manifest.json", '{"Config": 1}')]),
        "a bad name": make_tar(
            [file("manifest.json", json.dumps([{"Config": "c", "RepoTags": ["UPPER"]}]))]
        ),
    }
    before = service.files()
    for why, content in bad.items():
        archive = tmp_path / "bad.tar"
        archive.write_bytes(content)
        with pytest.raises(VicError) as refused:
            await service.load(archive)
        assert isinstance(refused.value, InvalidArgument | DataLoss), (why, refused.value)
        assert service.files() == before, why
    assert loaded(await service.load(good)) == [("", small.id)]


async def test_a_root_file_system_becomes_an_image(service: Service, tmp_path: Path) -> None:
    tar = make_tar([directory("etc"), file("etc/made", "here\n")])
    changes = [
        'SHELL ["/bin/ash", "-c"]',
        "CMD echo $HOME",
        "ENV A=b C=d",
        "EXPOSE 80",
        "LABEL k=v",
        "WORKDIR /w",
    ]
    image_id = await service.import_tar(
        gzip.compress(tar), reference="imported", message="why", changes=changes
    )
    image = await service.image("imported")
    assert (image.id, image.comment, image.os) == (image_id, "why", "linux")
    assert list(image.config.command) == ["/bin/ash", "-c", "echo $HOME"]
    assert list(image.config.env) == ["A=b", "C=d"]
    assert (image.config.working_directory, dict(image.config.labels)) == ("/w", {"k": "v"})
    raw = check_disks(list((await service.disk("imported", ID)).chain), tmp_path)
    assert read_file(raw, "/etc/made") == b"here\n"
    before = service.files()
    for start, content in (
        ({"changes": ["FROM x"]}, tar),
        ({"reference": "x@sha256:" + "0" * 64}, tar),
        ({}, tar[:700]),
        ({}, b"nonsense" * 1000),
        ({"source_url": "file:///etc/passwd"}, b""),
    ):
        with pytest.raises(InvalidArgument):
            await service.import_tar(content, **start)
    for host in ("127.0.0.1:1", "localhost", "[::1]", "169.254.169.254"):
        with pytest.raises(PermissionDenied, match="imports don't reach") as refused:
            await service.import_tar(b"", source_url=f"http://{host}/x.tar")
        assert refused.value.reason is Reason.ADDRESS_NOT_ALLOWED
    assert service.files() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives this host an address")
async def test_a_root_file_system_comes_from_a_url(service: Service, address: str) -> None:
    tar = make_tar([file("x", "x")])
    async with web_server(address) as web:
        url = f"{web.url}/x.tar"
        web.pages["/x.tar"] = Page(tar)
        image = await service.image(await service.import_tar(b"", source_url=url))
        here = url.replace(address, "127.0.0.1")
        web.pages["/moved"] = Page(b"", "302 Found", {"Location": here})
        with pytest.raises(PermissionDenied, match=r"imports don't reach the host's loopback"):
            await service.import_tar(b"", source_url=f"{web.url}/moved")
        with pytest.raises(NotFound):
            await service.import_tar(b"", source_url=f"{web.url}/nothing")
    assert image.comment == f"Imported from {url}"
    assert image.size_bytes == len(tar)


async def test_a_layer_is_committed_on_an_image(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    parent = busybox_image(config={"Env": ["A=b"]})
    reference = registry.push(parent, "parent")
    await service.pull(reference)
    layer = make_tar([file("new", "new\n"), whiteout("etc/hostname")])
    image_id = await service.commit(
        layer,
        parent=reference,
        reference="committed:one",
        author="me",
        message="because",
        created_by="sh",
        changes=["CMD new"],
        container_id=ID,
        container_config='{"Image": "parent"}',
    )
    image = await service.image("committed:one")
    assert (image.id, image.author, image.comment) == (image_id, "me", "because")
    assert (image.container_id, image.container_config) == (ID, '{"Image": "parent"}')
    assert list(image.config.env) == ["A=b"]
    assert len(image.diff_ids) == 2
    assert image.parent_id == parent.id
    history = await service.images.History(image_pb2.HistoryRequest(reference="committed:one"))
    steps = [(entry.created_by, entry.image_id) for entry in history.entries]
    assert steps == [("sh", image_id), ("layer 0", parent.id)]
    assert [list(entry.repository_tags) for entry in history.entries] == [
        ["committed:one"],
        [reference],
    ]
    raw = check_disks(list((await service.disk("committed:one", ID)).chain), tmp_path)
    assert read_file(raw, "/new") == b"new\n"
    assert "hostname" not in names(raw, "/etc")
    without_layer = await service.commit(make_tar([]), parent=image_id)
    assert len((await service.image(without_layer)).diff_ids) == 2
    with pytest.raises(NotFound):
        await service.commit(layer, parent="nosuch")
    with pytest.raises(InvalidArgument, match="isn't a JSON object"):
        await service.commit(layer, container_config="[]")
    with pytest.raises(InvalidArgument):
        await service.commit(b"nonsense" * 200, parent=reference)


async def test_what_ends_without_saying_that_it_is_whole_leaves_nothing(
    service: Service, tmp_path: Path
) -> None:
    # Each is a whole archive by itself: how a stream that is broken off at a member looks.
    small = Image((Layer(make_tar([file("x", "x")])),))
    archive = tmp_path / "whole.tar"
    archive.write_bytes(oci_archive(small))
    tar = make_tar([file("new", "new\n")])
    parent = await service.import_tar(tar)
    before = service.files()
    for broken_off in (
        lambda: service.load(archive, complete=False),
        lambda: service.import_tar(tar, complete=False),
        lambda: service.import_tar(b"", complete=False),
        lambda: service.commit(tar, complete=False, parent=parent),
    ):
        with pytest.raises(InvalidArgument, match="not all of the archive"):
            await broken_off()
        assert service.files() == before
    assert loaded(await service.load(archive)) == [("", small.id)]


async def test_a_load_that_is_given_up_or_killed_leaves_nothing(
    service: Service, tmp_path: Path
) -> None:
    noise = Image((Layer(make_tar([file("noise", bytes(range(256)) * 20_000)])),))
    archive = oci_archive(noise)
    (tmp_path / "whole.tar").write_bytes(archive)
    before = service.files()

    async def load_half(halfway: asyncio.Event, over: asyncio.Event) -> None:
        async def requests() -> AsyncIterator[image_pb2.LoadRequest]:
            yield image_pb2.LoadRequest(start=image_pb2.LoadStart())
            yield image_pb2.LoadRequest(data=archive[: len(archive) // 2])
            halfway.set()
            await over.wait()

        with domain_errors():
            async for _answer in service.images.Load(requests()):
                pass

    for killed in (False, True):
        halfway = asyncio.Event()
        task = asyncio.create_task(load_half(halfway, asyncio.Event()))
        await asyncio.wait_for(halfway.wait(), 60)
        if killed:
            await service.stop(9)
            await service.start()
        task.cancel()
        await asyncio.wait([task])
        await service.stop()  # waits for what is going on
        assert service.files() == before
        await service.start()
    assert loaded(await service.load(tmp_path / "whole.tar")) == [("", noise.id)]
