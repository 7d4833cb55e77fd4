"""Images made from nothing but Python and Debian's busybox, and a registry to serve them.

Build an image, start a registry, push::

    with Registry() as registry:
        reference = registry.push(busybox_image(), "library/busybox", "latest")
        # "127.0.0.1:40123/library/busybox:latest"

Everything is deterministic: the same call gives the same digests on every machine that has the same
busybox. Nothing here needs root; as root the registry runs as nobody.
"""

from tests.images.entries import (
    device,
    directory,
    file,
    hardlink,
    make_tar,
    opaque,
    symlink,
    whiteout,
)
from tests.images.image import Compression, Image, Layer, index_bytes, sha256, write_oci_layout
from tests.images.registry import Registry
from tests.images.samples import busybox_entries, busybox_image, multi_layer_image, whiteout_image

__all__ = [
    "Compression",
    "Image",
    "Layer",
    "Registry",
    "busybox_entries",
    "busybox_image",
    "device",
    "directory",
    "file",
    "hardlink",
    "index_bytes",
    "make_tar",
    "multi_layer_image",
    "opaque",
    "sha256",
    "symlink",
    "whiteout",
    "whiteout_image",
    "write_oci_layout",
]
