"""How fast an image of Debian comes from a registry into the store, beside dockerd and the least.

The image has some 300 MB in over 10,000 files, in two gzip layers, from a registry on loopback.
Each round pulls it with every engine in turn, and does the least that any engine must do: inflate,
SHA-256 and write, one after another. All end with sync(2). A container of the image is started with
the suite once in the end, and its tree compared by `docker run … find`. ``--peer`` is dockerd.
"""

import argparse
import hashlib
import io
import os
import subprocess
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path

from isal import igzip

from bench.engine_api import Api
from bench.peer import dockerd
from bench.report import Series, report
from bench.subject import accounted_suite, come_up
from bench.watch import Memory
from tests.e2e.suite import Suite
from tests.images import Image, Layer, Registry

DEBIAN = Path("/var/cache/vic/tests/debian")
MIRROR = "http://deb.debian.org/debian"
MORE = ("usr/lib/python3.11", "usr/lib/x86_64-linux-gnu", "usr/share")
"""What the second layer has once more, elsewhere."""

CHUNK = 1 << 20


def debian() -> Path:
    """Return a root file system of Debian, made where there is none yet."""
    if not DEBIAN.exists():
        unfinished = DEBIAN.with_name(f"debian-{os.getpid()}")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        options = ["--variant=minbase", "--include=python3"]
        subprocess.run(["debootstrap", *options, "bookworm", unfinished, MIRROR], check=True)
        unfinished.rename(DEBIAN)
    return DEBIAN


def tar_of(root: Path, places: dict[str, str]) -> bytes:
    """Return a tar of directories below a root, each at a place of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for source, place in places.items():
            tar.add(root / source, place, filter=_plain)
    return out.getvalue()


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what isn't of the image, or can't be in a tar."""
    if info.isdev() or info.name.startswith(("proc/", "sys/", "dev/")):
        return None
    return info


def bench_image() -> Image:
    """Return the image; its layers are compressed as `docker push` does."""
    root = debian()
    below = tar_of(root, {"": "."})
    above = tar_of(root, {source: f"opt/{source}" for source in MORE})
    return Image((Layer(below), Layer(above)), config={"Cmd": ["sh"]})


def least(image: Image, out: Path) -> None:
    """Inflate, hash and write each layer, one after another."""
    for layer in image.layers:
        digest = hashlib.sha256()
        with igzip.open(io.BytesIO(layer.blob), "rb") as stream, out.open("wb") as file:  # type: ignore[no-untyped-call]
            while data := stream.read(CHUNK):
                digest.update(data)
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    os.sync()


def pulled(api: Api, reference: str, what: str) -> None:
    """Pull an image, have it on the disk, and add how long that took."""
    repository, _, tag = reference.rpartition(":")
    begun = time.perf_counter()
    answer = api.call("", "POST", f"/images/create?fromImage={repository}&tag={tag}")
    os.sync()
    if b"error" in (answer if isinstance(answer, bytes) else b""):
        raise SystemExit(f"{api.name}: {answer[-500:]!r}")
    api.seconds[what].append(time.perf_counter() - begun)


def verified(suite: Suite, reference: str, image: Image) -> int:
    """Start a container and compare the names in it with those of the layers; their number."""
    names = set()
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(layer.tar)) as tar:
            names |= {os.path.normpath(name) for name in tar.getnames()} - {"."}
    found = suite.ok("run", "--rm", reference, "find", "/", "-xdev", "-mindepth", "1")
    missing = names - {line.lstrip("/") for line in found.splitlines()}
    missing = {name for name in missing if not name.startswith(("proc", "sys", "dev"))}
    if missing:
        raise SystemExit(f"{len(missing)} files are missing: {sorted(missing)[:5]}")
    return len(names)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--peer", action="store_true", help="beside Debian's dockerd")
    parser.add_argument("--out", type=Path, default=Path("pull.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    image = bench_image()
    size = sum(len(layer.tar) for layer in image.layers)
    sent = sum(len(layer.blob) for layer in image.layers)
    floor: list[float] = []
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            come_up(suite)
        reference = registry.push(image, "debian")
        apis, accounts = [Api("vic", suite.endpoint)], [account]
        if arguments.peer:
            endpoint, charged = stack.enter_context(dockerd())
            apis.append(Api("dockerd", endpoint))
            accounts.append(charged)
        memory = Memory(suite.pid("storage"))
        scratch = suite.data_dir / "least"
        cpu = [0.0 for _ in apis]
        for number in range(arguments.count):
            for index, api in enumerate(apis):
                stack.callback(api.close)
                if number:
                    api.call("", "DELETE", f"/images/{reference}?force=1")
                os.sync()
                before = accounts[index].seconds()
                pulled(api, reference, "pull")
                cpu[index] += accounts[index].seconds() - before
            begun = time.perf_counter()
            least(image, scratch)
            floor.append(time.perf_counter() - begun)
            scratch.unlink()
        for api in apis:
            pulled(api, reference, "pull, all there")
        apis[0].call("", "DELETE", f"/images/{reference}?force=1")
        with memory.watched():  # which costs time itself
            pulled(apis[0], reference, "watched")
        files = verified(suite, reference, image)
        series = [
            Series(f"{what}, {api.name}", tuple(api.seconds[what]))
            for what in ("pull", "pull, all there")
            for api in apis
        ]
        series.append(Series("inflate, SHA-256, write", tuple(floor)))
        medians = {one.name: one.figures()["median"] for one in series}
        facts = {
            "load at the start": f"{load:.1f}",
            "image": f"{size / 1e6:.0f} MB, {sent / 1e6:.0f} MB sent, {files} names",
            "vic": f"{size / 1e6 / medians['pull, vic']:.0f} MB/s, "
            f"{medians['pull, vic'] / medians['inflate, SHA-256, write']:.2f} times the least, "
            f"{cpu[0] / arguments.count:.2f} CPU s",
            "storage's memory at most": f"{memory.most_bytes / 1e6:.0f} MB",
        }
        if arguments.peer:
            facts["dockerd"] = (
                f"{size / 1e6 / medians['pull, dockerd']:.0f} MB/s, "
                f"{medians['pull, dockerd'] / medians['pull, vic']:.2f} times vic's time, "
                f"{cpu[1] / arguments.count:.2f} CPU s"
            )
        report("Pull of an image of Debian", series, facts, arguments.out)


if __name__ == "__main__":
    main()
