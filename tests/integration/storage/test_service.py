"""The storage service, from a real registry to disks that QEMU and e2fsck accept."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vic.storage.v1 import disk_pb2, image_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Reason,
    Unauthenticated,
    domain_errors,
)
from tests.images import (
    Compression,
    Image,
    Layer,
    Registry,
    busybox_image,
    file,
    make_tar,
    multi_layer_image,
    whiteout_image,
    write_oci_layout,
)
from tests.integration.storage.service import (
    UID,
    Service,
    run,
    storage_service,
)

ID = "cafe" * 16
HTPASSWD = "me:$2b$04$jVICzRRKoOOx9YDcJrpFt.9OE.gBck0OQSE8hiKAvZJ95.a3jeeLa\n"  # "secret"


def check_disks(chain: list[str], work: Path) -> Path:
    """Have every file of a chain checked; returns the topmost as a raw image."""
    for path in chain:
        run("qemu-img", "check", path)
    info = json.loads(run("qemu-img", "info", "--backing-chain", "--output=json", chain[0]))
    named = [os.path.realpath(entry["filename"]) for entry in info]
    assert named == [os.path.realpath(path) for path in chain]
    raw = work / "disk.raw"
    run("qemu-img", "convert", "-O", "raw", chain[0], str(raw))
    run("e2fsck", "-fn", str(raw))
    return raw


def read_file(raw: Path, path: str) -> bytes:
    """A file's content, as debugfs reads it."""
    found = subprocess.run(
        ["debugfs", "-R", f"cat {path}", str(raw)], check=True, capture_output=True
    )
    assert b"File not found" not in found.stderr, path
    return found.stdout


def names(raw: Path, path: str) -> set[str]:
    """A directory's entries, as debugfs lists them."""
    listed = run("debugfs", "-R", f"ls -p {path}", str(raw)).decode().splitlines()
    entries = {line.split("/")[5] for line in listed if line.startswith("/")}
    return entries - {".", "..", ""}


