"""The images that tests run: Debian's busybox, in one layer and in several."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.images.entries import (
    Entry,
    directory,
    file,
    hardlink,
    make_tar,
    opaque,
    symlink,
    whiteout,
)
from tests.images.image import Compression, Flavour, Image, Layer

BUSYBOX = Path("/bin/busybox")


@cache
def busybox_entries() -> tuple[Entry, ...]:
    """A small root file system: busybox, a hard link for each applet, the usual directories."""
    applets = subprocess.run(
        [BUSYBOX, "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
    return (
        *(directory(path) for path in ("bin", "dev", "etc", "home", "proc", "sys", "usr", "var")),
        directory("root", mode=0o700),
        directory("tmp", mode=0o1777),
        directory("usr/bin"),
        directory("var/tmp", mode=0o1777),
        file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        *(
            hardlink(f"bin/{name}", "bin/busybox", mode=0o755)
            for name in sorted({*applets} - {"busybox"})
        ),
        symlink("usr/bin/env", "../../bin/env"),
        file("etc/passwd", users),
        file("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        file("etc/hostname", "image\n"),
    )


@cache
def busybox_layer(compression: Compression = "gzip") -> Layer:
    """The one layer of `busybox_image`."""
    return Layer(make_tar(busybox_entries()), compression)


def busybox_image(
    *,
    config: dict[str, Any] | None = None,
    flavour: Flavour = "docker",
    compression: Compression = "gzip",
) -> Image:
    """An image like Docker Hub's busybox: `sh` by default."""
    base = {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["sh"],
    }
    return Image((busybox_layer(compression),), base | (config or {}), flavour=flavour)


def multi_layer_image(count: int = 3, *, flavour: Flavour = "docker") -> Image:
    """busybox, and above it `count` - 1 layers: /layers/N each its own, /top rewritten by each."""
    layers = [
        Layer(
            make_tar(
                [
                    directory("layers"),
                    file(f"layers/{number}", f"layer {number}\n"),
                    file("top", f"{number}\n"),
                ]
            )
        )
        for number in range(1, count)
    ]
    base = busybox_image(flavour=flavour)
    return replace(base, layers=(*base.layers, *layers))


def whiteout_image(*, flavour: Flavour = "docker") -> Image:
    """Four layers whose upper ones take away and replace what lower ones brought.

    What is left under /data: keep, reborn ("new"), opaque/after, swapped (a file now), link.
    """
    lower = Layer(
        make_tar(
            [
                directory("data"),
                file("data/keep", "keep\n"),
                file("data/gone", "gone\n"),
                file("data/reborn", "old\n"),
                directory("data/opaque"),
                file("data/opaque/before", "before\n"),
                directory("data/opaque/deep"),
                file("data/opaque/deep/before", "before\n"),
                directory("data/swapped"),
                file("data/swapped/child", "child\n"),
                directory("data/tree"),
                file("data/tree/leaf", "leaf\n"),
            ]
        )
    )
    middle = Layer(
        make_tar(
            [
                whiteout("data/gone"),
                whiteout("data/reborn"),
                whiteout("data/tree"),
                opaque("data/opaque"),
                file("data/opaque/after", "after\n"),
            ]
        )
    )
    upper = Layer(
        make_tar(
            [
                file("data/reborn", "new\n"),
                file("data/swapped", "a file now\n"),
                symlink("data/link", "keep"),
            ]
        )
    )
    base = busybox_image(flavour=flavour)
    return replace(base, layers=(*base.layers, lower, middle, upper))
