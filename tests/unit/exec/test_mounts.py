"""Volumes and tmpfs as they are asked for, completed, and told to the guest."""

import hashlib
from typing import Any

import pytest
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, volume_pb2

from portlayer.errors import InvalidArgument
from services.exec.drivers import MachineSpec
from services.exec.drivers.guest import guest_config
from services.exec.drivers.qemu.taps import has_tap
from services.exec.mounts import (
    complete_mounts,
    in_order,
    lend,
    parse_lender,
    tmpfs_options,
    validate_mounts,
    volume_uses,
)

ID = "c" * 64
VOLUME, TMPFS = container_pb2.MOUNT_KIND_VOLUME, container_pb2.MOUNT_KIND_TMPFS


def volume(target: str, source: str = "", **fields: Any) -> container_pb2.Mount:
    return container_pb2.Mount(kind=VOLUME, source=source, target=target, **fields)


def tmpfs(target: str, **fields: Any) -> container_pb2.Mount:
    return container_pb2.Mount(kind=TMPFS, target=target, **fields)


def spec(*mounts: container_pb2.Mount, **fields: Any) -> container_pb2.ContainerSpec:
    return container_pb2.ContainerSpec(mounts=mounts, **fields)


def completed(
    asked: container_pb2.ContainerSpec, *declared: str, borrowed: Any = ()
) -> list[container_pb2.Mount]:
    return complete_mounts(asked, declared, borrowed, ID)


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (volume("", "v"), "field Target must not be empty"),
        (volume("data", "v"), "invalid mount path: 'data' mount path must be absolute"),
        (volume("/", "v"), "invalid specification: destination can't be '/'"),
        (volume("/a/..", "v"), "invalid specification: destination can't be '/'"),
        (volume("/proc/x", "v"), '"/proc/x" cannot be mounted because it is inside /proc'),
        (volume("/x\0", "v"), "NUL byte"),
        (volume("/x", "v", subpath="../y"), "subpath must be a relative path within the volume"),
        (volume("/x", "v", subpath="/y"), "subpath must be a relative path within the volume"),
        (container_pb2.Mount(target="/x"), "mount type unknown"),
        (tmpfs("/x", source="v"), "field Source must not be specified"),
        (tmpfs("/x", tmpfs_options="foo"), 'invalid tmpfs option "foo"'),
        (tmpfs("/x", tmpfs_options="size=lots"), 'invalid tmpfs option "size=lots"'),
        (tmpfs("/x", tmpfs_options="size"), 'invalid tmpfs option "size"'),
        (tmpfs("/x", tmpfs_options="mpol=default"), 'invalid tmpfs option "mpol=default"'),
    ],
)
def test_what_can_not_be_mounted(mount: container_pb2.Mount, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        validate_mounts(spec(mount))
    assert message in caught.value.message


def test_one_place_is_mounted_once() -> None:
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /x/"):
        validate_mounts(spec(volume("/x", "v"), tmpfs("/x/")))


def test_what_is_asked_for_wins_over_what_others_lend_and_that_over_what_is_declared() -> None:
    borrowed = [volume("/a", "lent"), volume("/b", "lent")]
    mounts = completed(spec(volume("/a/", "own")), "/a", "/b", "/c/", borrowed=borrowed)
    anonymous = hashlib.sha256(f"{ID}:/c".encode()).hexdigest()
    assert [(m.target, m.source, m.anonymous) for m in mounts] == [
        ("/a", "own", False),
        ("/b", "lent", False),
        ("/c", anonymous, True),
    ]
    assert mounts[2].form == container_pb2.MOUNT_FORM_DECLARED


def test_a_tmpfs_takes_the_place_of_a_declared_volume() -> None:
    (mount,) = completed(spec(tmpfs("/c")), "/c")
    assert mount.kind == TMPFS


def test_too_many_are_refused_with_the_figures() -> None:
    mounts = [volume(f"/{n}", f"v{n}") for n in range(33)]
    with pytest.raises(InvalidArgument, match="33 volumes and 33 mounts: a container has at most"):
        completed(spec(*mounts))
    one = [volume(f"/{n}", "v") for n in range(33)]
    assert len(completed(spec(*one))) == 33


def test_a_driver_for_all_is_that_of_named_volumes() -> None:
    mounts = completed(spec(volume("/a", "v"), volume("/b"), volume_driver="vsphere"))
    assert [mount.driver for mount in mounts] == ["vsphere", ""]


def test_what_is_lent() -> None:
    mounts = [volume("/a", "v", mode="nocopy"), tmpfs("/t"), volume("/b", "w", read_only=True)]
    assert [(m.target, m.read_only, m.no_copy) for m in lend(mounts, read_only=False)] == [
        ("/a", False, True),
        ("/b", True, True),
    ]
    assert all(mount.read_only for mount in lend(mounts, read_only=True))


@pytest.mark.parametrize(
    ("text", "lender"),
    [("x", ("x", False)), ("x:ro", ("x", True)), ("x:rw", ("x", False)), ("x:ro,z", ("x", True))],
)
def test_whose_volumes_are_borrowed(text: str, lender: tuple[str, bool]) -> None:
    assert parse_lender(text) == lender


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "invalid volumes-from"), (":ro", "invalid volumes-from"), ("x:no", "invalid mode")],
)
def test_what_names_no_lender(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        validate_mounts(spec(volumes_from=[text]))


@pytest.mark.parametrize(
    ("options", "flags", "data"),
    [
        ("", {"noexec", "nosuid", "nodev"}, ""),
        ("exec,suid,dev", set(), ""),
        ("ro,size=64k,mode=1777", {"noexec", "nosuid", "nodev", "ro"}, "size=64k,mode=1777"),
        ("ro,rw,uid=7,gid=8", {"noexec", "nosuid", "nodev"}, "uid=7,gid=8"),
        ("noatime,exec,noexec", {"nosuid", "nodev", "noatime", "noexec"}, ""),
    ],
)
def test_options_of_a_tmpfs(options: str, flags: set[str], data: str) -> None:
    words, told = tmpfs_options(tmpfs("/t", tmpfs_options=options))
    assert (set(words), told) == (flags, data)


def test_size_and_mode_of_a_tmpfs_come_from_fields_too() -> None:
    mount = tmpfs("/t", tmpfs_size_bytes=65536, tmpfs_mode=0o700)
    assert tmpfs_options(mount)[1] == "size=65536,mode=700"


def test_mounts_below_others_come_after_them() -> None:
    mounts = [volume("/a/b/c", "v"), volume("/z", "v"), volume("/a/b", "v")]
    assert [mount.target for mount in in_order(mounts)] == ["/z", "/a/b", "/a/b/c"]


def machine(*mounts: container_pb2.Mount, first_start: bool = True) -> MachineSpec:
    return MachineSpec(
        container_id=ID,
        boot_id="boot",
        spec=spec(*mounts),
        disk=disk_pb2.Disk(),
        endpoints=[network_pb2.Endpoint(management=True, ipv4_address="100.112.0.5")],
        tether_endpoint="100.112.0.1:7443",
        tether_server_name="interaction.x.vic",
        volumes=[
            volume_pb2.AttachedDisk(volume_name="read", read_only=True),
            volume_pb2.AttachedDisk(volume_name="written"),
        ],
        first_start=first_start,
    )


def test_what_the_guest_is_told() -> None:
    mounts = (
        tmpfs("/t", tmpfs_options="size=1m"),
        volume("/w/sub", "written", subpath="sub"),
        volume("/w", "written"),
        volume("/r", "read", read_only=True),
        volume("/n", "written", no_copy=True),
    )
    told = guest_config(machine(*mounts), has_tap).mounts
    assert [(m.target, m.read_only, m.WhichOneof("kind")) for m in told] == [
        ("/t", False, "tmpfs"),
        ("/w", False, "volume"),
        ("/r", True, "volume"),
        ("/n", False, "volume"),
        ("/w/sub", False, "volume"),
    ]
    volumes = [m.volume for m in told if m.HasField("volume")]
    assert [(v.disk, v.copy_up, v.subpath) for v in volumes] == [
        (1, True, ""),
        (0, False, ""),
        (1, False, ""),
        (1, False, "sub"),
    ]
    again = guest_config(machine(*mounts, first_start=False), has_tap).mounts
    assert not any(mount.volume.copy_up for mount in again)


def test_what_storage_is_asked_for() -> None:
    asked = spec(volume("/a", "v", read_only=True, subpath="x", labels={"l": "1"}), tmpfs("/t"))
    (use,) = volume_uses(asked)
    assert (use.name, use.target, use.read_only, use.no_copy) == ("v", "/a", True, True)
    assert dict(use.labels) == {"l": "1"}
