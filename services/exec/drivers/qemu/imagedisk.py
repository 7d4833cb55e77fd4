"""The disk of a container's image beside its own, in a machine that runs.

The machine has all of it open already: an image is a layer of the container's chain. A second disk
on that layer is read-only, and gives the guest nothing to read that it can't read now.
"""

import asyncio

from services.exec.drivers.qemu.qmp import connect

IMAGE_LUN = 255
"""Far above those of volumes, which are numbered from 0."""

_SECONDS = 30.0
_NAME = "image"


async def show_image(qmp_path: str, chain_length: int) -> None:
    """Plug the image's disk in, unless it is. Raises QmpError, TimeoutError.

    Its node lies on the layer's: QEMU gives no device a node that has another on top. The host
    agent names nodes of layers by their depth, the base being ``layer0``.
    """
    layer = f"layer{chain_length - 2}"
    async with asyncio.timeout(_SECONDS), connect(qmp_path) as qmp:
        devices = await qmp.execute("qom-list", {"path": "/machine/peripheral"})
        if any(device["name"] == _NAME for device in devices):
            return
        nodes = await qmp.execute("query-named-block-nodes", {"flat": True})
        if all(node["node-name"] != _NAME for node in nodes):
            node = {"driver": "raw", "node-name": _NAME, "read-only": True, "file": layer}
            await qmp.execute("blockdev-add", node)
        device = {
            "driver": "scsi-hd",
            "id": _NAME,
            "bus": "volumes.0",
            "channel": 0,
            "scsi-id": 0,
            "lun": IMAGE_LUN,
            "drive": _NAME,
        }
        await qmp.execute("device_add", device)
