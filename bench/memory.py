"""What memory the storage service takes for images of unusual shape: `python -m bench.memory`.

Each image comes from a registry on loopback into a storage service of its own, without the rest of
the suite. The figure is the most that the service and its workers take at once (PSS): pages of
files in the kernel's cache, which it gives back at need, aren't counted.
"""

import argparse
import asyncio
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from isal import isal_zlib

from bench.report import Series, report
from bench.watch import Memory
from tests.images import Image, Layer, Registry
from tests.integration.storage.service import Service, storage_service

GOAL_BYTES = 200_000_000
BASE_SIZE = 8 << 30
WHEN = 1_700_000_000

Members = Iterable[tuple[tarfile.TarInfo, bytes]]


@dataclass(frozen=True)
class SentLayer(Layer):
    """A layer whose tar was too large to be kept: what is sent of it, and its digest."""

    sent: bytes = field(default=b"", repr=False)
    tar_digest: str = ""

    @cached_property
    def blob(self) -> bytes:
        """The bytes that a registry holds."""
        return self.sent

    @cached_property
    def diff_id(self) -> str:
        """Digest of the tar."""
        return self.tar_digest


class _Sink(io.RawIOBase):
    """Takes a tar, compresses and hashes it as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        self._hash = hashlib.sha256()
        self._sent = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._hash.update(data)
        self._sent += self._compressor.compress(data)
        return len(data)

    def layer(self) -> SentLayer:
        """What has come."""
        self._sent += self._compressor.flush()
        return SentLayer(b"", "gzip", bytes(self._sent), f"sha256:{self._hash.hexdigest()}")


def layer_of(members: Members) -> SentLayer:
    """Return a layer of members, which are made one after another."""
    sink = _Sink()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
            tar.members.clear()  # type: ignore[attr-defined]
    return sink.layer()


def _file(
    name: str, content: bytes = b"", pax: dict[str, str] | None = None
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.pax_headers = len(content), WHEN, pax or {}
    return info, content


def _link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = tarfile.LNKTYPE, target, WHEN
    return info, b""


def huge_file(size: int) -> Image:
    """One file, of random bytes and zeros by turns."""
    sink = _Sink()
    info = tarfile.TarInfo("huge")
    info.size, info.mtime = size, WHEN
    sink.write(info.tobuf(tarfile.GNU_FORMAT))
    for _ in range(size >> 20):
        sink.write(os.urandom(32 << 10) + bytes((1 << 20) - (32 << 10)))
    sink.write(bytes(2 * tarfile.BLOCKSIZE))
    return Image((sink.layer(),))


def one_directory(names: int) -> Image:
    """Empty files in one directory."""
    return Image(
        (layer_of(_file(f"directory/a-name-of-some-length-{n:08}") for n in range(names)),)
    )


def small_files(names: int) -> Image:
    """Files of some hundred bytes, a hundred to a directory."""
    content = b"a line of a small file\n" * 12
    return Image((layer_of(_file(f"tree/{n // 100}/file-{n}", content) for n in range(names)),))


def directories(names: int) -> Image:
    """Empty directories, a thousand to a directory."""

    def members() -> Members:
        for n in range(names):
            info = tarfile.TarInfo(f"tree/{n // 1000}/{n}")
            info.type, info.mtime = tarfile.DIRTYPE, WHEN
            yield info, b""

    return Image((layer_of(members()),))


def many_layers(number: int) -> Image:
    """Layers with some files each."""
    return Image(
        tuple(
            layer_of(_file(f"opt/{n}/{file}", os.urandom(8 << 10)) for file in range(20))
            for n in range(number)
        )
    )


def hard_links(names: int, length: int, a_directory: int = 1000) -> Image:
    """Files with 50,000 long names each."""

    def members() -> Members:
        for n in range(names):
            target = f"files/{n // 50_000}"
            yield (
                _file(target)
                if not n % 50_000
                else _link(f"d/{n // a_directory}/{n:0{length}}", target)
            )

    return Image((layer_of(members()),))


def attributes(names: int) -> Image:
    """Files with an extended attribute that needs a block of its own."""
    return Image(
        (
            layer_of(
                _file(f"x/{n // 100}/{n}", pax={"SCHILY.xattr.user.note": f"{n:03000}"})
                for n in range(names)
            ),
        )
    )


SHAPES: dict[str, Callable[[], Image]] = {
    "a file of 2.2 GB": partial(huge_file, 2200 << 20),
    "100,000 names in a directory": partial(one_directory, 100_000),
    "200,000 small files": partial(small_files, 200_000),
    "127 layers": partial(many_layers, 127),
    "500,000 small files": partial(small_files, 500_000),
    "500,000 names in a directory": partial(one_directory, 500_000),
    "500,000 directories": partial(directories, 500_000),
    "100,000 files with attributes": partial(attributes, 100_000),
    "500,000 hard links": partial(hard_links, 500_000, 100),
    "2,000,000 hard links of long names": partial(hard_links, 1_999_000, 250),
    "1,000,000 long names in a directory": partial(hard_links, 999_000, 250, 1_000_000),
}


async def pull(service: Service, reference: str) -> tuple[float, Memory]:
    """Pull an image; how long that took, and what memory."""
    memory = Memory(service.pid)
    begun = time.perf_counter()
    with memory.watched():
        await service.pull(reference)
    return time.perf_counter() - begun, memory


async def measure(name: str, image: Image, registry: Registry) -> tuple[float, int]:
    """Seconds and bytes of one shape."""
    reference = registry.push(image, f"shape-{len(image.layers)}-{image.id[7:19]}")
    async with storage_service(base_size_bytes=BASE_SIZE) as service:
        seconds, memory = await pull(service, reference)
    verdict = "" if memory.most_bytes <= GOAL_BYTES else "  more than the goal"
    print(f"  {name:36}{memory.most_bytes / 1e6:7.0f} MB{seconds:8.1f} s{verdict}", flush=True)
    return seconds, memory.most_bytes


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", help="beginnings of shapes' names (default: all)")
    parser.add_argument("--out", type=Path, default=Path("memory.json"), help="JSON file to write")
    arguments = parser.parse_args()
    series: list[Series] = []
    facts: dict[str, str] = {}
    for name, make in SHAPES.items():
        if arguments.shapes and not name.startswith(tuple(arguments.shapes)):
            continue
        with Registry() as registry:
            seconds, most = asyncio.run(measure(name, make(), registry))
        series.append(Series(name, (seconds,)))
        facts[name] = f"{most / 1e6:.0f} MB"
    report("Storage's memory at most (PSS); the goal is 200 MB", series, facts, arguments.out)


if __name__ == "__main__":
    main()