async def test_an_image_with_whiteouts_becomes_a_sound_chain(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    image = whiteout_image()
    reference = registry.push(image, "whiteouts")
    pull = await service.pull(reference)
    assert (pull.result.digest, pull.result.image_id) == (image.digest, image.id)
    assert pull.result.downloaded
    assert pull.result.canonical_reference == reference
    disk = await service.disk(reference, ID)
    assert disk.chain_id == image.chain_ids[-1]
    assert len(disk.chain) == len(image.layers) + 2
    raw = check_disks(list(disk.chain), tmp_path)
    assert names(raw, "/data") == {"keep", "reborn", "opaque", "swapped", "link"}
    assert names(raw, "/data/opaque") == {"after"}
    assert read_file(raw, "/data/reborn") == b"new\n"
    assert read_file(raw, "/data/swapped") == b"a file now\n"
    assert read_file(raw, "/bin/busybox") == Path("/bin/busybox").read_bytes()


async def test_progress_and_a_second_pull(service: Service, registry: Registry) -> None:
    image = multi_layer_image(4)
    reference = registry.push(image, "library/progress", "v1")
    pull = await service.pull(reference)
    first = pull.lines[0]
    assert (first.id, first.text) == ("v1", "library/progress")
    assert first.status == image_pb2.PROGRESS_STATUS_PULLING_FROM
    counts = Counter(line.status for line in pull.lines)
    assert counts[image_pb2.PROGRESS_STATUS_PULLING_LAYER] == 4
    assert counts[image_pb2.PROGRESS_STATUS_PULL_COMPLETE] == 4
    again = await service.pull(reference)
    assert not again.result.downloaded
    assert len(again.lines) == 1


async def test_an_image_is_described_listed_tagged_and_removed(
    service: Service, registry: Registry
) -> None:
    config = {"Cmd": ["sh"], "Env": ["A=b"], "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}}
    image = busybox_image(config=config)
    reference = registry.push(image, "described")
    await service.pull(reference)
    got = (
        await service.images.Get(image_pb2.ImageServiceGetRequest(reference=image.id[7:19]))
    ).image
    assert (got.id, got.os, got.architecture) == (image.id, "linux", "amd64")
    ours = image_pb2.ImageServiceGetRequest(reference=image.id, platform="linux/amd64")
    assert (await service.images.Get(ours)).image == got
    with pytest.raises(NotFound, match=r"\(linux/amd64\) does not match"):
        await service.images.Get(
            image_pb2.ImageServiceGetRequest(reference=image.id, platform="linux/arm64")
        )
    assert list(got.repository_tags) == [reference]
    assert list(got.repository_digests) == [f"{reference.rpartition(':')[0]}@{image.digest}"]
    assert list(got.diff_ids) == [image.layers[0].diff_id]
    assert (list(got.config.command), dict(got.config.labels)) == (["sh"], {"k": "v"})
    assert list(got.config.exposed_ports) == ["80/tcp"]
    assert got.size_bytes == len(image.layers[0].tar)
    await service.images.Tag(image_pb2.TagRequest(source=reference, target="mine"))
    listed = (await service.images.List(image_pb2.ImageServiceListRequest())).images
    assert list(listed[0].image.repository_tags) == [reference, "mine:latest"]
    history = await service.images.History(image_pb2.HistoryRequest(reference="mine"))
    assert history.entries[0].created_by == "layer 0"
    usage = await service.images.DiskUsage(image_pb2.DiskUsageRequest())
    assert usage.layers_bytes == got.size_bytes
    removed = await service.images.Remove(
        image_pb2.ImageServiceRemoveRequest(reference=image.id, force=True)
    )
    assert [entry.WhichOneof("kind") for entry in removed.removed].count("untagged") == 3
    assert service.files() == []


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_what_skopeo_pushed_comes_back_unharmed(
    service: Service, registry: Registry, tmp_path: Path, compression: Compression
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    base = busybox_image(flavour="oci")
    layers = tuple(replace(layer, compression=compression) for layer in base.layers)
    image = replace(base, layers=layers)
    layout = write_oci_layout(image, tmp_path / "layout")
    reference = f"{registry.address}/skopeo-{compression}:latest"
    run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--preserve-digests",
        f"oci:{layout}:latest", f"docker://{reference}")  # fmt: skip
    pull = await service.pull(reference)
    assert (pull.result.digest, pull.result.image_id) == (image.digest, image.id)
    disk = await service.disk(reference, ID)
    raw = check_disks(list(disk.chain), tmp_path)
    assert read_file(raw, "/etc/hostname") == b"image\n"


async def test_an_index_gives_this_machines_image(service: Service, registry: Registry) -> None:
    image = busybox_image(flavour="oci")
    reference, digest = registry.push_index([replace(image, architecture="arm64"), image], "index")
    pull = await service.pull(reference)
    assert (pull.result.digest, pull.result.image_id) == (digest, image.id)


async def test_many_pulls_at_once_all_end_well(service: Service, registry: Registry) -> None:
    images = [multi_layer_image(count, flavour="oci") for count in (2, 3, 5)]
    references = [registry.push(image, f"many/{n}") for n, image in enumerate(images)]
    pulls = await asyncio.gather(*(service.pull(name) for name in references * 7))
    assert {pull.result.image_id for pull in pulls} == {image.id for image in images}
    layers = service.state / "images" / "layers"
    assert len(list(layers.rglob("*.json"))) == 5


async def test_a_long_chain(service: Service, registry: Registry, tmp_path: Path) -> None:
    layers = tuple(Layer(make_tar([file("top", f"{n}\n"), file(f"n{n}")])) for n in range(127))
    image = Image(layers)
    reference = registry.push(image, "long")
    await service.pull(reference)
    disk = await service.disk(reference, ID)
    assert len(disk.chain) == 129
    raw = check_disks(list(disk.chain), tmp_path)
    assert read_file(raw, "/top") == b"126\n"


async def test_passwords(service: Service) -> None:
    image = busybox_image()
    with Registry(htpasswd=HTPASSWD) as locked:
        reference = locked.push(image, "locked", login=("me", "secret"))
        with pytest.raises(Unauthenticated, match="no basic auth credentials"):
            await service.pull(reference)
        with pytest.raises(Unauthenticated) as refused:
            await service.pull(reference, username="me", password="wrong-one")
        assert refused.value.reason is Reason.REGISTRY_UNAUTHORIZED
        assert "wrong-one" not in refused.value.message
        pull = await service.pull(reference, username="me", password="secret")
    assert pull.result.image_id == image.id


async def test_a_mirror_serves_docker_hubs_names(registry: Registry) -> None:
    image = busybox_image()
    registry.push(image, "library/mirrored")
    async with storage_service(registry_mirrors=[f"http://{registry.address}"]) as service:
        pull = await service.pull("mirrored")
        assert pull.result.canonical_reference == "docker.io/library/mirrored:latest"
        got = await service.images.Get(image_pb2.ImageServiceGetRequest(reference="mirrored"))
        assert list(got.image.repository_tags) == ["mirrored:latest"]


async def push(service: Service, reference: str, **more: Any) -> list[image_pb2.PushResponse]:
    with domain_errors():
        return [
            message
            async for message in service.images.Push(
                image_pb2.PushRequest(reference=reference, **more)
            )
        ]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_a_push_keeps_digests_and_sends_only_what_is_missing(
    service: Service, registry: Registry, compression: Compression
) -> None:
    base = multi_layer_image(3, flavour="oci")
    image = replace(
        base, layers=tuple(replace(layer, compression=compression) for layer in base.layers)
    )
    source = registry.push(image, f"push-from/{compression}")
    await service.pull(source)
    with Registry() as other:
        for address, status in (
            (other.address, image_pb2.PROGRESS_STATUS_PUSHED),
            (registry.address, image_pb2.PROGRESS_STATUS_MOUNTED),
            (registry.address, image_pb2.PROGRESS_STATUS_LAYER_EXISTS),
        ):
            target = f"{address}/pushed/{compression}:new"
            await service.images.Tag(image_pb2.TagRequest(source=image.id, target=target))
            told = await push(service, target)
            counts = Counter(message.progress.status for message in told)
            assert counts[status] == 3
            result = told[-1].result
            assert (result.tag, result.digest) == ("new", image.digest)
        await service.images.Remove(
            image_pb2.ImageServiceRemoveRequest(reference=image.id, force=True)
        )
        pull = await service.pull(f"{other.address}/pushed/{compression}:new")
        assert (pull.result.digest, pull.result.image_id) == (image.digest, image.id)


async def test_a_push_needs_a_password_where_the_registry_wants_one(
    service: Service, registry: Registry
) -> None:
    image = busybox_image()
    await service.pull(registry.push(image, "push-locked"))
    with Registry(htpasswd=HTPASSWD) as locked:
        target = f"{locked.address}/mine:1"
        await service.images.Tag(image_pb2.TagRequest(source=image.id, target=target))
        with pytest.raises(Unauthenticated, match="no basic auth credentials"):
            await push(service, target)
        good = image_pb2.RegistryCredentials(username="me", password="secret")
        told = await push(service, target, credentials=good)
        assert told[-1].result.digest == image.digest


async def test_a_disks_life(service: Service, registry: Registry) -> None:
    image = multi_layer_image(2)
    reference = registry.push(image, "disks")
    await service.pull(reference)
    disk = await service.disk(reference, ID)
    assert await service.disk(reference, ID) == disk
    with pytest.raises(AlreadyExists):
        await service.disk(reference, ID, b"other")
    await service.disks.PutSpecification(
        disk_pb2.PutSpecificationRequest(container_id=ID, specification=b"newer")
    )
    with pytest.raises(FailedPrecondition) as refused:
        await service.images.Remove(image_pb2.ImageServiceRemoveRequest(reference=reference))
    assert refused.value.reason is Reason.IMAGE_IN_USE
    # Killed and started again it knows all of it.
    await service.stop(signal.SIGKILL)
    await service.start()
    (listed,) = (await service.disks.List(disk_pb2.DiskServiceListRequest())).disks
    assert listed.specification == b"newer"
    assert (listed.container_id, listed.image_id) == (ID, image.id)
    got = await service.disks.Get(disk_pb2.DiskServiceGetRequest(container_id=ID))
    assert list(got.disk.chain) == list(disk.chain)
    for asked, told in (([ID], [ID]), (["0" * 64], [])):
        only = image_pb2.DiskUsageRequest(containers_only=True, container_ids=asked)
        usage = await service.images.DiskUsage(only)
        assert [entry.container_id for entry in usage.containers] == told
        assert not usage.images
    for _ in range(2):
        await service.disks.Remove(disk_pb2.DiskServiceRemoveRequest(container_id=ID))
    with pytest.raises(NotFound):
        await service.disks.Get(disk_pb2.DiskServiceGetRequest(container_id=ID))
    await service.images.Remove(image_pb2.ImageServiceRemoveRequest(reference=reference))
    assert service.files() == []


async def test_all_tags_of_a_repository_are_pulled(service: Service, registry: Registry) -> None:
    tags = {"one": multi_layer_image(2), "two": multi_layer_image(3)}
    for tag, image in tags.items():
        reference = registry.push(image, "every", tag)
    name = reference.rpartition(":")[0]
    request = image_pb2.PullRequest(reference=name, all_tags=True)
    results = [m.result async for m in service.images.Pull(request) if m.HasField("result")]
    assert {r.canonical_reference: r.image_id for r in results} == {
        f"{name}:{tag}": image.id for tag, image in tags.items()
    }


async def test_it_needs_no_privilege_and_ends_at_once(service: Service, registry: Registry) -> None:
    await service.pull(registry.push(busybox_image(), "plain"))
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    assert children  # the worker that compiled it, kept for the next
    if os.geteuid() == 0:
        for pid in (service.pid, *children):
            status = Path(f"/proc/{pid}/status").read_text()
            assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in status
            assert "CapEff:\t0000000000000000\n" in status
    assert await service.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
