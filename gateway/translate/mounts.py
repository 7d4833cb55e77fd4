"""What a container mounts: `-v`, `--mount`, `--tmpfs`, `--volumes-from`, and back for inspect.

Directories of the host can't be mounted: a container is a virtual machine with disks of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vic.exec.v1.container_pb2 import ContainerSpec, Mount, MountForm, MountKind
from vic.storage.v1.volume_pb2 import Volume

from gateway.errors import ApiError, bad_parameter, not_implemented, not_possible
from gateway.fields import Fields

_WHY = (
    "each container is a virtual machine that sees no file system of the host; use a named volume "
    "(docker volume create) and put the files there with docker cp or in the image"
)
_WHY_NO_SOCKET = (
    "no container reaches the Docker endpoint; testcontainers does without its reaper where "
    "TESTCONTAINERS_RYUK_DISABLED=true is in its environment"
)
_SOCKET = "docker.sock"
# Without an effect on Linux, or of SELinux on a host that has none for volumes.
_WITHOUT_EFFECT = {"z", "Z", "cached", "consistent", "delegated", "default"}
_PROPAGATIONS = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}


@dataclass
class HostMounts:
    """What HostConfig says of mounts."""

    mounts: list[Mount] = field(default_factory=list)
    volumes_from: list[str] = field(default_factory=list)
    volume_driver: str = ""


def read_mounts(fields: Fields) -> HostMounts:
    """Take the fields of HostConfig that are about mounts. Raises 400 and 501."""
    short = [_bind(text) for text in fields.texts("Binds")]
    short += [
        Mount(
            kind=MountKind.MOUNT_KIND_TMPFS,
            target=target,
            tmpfs_options=options,
            form=MountForm.MOUNT_FORM_SHORT,
        )
        for target, options in fields.text_mapping("Tmpfs").items()
    ]
    name = fields.name_of("Mounts")
    entries = fields.raw("Mounts") or []
    if not isinstance(entries, list):
        raise bad_parameter(f"invalid JSON: {name} must be an array")
    return HostMounts(
        mounts=[*short, *(_mount(Fields(entry, name)) for entry in entries)],
        volumes_from=fields.texts("VolumesFrom"),
        volume_driver=fields.text("VolumeDriver"),
    )


def read_declared(volumes: Mapping[str, Any]) -> list[str]:
    """Return the paths of Config.Volumes. Raises a 400 for what is a bind in the wrong place."""
    for path in volumes:
        if ":" in path:
            raise bad_parameter(f"invalid volume specification: '{path}'")
    return list(volumes)


def _bind(text: str) -> Mount:
    """A volume as `-v` has it: NAME:TARGET[:MODE]."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts[:2]):
        raise _bad_bind(text)
    source, target, *modes = parts
    if source.startswith(("/", "~", ".")):
        raise _no_bind(source)
    if not target.startswith("/"):
        problem = f"invalid mount path: '{target}' mount path must be absolute"
        raise _bad_bind(text, f': invalid mount config for type "volume": {problem}')
    mount = Mount(
        kind=MountKind.MOUNT_KIND_VOLUME,
        source=source,
        target=target,
        form=MountForm.MOUNT_FORM_SHORT,
        mode=modes[0] if modes else "",
    )
    words = mount.mode.split(",") if modes else []
    for word in words:
        match word:
            case "ro":
                mount.read_only = True
            case "nocopy":
                mount.no_copy = True
            case "rw" | "":
                continue
            case _ if word in _PROPAGATIONS or word not in _WITHOUT_EFFECT:
                # Propagation is for binds alone, as with dockerd.
                raise bad_parameter(f"invalid mode: {mount.mode}")
    if {"ro", "rw"} <= set(words):
        raise bad_parameter(f"invalid mode: {mount.mode}")
    return mount


def _no_bind(source: str) -> ApiError:
    why = _WHY_NO_SOCKET if source.rsplit("/", 1)[-1] == _SOCKET else _WHY
    return not_possible(f"bind mount of {source}", why)


def _bad_bind(text: str, why: str = "") -> ApiError:
    return bad_parameter(f"invalid volume specification: '{text}'{why}")


def _mount(fields: Fields) -> Mount:
    kind = fields.text("Type")
    mount = Mount(
        source=fields.text("Source"),
        target=fields.text("Target"),
        read_only=fields.flag("ReadOnly"),
    )
    _check_consistency(fields.text("Consistency"))
    match kind:
        case "volume":
            mount.kind = MountKind.MOUNT_KIND_VOLUME
            _volume_options(fields.child("VolumeOptions"), mount)
        case "tmpfs":
            mount.kind = MountKind.MOUNT_KIND_TMPFS
            _tmpfs_options(fields.child("TmpfsOptions"), mount)
        case "bind":
            raise _no_bind(mount.source)
        case "npipe" | "cluster" | "image":
            raise not_implemented(f"mount type {kind}")
        case _:
            raise bad_parameter(f'invalid mount config for type "{kind}": mount type unknown')
    fields.finish()
    return mount


