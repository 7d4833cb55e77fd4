"""What the storage service leaves of work that fails, is broken off or refused: nothing."""

import os
import signal

import pytest
from vic.storage.v1 import image_pb2

from portlayer.errors import (
    DataLoss,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
)
from portlayer.identity import Role
from tests.images import (
    Registry,
    busybox_image,
    multi_layer_image,
)
from tests.integration.storage.service import (
    Service,
    run,
    small_disk,
    storage_service_in,
)

ID = "cafe" * 16
HTPASSWD = "me:$2b$04$jVICzRRKoOOx9YDcJrpFt.9OE.gBck0OQSE8hiKAvZJ95.a3jeeLa\n"  # "secret"


async def failed(service: Service, reference: str, kind: type[VicError]) -> VicError:
    with pytest.raises(kind) as refused:
        await service.pull(reference)
    assert service.files() == []
    return refused.value


async def test_what_does_not_exist(service: Service, registry: Registry) -> None:
    registry.push(busybox_image(), "exists")
    for name in ("exists:nosuch", "nosuch:latest"):
        reference = f"{registry.address}/{name}"
        error = await failed(service, reference, NotFound)
        assert error.reason is Reason.MANIFEST_NOT_FOUND
        assert error.message == (
            f"manifest for {reference} not found: manifest unknown: manifest unknown"
        )
    error = await failed(service, "nosuch.invalid/x", Unavailable)
    assert error.reason is Reason.HOST_NOT_FOUND
    assert error.message.endswith("no such host")


async def test_a_corrupt_layer_leaves_nothing(service: Service) -> None:
    image = multi_layer_image(3)
    with Registry() as registry:
        reference = registry.push(image, "corrupt")
        digits = image.layers[1].digest[7:]
        blob = registry.data / "blobs" / "sha256" / digits[:2] / digits / "data"
        content = blob.read_bytes()
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        error = await failed(service, reference, DataLoss)
        assert error.reason is Reason.DIGEST_MISMATCH
        blob.write_bytes(content)
        assert (await service.pull(reference)).result.image_id == image.id


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
@pytest.mark.parametrize("size", [1 << 20, 3 << 20], ids=["no room for a blob", "none for a disk"])
async def test_a_full_disk_says_so_and_leaves_nothing(registry: Registry, size: int) -> None:
    image = busybox_image()
    reference = registry.push(image, "too/large")
    with small_disk(size) as data:
        async with storage_service_in(data) as service:
            error = await failed(service, reference, ResourceExhausted)
            assert error.reason is Reason.STORE_FULL
            assert error.message.endswith("no space left on device")
            run("mount", "-o", "remount,size=64m", str(data))
            assert (await service.pull(reference)).result.image_id == image.id


async def test_killed_in_the_middle_of_a_pull_it_leaves_nothing_half_done(
    service: Service, registry: Registry
) -> None:
    image = multi_layer_image(12)
    reference = registry.push(image, "killed")
    request = image_pb2.PullRequest(reference=reference)
    async for response in service.images.Pull(request):
        if response.progress.status == image_pb2.PROGRESS_STATUS_PULL_COMPLETE:
            break
    await service.stop(signal.SIGKILL)
    assert service.files() != []
    await service.start()
    assert service.files() == []
    assert (await service.pull(reference)).result.image_id == image.id


async def test_a_client_that_leaves_ends_its_pull(service: Service, registry: Registry) -> None:
    image = multi_layer_image(40)
    reference = registry.push(image, "left")
    call = service.images.Pull(image_pb2.PullRequest(reference=reference))
    async for response in call:
        if response.progress.status == image_pb2.PROGRESS_STATUS_PULL_COMPLETE:
            break
    call.cancel()
    # Another pull of the same waits for whatever is left of the first one, and ends well.
    assert (await service.pull(reference)).result.image_id == image.id


async def test_a_viewer_sees_and_changes_nothing(service: Service) -> None:
    channel = service.channel(Role.VIEWER)
    viewer = type(service.images)(channel)
    await viewer.List(image_pb2.ImageServiceListRequest())
    with pytest.raises(PermissionDenied):
        await viewer.Remove(image_pb2.ImageServiceRemoveRequest(reference="x"))
    await channel.close()
