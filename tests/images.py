"""Images made from nothing but Python and Debian's busybox, and a registry to serve them.

Build an image, start a registry, push::

    with Registry() as registry:
        reference = registry.push(busybox_image(), "library/busybox", "latest")
        # "127.0.0.1:40123/library/busybox:latest"

Everything is deterministic: the same call gives the same digests on every machine that has the same
busybox. Nothing here needs root; as root the registry runs as nobody.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import zstandard

Compression = Literal["gzip", "zstd", "none"]
Flavour = Literal["oci", "docker"]

BUSYBOX = Path("/bin/busybox")
NOBODY = 65534
EPOCH = 1_600_000_000
"""Time of every file, 2020-09-13."""

_MANIFEST_TYPE = {
    "oci": "application/vnd.oci.image.manifest.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.v2+json",
}
_INDEX_TYPE = {
    "oci": "application/vnd.oci.image.index.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.list.v2+json",
}
_CONFIG_TYPE = {
    "oci": "application/vnd.oci.image.config.v1+json",
    "docker": "application/vnd.docker.container.image.v1+json",
}
_OCI_LAYER_TYPE = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "none": "application/vnd.oci.image.layer.v1.tar",
}
_DOCKER_LAYER_TYPE = {
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "none": "application/vnd.docker.image.rootfs.diff.tar",
}


def sha256(data: bytes) -> str:
    """Digest of `data` as registries write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- tar entries -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One member of a layer's tar."""

    info: tarfile.TarInfo
    data: bytes = b""


def _info(path: str, kind: bytes, mode: int, uid: int, gid: int, mtime: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, mtime
    return info


def file(
    path: str,
    data: bytes | str = b"",
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: float = EPOCH,
    xattrs: dict[str, bytes] | None = None,
) -> Entry:
    """A regular file; `xattrs` go into PAX records as Docker writes them."""
    content = data.encode() if isinstance(data, str) else data
    info = _info(path, tarfile.REGTYPE, mode, uid, gid, mtime)
    info.size = len(content)
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in (xattrs or {}).items()
    }
    return Entry(info, content)