def _check_consistency(text: str) -> None:
    if text and text not in _WITHOUT_EFFECT:
        raise bad_parameter(f"invalid consistency mode: {text}")


def _volume_options(fields: Fields, mount: Mount) -> None:
    mount.no_copy = fields.flag("NoCopy")
    mount.labels.update(fields.text_mapping("Labels"))
    mount.subpath = fields.text("Subpath")
    driver = fields.child("DriverConfig")
    mount.driver = driver.text("Name")
    mount.options.update(driver.text_mapping("Options"))
    driver.finish()
    fields.finish()


def _tmpfs_options(fields: Fields, mount: Mount) -> None:
    size, mode = fields.number("SizeBytes"), fields.number("Mode")
    if size < 0 or not 0 <= mode <= 0o7777:
        raise bad_parameter(
            'invalid mount config for type "tmpfs": a size is not negative, a mode at most 07777'
        )
    mount.tmpfs_size_bytes, mount.tmpfs_mode = size, mode
    words = []
    for option in fields.arrays("Options"):
        if not 1 <= len(option) <= 2:
            raise bad_parameter("invalid option array length")
        words.append("=".join(option))
    mount.tmpfs_options = ",".join(words)
    fields.finish()


def binds_json(spec: ContainerSpec) -> list[str] | None:
    """HostConfig.Binds."""
    return [
        ":".join(filter(None, (mount.source, mount.target, mount.mode)))
        for mount in spec.mounts
        if mount.form == MountForm.MOUNT_FORM_SHORT and not _is_tmpfs(mount)
    ] or None


def tmpfs_json(spec: ContainerSpec) -> dict[str, str]:
    """HostConfig.Tmpfs; empty where there is none."""
    return {
        mount.target: mount.tmpfs_options
        for mount in spec.mounts
        if mount.form == MountForm.MOUNT_FORM_SHORT and _is_tmpfs(mount)
    }


def mounts_json(spec: ContainerSpec) -> list[dict[str, Any]]:
    """HostConfig.Mounts."""
    return [
        _asked(mount) for mount in spec.mounts if mount.form == MountForm.MOUNT_FORM_UNSPECIFIED
    ]


def mount_points(
    mounts: Iterable[Mount], volumes: Mapping[str, Volume]
) -> Iterator[dict[str, Any]]:
    """The Mounts of an inspection or a list; ``volumes`` are those that are known, by name."""
    for mount in mounts:
        if _is_tmpfs(mount):
            # dockerd tells of those that `--mount` made alone.
            if mount.form == MountForm.MOUNT_FORM_UNSPECIFIED:
                yield {
                    "Type": "tmpfs",
                    "Source": "",
                    "Destination": mount.target,
                    "Mode": "",
                    "RW": not mount.read_only,
                    "Propagation": "",
                }
            continue
        volume = volumes.get(mount.source)
        yield {
            "Type": "volume",
            "Name": mount.source,
            "Source": volume.path if volume is not None else "",
            "Destination": mount.target,
            "Driver": volume.driver if volume is not None else mount.driver or "local",
            "Mode": mount.mode,
            "RW": not mount.read_only,
            "Propagation": "",
        }


def _is_tmpfs(mount: Mount) -> bool:
    return mount.kind == MountKind.MOUNT_KIND_TMPFS


def _asked(mount: Mount) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Type": "tmpfs" if _is_tmpfs(mount) else "volume",
        "Target": mount.target,
    }
    if mount.source and not mount.anonymous:
        entry["Source"] = mount.source
    if mount.read_only:
        entry["ReadOnly"] = True
    options: dict[str, Any] = {}
    if _is_tmpfs(mount):
        if mount.tmpfs_size_bytes:
            options["SizeBytes"] = mount.tmpfs_size_bytes
        if mount.tmpfs_mode:
            options["Mode"] = mount.tmpfs_mode
        if mount.tmpfs_options:
            options["Options"] = [word.split("=", 1) for word in mount.tmpfs_options.split(",")]
        return {**entry, **({"TmpfsOptions": options} if options else {})}
    if mount.no_copy:
        options["NoCopy"] = True
    if mount.labels:
        options["Labels"] = dict(mount.labels)
    if mount.subpath:
        options["Subpath"] = mount.subpath
    if mount.driver or mount.options:
        options["DriverConfig"] = {"Name": mount.driver, "Options": dict(mount.options)}
    return {**entry, **({"VolumeOptions": options} if options else {})}
