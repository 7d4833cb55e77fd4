"""An image of Debian, as people run them: hundreds of megabytes, thousands of files, layers."""

import fcntl
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.suite import Suite
from tests.images import Image, Layer, Registry, file, make_tar, whiteout

# A busy machine takes minutes to make the image, and again to read it all in a VM.
pytestmark = [pytest.mark.usefixtures("containers"), pytest.mark.timeout(2400)]

# Kept between runs: it takes minutes to make.
CACHE = Path("/var/cache/vic/tests")
MIRROR = "http://deb.debian.org/debian"
# Made by every start anew, for every container.
OURS = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/.dockerenv", "/etc/mtab"}
# Taken away by a layer, or mounted over in every container.
NOT_THERE = ("/usr/share/doc/", "/proc/", "/sys/", "/dev/")
TREE = """
import hashlib, json, os, stat
OURS = set({ours})
tree = {{}}
device = os.lstat("/").st_dev
for root, names, files in os.walk("/"):
    names[:] = [n for n in names if os.lstat(os.path.join(root, n)).st_dev == device]
    for name in names + files:
        path = os.path.join(root, name)
        s = os.lstat(path)
        if path in OURS or s.st_dev != device or path == "/lost+found":
            continue
        kind = stat.S_IFMT(s.st_mode)
        content = ""
        if stat.S_ISLNK(s.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(s.st_mode):
            content = hashlib.sha256(open(path, "rb").read()).hexdigest()
        tree[path] = [s.st_mode, s.st_uid, s.st_gid, content]
print(json.dumps(tree))
"""


@pytest.fixture(scope="module")
def root() -> Path:
    """Debian's own way to make a root file system."""
    done = CACHE / "debian"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make_root(done)
    return done


def make_root(done: Path) -> None:
    """Have debootstrap make it."""
    unfinished = CACHE / f"debian-{os.getpid()}"
    options = ["--variant=minbase", "--include=python3"]
    subprocess.run(
        ["debootstrap", *options, "bookworm", unfinished, MIRROR],
        check=True,
        capture_output=True,
    )
    for path in (unfinished / "var/cache/apt/archives").glob("*.deb"):
        path.unlink()
    unfinished.rename(done)


@pytest.fixture(scope="module")
def debian(suite: Suite, registry: Registry, root: Path) -> str:
    """The image, pulled: the root file system, something taken away, something added."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, arcname=".")
    layers = (
        Layer(stream.getvalue()),
        Layer(make_tar([whiteout("usr/share/doc"), whiteout("etc/motd")])),
        Layer(make_tar([file("etc/greeting", "hello\n", mode=0o640)])),
    )
    reference = registry.push(Image(layers, {"Cmd": ["bash"]}), "debian")
    suite.ok("pull", reference, seconds=900)
    return reference


def test_python_of_debian_runs(suite: Suite, debian: str) -> None:
    code = "import ssl; print(ssl.OPENSSL_VERSION)"
    told = suite.ok("run", "--rm", debian, "python3", "-c", code)
    assert told.startswith("OpenSSL 3.")


def test_the_tree_is_what_tar_and_overlay_would_show(suite: Suite, debian: str, root: Path) -> None:
    script = TREE.format(ours=sorted(OURS))
    run = ("run", "--rm", "-i", debian, "python3", "-")
    seen = json.loads(suite.ok(*run, stdin=script, seconds=900))
    expected = expected_tree(root)
    different = {
        path: (expected.get(path), seen.get(path))
        for path in expected.keys() | seen.keys()
        if expected.get(path) != seen.get(path)
    }
    assert different == {}
    assert len(seen) > 5000


def expected_tree(root: Path) -> dict[str, list[object]]:
    """Return what a reference unpacking of the three layers gives."""
    greeting = [stat.S_IFREG | 0o640, 0, 0, digest(b"hello\n")]
    tree: dict[str, list[object]] = {"/etc/greeting": [*greeting]}
    for path in root.rglob("*"):
        name = f"/{path.relative_to(root)}"
        status = path.lstat()
        if name in OURS or name == "/etc/motd" or f"{name}/".startswith(NOT_THERE):
            continue
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = digest(path.read_bytes())
        tree[name] = [status.st_mode, status.st_uid, status.st_gid, content]
    return tree


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()
