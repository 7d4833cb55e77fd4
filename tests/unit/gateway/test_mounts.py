"""Mounts as clients ask for them, and as they are shown."""

from typing import Any

import pytest
from vic.exec.v1.container_pb2 import ContainerSpec, Mount, MountForm, MountKind
from vic.storage.v1.volume_pb2 import Volume

from gateway.errors import ApiError
from gateway.fields import Fields
from gateway.translate.configs import host_config_json
from gateway.translate.create import read_create_request
from gateway.translate.mounts import mount_points, read_mounts

VOLUME, TMPFS = MountKind.MOUNT_KIND_VOLUME, MountKind.MOUNT_KIND_TMPFS
SHORT = MountForm.MOUNT_FORM_SHORT


def read(**fields: Any) -> list[Mount]:
    host = Fields(fields, "HostConfig")
    mounts = read_mounts(host).mounts
    host.finish()
    return mounts


@pytest.mark.parametrize(
    ("bind", "mount"),
    [
        ("v:/x", Mount(source="v", target="/x")),
        ("v:/x:ro", Mount(source="v", target="/x", read_only=True, mode="ro")),
        ("v:/x:ro,z", Mount(source="v", target="/x", read_only=True, mode="ro,z")),
        ("v:/x:nocopy", Mount(source="v", target="/x", no_copy=True, mode="nocopy")),
        ("v:/x:rw,cached", Mount(source="v", target="/x", mode="rw,cached")),
    ],
)
def test_volumes_in_one_line(bind: str, mount: Mount) -> None:
    mount.kind, mount.form = VOLUME, SHORT
    assert read(Binds=[bind]) == [mount]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"Binds": ["/etc:/x"]}, 501, "bind mount of /etc is not supported: each container is a"),
        ({"Binds": ["./here:/x"]}, 501, "bind mount of ./here is not supported"),
        ({"Binds": ["/run/docker.sock:/s"]}, 501, "TESTCONTAINERS_RYUK_DISABLED=true"),
        (
            {"Mounts": [{"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/s"}]},
            501,
            "bind mount of /var/run/docker.sock is not supported: no container reaches",
        ),
        ({"Binds": ["v"]}, 400, "invalid volume specification: 'v'"),
        ({"Binds": ["v:/x:ro:y"]}, 400, "invalid volume specification: 'v:/x:ro:y'"),
        ({"Binds": [":/x"]}, 400, "invalid volume specification: ':/x'"),
        ({"Binds": ["v:/x:rprivate"]}, 400, "invalid mode: rprivate"),
        ({"Binds": ["v:/x:foo"]}, 400, "invalid mode: foo"),
        ({"Binds": ["v:/x:ro,rw"]}, 400, "invalid mode: ro,rw"),
        ({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}, 501, "use a named vol"),
        ({"Mounts": [{"Type": "image", "Target": "/x"}]}, 501, "mount type image is not impl"),
        (
            {"Mounts": [{"Type": "x", "Target": "/x"}]},
            400,
            'invalid mount config for type "x": mount type unknown',
        ),
        (
            {"Binds": ["data:v"]},
            400,
            "invalid volume specification: 'data:v': invalid mount config for type \"volume\": "
            "invalid mount path: 'v' mount path must be absolute",
        ),
        ({"Mounts": [{"Target": "/x"}]}, 400, "mount type unknown"),
        ({"Mounts": {}}, 400, "mount type unknown"),
        ({"Mounts": "x"}, 400, "HostConfig.Mounts must be an array"),
        (
            {"Mounts": [{"Type": "volume", "Target": "/x", "BindOptions": {"Propagation": "r"}}]},
            501,
            "HostConfig.Mounts.BindOptions is not implemented yet",
        ),
        (
            {"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": -1}}]},
            400,
            "a size is not negative",
        ),
        (
            {"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [[]]}}]},
            400,
            "invalid option array length",
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], status: int, message: str) -> None:
    if fields == {"Mounts": {}}:
        assert read(**fields) == []
        return
    with pytest.raises(ApiError) as caught:
        read(**fields)
    assert caught.value.status == status
    assert message in caught.value.message


HOST_CONFIG = {
    "Binds": ["named:/n:ro"],
    "Tmpfs": {"/run": "size=64k"},
    "VolumesFrom": ["other:ro"],
    "VolumeDriver": "local",
    "Mounts": [
        {
            "Type": "volume",
            "Source": "mine",
            "Target": "/m",
            "ReadOnly": True,
            "VolumeOptions": {
                "NoCopy": True,
                "Labels": {"a": "b"},
                "Subpath": "sub",
                "DriverConfig": {"Name": "local", "Options": {"size": "1g"}},
            },
        },
        {"Type": "volume", "Target": "/anonymous"},
        {
            "Type": "tmpfs",
            "Target": "/t",
            "TmpfsOptions": {
                "SizeBytes": 65536,
                "Mode": 0o700,
                "Options": [["exec"], ["uid", "7"]],
            },
        },
    ],
}


def asked() -> ContainerSpec:
    body = {"Image": "busybox", "Volumes": {"/declared": {}}, "HostConfig": HOST_CONFIG}
    return read_create_request(body, "", "", (1, 51))


def test_all_that_is_asked_for_is_in_the_specification_and_shown_as_it_was() -> None:
    spec = asked()
    assert list(spec.volumes) == ["/declared"]
    assert [mount.target for mount in spec.mounts] == ["/n", "/run", "/m", "/anonymous", "/t"]
    mine = spec.mounts[2]
    assert (mine.subpath, mine.driver, dict(mine.options)) == ("sub", "local", {"size": "1g"})
    assert spec.mounts[4].tmpfs_options == "exec,uid=7"
    shown = host_config_json(spec)
    assert {name: shown[name] for name in HOST_CONFIG} == HOST_CONFIG


def test_a_declared_volume_is_no_bind() -> None:
    with pytest.raises(ApiError, match="invalid volume specification: '/a:/b'"):
        read_create_request({"Image": "x", "Volumes": {"/a:/b": {}}}, "", "", (1, 51))


def test_what_is_mounted_is_shown_with_its_volume() -> None:
    volume = Volume(name="named", driver="vsphere", path="/store/named/disk.vmdk")
    points = list(mount_points(asked().mounts, {"named": volume}))
    assert points[0] == {
        "Type": "volume",
        "Name": "named",
        "Source": "/store/named/disk.vmdk",
        "Destination": "/n",
        "Driver": "vsphere",
        "Mode": "ro",
        "RW": False,
        "Propagation": "",
    }
    # dockerd tells of a tmpfs that `--mount` made alone.
    assert [(point["Type"], point["Destination"]) for point in points] == [
        ("volume", "/n"),
        ("volume", "/m"),
        ("volume", "/anonymous"),
        ("tmpfs", "/t"),
    ]