def directory(path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    """A directory."""
    return Entry(_info(path, tarfile.DIRTYPE, mode, uid, gid, EPOCH))


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    info = _info(path, tarfile.SYMTYPE, 0o777, 0, 0, EPOCH)
    info.linkname = target
    return Entry(info)


def hardlink(path: str, target: str, *, mode: int = 0o644) -> Entry:
    """A hard link to another member or to a file of a lower layer.

    Archives repeat the file's mode, which dockerd gives the file once more.
    """
    info = _info(path, tarfile.LNKTYPE, mode, 0, 0, EPOCH)
    info.linkname = target
    return Entry(info)


def device(path: str, *, major: int, minor: int, mode: int = 0o666, block: bool = False) -> Entry:
    """A character or block device."""
    info = _info(path, tarfile.BLKTYPE if block else tarfile.CHRTYPE, mode, 0, 0, EPOCH)
    info.devmajor, info.devminor = major, minor
    return Entry(info)


def whiteout(path: str) -> Entry:
    """Takes a file or tree of the lower layers away."""
    parent, _, name = path.rpartition("/")
    return file(f"{parent}/.wh.{name}" if parent else f".wh.{name}", mode=0)


def opaque(path: str) -> Entry:
    """Takes away everything that lower layers put into a directory."""
    return file(f"{path}/.wh..wh..opq", mode=0)


def make_tar(entries: Iterable[Entry]) -> bytes:
    """The entries as one PAX tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            tar.addfile(entry.info, io.BytesIO(entry.data) if entry.info.isreg() else None)
    return out.getvalue()


# --- images ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A layer: an uncompressed tar and how it is sent."""

    tar: bytes
    compression: Compression = "gzip"

    @cached_property
    def blob(self) -> bytes:
        """The bytes that a registry holds."""
        if self.compression == "gzip":
            return gzip.compress(self.tar, compresslevel=6, mtime=0)
        if self.compression == "zstd":
            return zstandard.ZstdCompressor().compress(self.tar)
        return self.tar

    @cached_property
    def digest(self) -> str:
        """Digest of the blob."""
        return sha256(self.blob)

    @cached_property
    def diff_id(self) -> str:
        """Digest of the tar."""
        return sha256(self.tar)


@dataclass(frozen=True)
class Image:
    """An image: layers, lowest first, and what its configuration says about containers."""

    layers: tuple[Layer, ...]
    config: dict[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    os: str = "linux"
    flavour: Flavour = "oci"

    @cached_property
    def config_bytes(self) -> bytes:
        """The configuration blob."""
        created = "2020-09-13T12:26:40Z"
        return json.dumps(
            {
                "created": created,
                "architecture": self.architecture,
                "os": self.os,
                "config": self.config,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
                "history": [
                    {"created": created, "created_by": f"layer {number}"}
                    for number in range(len(self.layers))
                ],
            },
            sort_keys=True,
        ).encode()

    @cached_property
    def id(self) -> str:
        """Image ID: digest of the configuration."""
        return sha256(self.config_bytes)

    @property
    def media_type(self) -> str:
        """Media type of the manifest."""
        return _MANIFEST_TYPE[self.flavour]

    @cached_property
    def manifest_bytes(self) -> bytes:
        """The manifest."""
        types = _OCI_LAYER_TYPE if self.flavour == "oci" else _DOCKER_LAYER_TYPE
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": {
                    "mediaType": _CONFIG_TYPE[self.flavour],
                    "digest": self.id,
                    "size": len(self.config_bytes),
                },
                "layers": [
                    {
                        "mediaType": types[layer.compression],
                        "digest": layer.digest,
                        "size": len(layer.blob),
                    }
                    for layer in self.layers
                ],
            }
        ).encode()

    @cached_property
    def digest(self) -> str:
        """Digest of the manifest."""
        return sha256(self.manifest_bytes)

    @cached_property
    def chain_ids(self) -> tuple[str, ...]:
        """Chain ID of each layer (OCI image specification, "Layer ChainID")."""
        chain: list[str] = []
        for layer in self.layers:
            chain.append(
                sha256(f"{chain[-1]} {layer.diff_id}".encode()) if chain else layer.diff_id
            )
        return tuple(chain)


