"""Volumes: kept through containers, filled from images, one writer or many readers; and tmpfs."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.suite import Suite
from tests.images import (
    Layer,
    Registry,
    busybox_image,
    directory,
    file,
    hardlink,
    make_tar,
    symlink,
)

pytestmark = pytest.mark.usefixtures("containers")

DATA = (
    directory("data", mode=0o750, uid=7, gid=8),
    file("data/one", b"from the image\n", mode=0o640, uid=7, gid=8),
    hardlink("data/two", "data/one"),
    symlink("data/link", "one"),
    directory("data/below"),
    file("data/below/set", b"x" * 5000, mode=0o4755),
)


@pytest.fixture(scope="module")
def filled(suite: Suite, registry: Registry) -> str:
    """An image with files in a volume of its own."""
    base = busybox_image(config={"Volumes": {"/data": {}}})
    image = replace(base, layers=(*base.layers, Layer(make_tar(DATA))))
    reference = registry.push(image, "filled")
    suite.ok("pull", reference)
    return reference


@pytest.fixture(autouse=True)
def _no_volumes(suite: Suite) -> Iterator[None]:
    """Every test begins and ends without volumes."""
    yield
    left = suite.ok("ps", "--all", "--quiet").split()
    if left:
        suite.ok("rm", "--force", "--volumes", *left)
    suite.ok("volume", "prune", "--all", "--force")
    assert suite.ok("volume", "ls", "--quiet") == ""


def test_a_fresh_volume_gets_the_images_files_and_keeps_what_is_written(
    suite: Suite, image: str, filled: str
) -> None:
    listing = (
        "stat -c '%u %g %a' /data; stat -c '%h %a %n' /data/one /data/below/set; "
        "readlink /data/link; cat /data/two; echo more >> /data/one; rm -r /data/below"
    )
    told = suite.ok("run", "--rm", "-v", "kept:/data", filled, "sh", "-c", listing)
    assert told.splitlines() == [
        "7 8 750",
        "2 640 /data/one",
        "1 4755 /data/below/set",
        "one",
        "from the image",
    ]
    grown = suite.vic("volume", "grow", "kept", "20g")
    assert (grown.returncode, grown.stdout) == (0, f"{20 << 30}\n"), grown.stderr
    suite.ok("volume", "create", "-o", "size=64m", "little")
    assert suite.vic("volume", "grow", "little", "96m").returncode == 0
    # Another container's image gives nothing to a volume that holds something.
    size = "df -P {} | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2;"
    script = f"cd data; cat two; ls; {size.format('.')} {size.format('/little')}"
    volumes = ("-v", "kept:/data", "-v", "little:/little")
    again = suite.ok("run", "--rm", *volumes, filled, "sh", "-c", script).splitlines()
    assert again[:-2] == ["from the image", "more", "link", "one", "two"]
    assert int(again[-2]) > 19 << 20, "the file system follows (KiB)"
    assert int(again[-1]) > 80 << 10, "it does by less than a block group as well"
    script = "mount | grep -c ' /v .*ro,'; wc -l < /v/one; touch /v/x; wc -c < /etc/resolv.conf"
    single = "type=volume,src=kept,dst=/new/single,volume-subpath=one,readonly"
    mounts = ("-v", "kept:/v:ro", "-v", "etc:/etc", "--mount", single)
    done = suite.docker("run", "--rm", *mounts, image, "sh", "-c", f"{script}; wc -l < /new/single")
    assert done.stdout.split()[3:] == ["2"], "a subpath may be a file"
    assert done.stdout.split()[:2] == ["1", "2"]
    assert int(done.stdout.split()[2]) > 0, "a volume over /etc leaves the name service working"
    assert "Read-only file system" in done.stderr
    suite.refused(
        *("run", "--mount", "type=volume,src=kept,dst=/v,volume-subpath=nope", image, "true"),
        code=125,
        message="cannot access path nope of the volume",
    )


def test_one_writes_or_many_read(suite: Suite, image: str) -> None:
    script = "date > /v/f; echo written; sleep 1000"
    writer = suite.ok("run", "-d", "-v", "shared:/v", image, "sh", "-c", script)
    suite.await_output(writer, "written")
    suite.refused(
        *("run", "--rm", "-v", "shared:/v", image, "true"),
        code=125,
        message=f"volume shared is attached to container {writer}",
    )
    suite.refused("volume", "rm", "shared", code=1, message="volume is in use - [")
    # What was written is there for others however the writer ended.
    suite.ok("rm", "--force", writer)
    readers = [suite.ok("run", "-d", "-v", "shared:/v:ro", image, "sleep", "1000") for _ in "ab"]
    for reader in readers:
        assert suite.ok("exec", reader, "sh", "-c", "wc -l < /v/f") == "1"
    suite.refused(
        *("run", "--rm", "-v", "shared:/v", image, "true"),
        code=125,
        message="volume shared is read by container",
    )
    mounts = json.loads(suite.ok("inspect", readers[0], "--format", "{{json .Mounts}}"))
    assert [(m["Type"], m["Name"], m["Destination"], m["RW"]) for m in mounts] == [
        ("volume", "shared", "/v", False)
    ]
    assert suite.ok("ps", "-q", "--no-trunc", "--filter", "volume=shared").split() == readers[::-1]


def test_anonymous_volumes_go_with_their_container_where_that_is_asked(
    suite: Suite, image: str, filled: str
) -> None:
    since = str(time.time())
    suite.ok("run", "--name", "first", "-v", "named:/n", "-v", "/own", filled, "touch", "/own/f")
    names = set(suite.ok("volume", "ls", "--quiet").split())
    assert len(names) == 3
    borrowed = suite.ok("run", "--rm", "--volumes-from", "first:ro", image, "ls", "/own", "/data")
    assert "f" in borrowed.split()
    assert "two" in borrowed.split()
    assert set(suite.ok("volume", "ls", "--quiet").split()) == names
    suite.ok("rm", "--volumes", "first")
    assert suite.ok("volume", "ls", "--quiet") == "named"
    suite.ok("run", "--rm", filled, "true")
    assert suite.ok("volume", "ls", "--quiet") == "named"
    until = str(time.time() + 0.001)
    events = suite.ok(
        *("events", "--since", since, "--until", until, "--filter", "volume=named"),
        *("--format", "{{.Action}}"),
    )
    assert events.split()[:3] == ["create", "mount", "unmount"]


def test_tmpfs(suite: Suite, image: str) -> None:
    script = (
        "mount | grep -E ' /(t|u) ' | cut -d' ' -f3,5,6; stat -c %a /t /u; "
        "dd if=/dev/zero of=/u/x bs=1k count=100 2>&1 | grep -c 'No space'"
    )
    told = suite.ok(
        *("run", "--rm", "--tmpfs", "/t:size=1m,mode=700,exec"),
        *("--mount", "type=tmpfs,dst=/u,tmpfs-size=64k", image, "sh", "-c", script),
    ).splitlines()
    assert told[0].startswith("/t tmpfs (rw,nosuid,nodev,relatime,size=1024k,mode=700")
    assert told[1].startswith("/u tmpfs (rw,nosuid,nodev,noexec,relatime,size=64k")
    assert told[2:] == ["700", "1777", "1"]


def test_what_can_not_be_mounted(suite: Suite, image: str) -> None:
    for option in ("-v=/etc:/x", "--mount=type=bind,src=/etc,dst=/x"):
        suite.refused(
            *("create", option, image), code=1, message="bind mount of /etc is not supported: each"
        )
    suite.refused(
        *("run", "--rm", "-v", "v1:/etc/passwd", image, "true"),
        code=125,
        message="cannot mount a directory on /etc/passwd",
    )
    suite.refused("create", "-v", "v1:/x:rslave", image, code=1, message="invalid mode: rslave")