def index_bytes(images: Sequence[Image], flavour: Flavour = "oci") -> bytes:
    """An index (a manifest list in the docker flavour) of images by their platforms."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _INDEX_TYPE[flavour],
            "manifests": [
                {
                    "mediaType": image.media_type,
                    "digest": image.digest,
                    "size": len(image.manifest_bytes),
                    "platform": {"os": image.os, "architecture": image.architecture},
                }
                for image in images
            ],
        }
    ).encode()


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


def write_oci_layout(image: Image, directory: Path, tag: str = "latest") -> Path:
    """Write `image` as an OCI image layout, as `skopeo copy oci:DIRECTORY:TAG` reads it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    oci = replace(image, flavour="oci")
    contents = [oci.config_bytes, oci.manifest_bytes, *(layer.blob for layer in oci.layers)]
    for content in contents:
        (blobs / sha256(content).removeprefix("sha256:")).write_bytes(content)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {
        "mediaType": oci.media_type,
        "digest": oci.digest,
        "size": len(oci.manifest_bytes),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return directory


# --- a registry --------------------------------------------------------------------------------


class Registry:
    """Debian's docker-registry on a free loopback port, its data in a temporary directory.

    `htpasswd`, lines of "name:bcrypt hash", turns basic authentication on; `proxy_of`, the URL of
    another registry, makes it a pull-through mirror.
    """

    def __init__(self, *, htpasswd: str | None = None, proxy_of: str | None = None) -> None:
        self._htpasswd = htpasswd
        self._proxy_of = proxy_of
        self._process: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=200)
        self._listening = threading.Event()
        self._reader: threading.Thread | None = None
        self.root = Path()
        self.address = ""
        """"127.0.0.1:PORT"."""

    @property
    def pid(self) -> int:
        """Process ID of the running registry."""
        assert self._process is not None
        return self._process.pid

    @property
    def data(self) -> Path:
        """Where the registry keeps its blobs."""
        return self.root / "data" / "docker" / "registry" / "v2"

    def start(self) -> Self:
        """Start and wait until it listens."""
        self.root = Path(tempfile.mkdtemp(prefix="vic-registry-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        config = self.root / "config.json"  # JSON is YAML too
        config.write_text(json.dumps(self._config()))
        if self._htpasswd is not None:
            (self.root / "htpasswd").write_text(self._htpasswd)
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            for path in (self.root, *self.root.iterdir()):
                os.chown(path, NOBODY, NOBODY)
            as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.root)},
            **as_nobody,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._listening.wait(120) or not self.address:
            raise RuntimeError("the registry does not start:\n" + "".join(self._log))

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.root / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": "127.0.0.1:0", "secret": "of no value"},
        }
        if self._htpasswd is not None:
            path = str(self.root / "htpasswd")
            config["auth"] = {"htpasswd": {"realm": "vic tests", "path": path}}
        if self._proxy_of is not None:
            config["proxy"] = {"remoteurl": self._proxy_of}
        return config

    def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                self.address = found.group(1)
                self._listening.set()
        self._listening.set()

    def stop(self) -> None:
        """Stop it and delete its data."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._reader is not None:
                self._reader.join()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def push(
        self,
        image: Image,
        repository: str,
        tag: str = "latest",
        *,
        login: tuple[str, str] | None = None,
    ) -> str:
        """Push `image` by plain HTTP; returns "127.0.0.1:PORT/repository:tag"."""
        for content in (image.config_bytes, *(layer.blob for layer in image.layers)):
            self._push_blob(repository, content, login)
        self.push_manifest(
            repository, tag, image.manifest_bytes, media_type=image.media_type, login=login
        )
        return f"{self.address}/{repository}:{tag}"

    def push_index(
        self, images: Sequence[Image], repository: str, tag: str = "latest"
    ) -> tuple[str, str]:
        """Push an index of images; returns its reference and its digest."""
        for image in images:
            self.push(image, repository, image.digest)
        flavour = images[0].flavour
        body = index_bytes(images, flavour)
        self.push_manifest(repository, tag, body, media_type=_INDEX_TYPE[flavour])
        return f"{self.address}/{repository}:{tag}", sha256(body)

    def push_manifest(
        self,
        repository: str,
        reference: str,
        body: bytes,
        *,
        media_type: str,
        login: tuple[str, str] | None = None,
    ) -> None:
        """Put a manifest or an index under a tag or under its own digest."""
        self._request(
            "PUT", f"/v2/{repository}/manifests/{reference}", body, media_type, login
        ).close()

    def _push_blob(self, repository: str, content: bytes, login: tuple[str, str] | None) -> None:
        digest = sha256(content)
        try:
            self._request("HEAD", f"/v2/{repository}/blobs/{digest}", None, None, login).close()
        except urllib.error.HTTPError as missing:
            with missing:
                if missing.code != 404:
                    raise
        else:
            return
        with self._request("POST", f"/v2/{repository}/blobs/uploads/", b"", None, login) as answer:
            location = urllib.parse.urljoin(f"http://{self.address}", answer.headers["Location"])
        joined = "&" if "?" in location else "?"
        target = f"{location}{joined}{urllib.parse.urlencode({'digest': digest})}"
        path = target.removeprefix(f"http://{self.address}")
        self._request("PUT", path, content, "application/octet-stream", login).close()

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        content_type: str | None,
        login: tuple[str, str] | None,
    ) -> Any:
        request = urllib.request.Request(f"http://{self.address}{path}", data=body, method=method)
        if content_type is not None:
            request.add_header("Content-Type", content_type)
        if login is not None:
            token = base64.b64encode(":".join(login).encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(request, timeout=60)
