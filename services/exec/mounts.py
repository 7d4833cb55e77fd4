"""Volumes and tmpfs that a container mounts: checked, completed from image and others, and used."""

import hashlib
import posixpath
import re
from collections.abc import Iterable, Sequence

from vic.exec.v1 import container_pb2
from vic.storage.v1 import volume_pb2

from portlayer.errors import InvalidArgument, Reason

# Each is a disk of the VM, beside its root disk's chain, among descriptors passed at once (253).
MOST_VOLUMES = 32
MOST_MOUNTS = 100
LONGEST_PATH = 4095

_VOLUME = container_pb2.MOUNT_KIND_VOLUME
_TMPFS = container_pb2.MOUNT_KIND_TMPFS
_WORDS = {_VOLUME: "volume", _TMPFS: "tmpfs"}

# What Docker adds to every tmpfs; a word of the user's takes it away.
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
# Words of mount(8): what they set ("+") or clear ("-").
_TMPFS_WORDS = {
    "defaults": (),
    "ro": ("ro", "+"),
    "rw": ("ro", "-"),
    "suid": ("nosuid", "-"),
    "nosuid": ("nosuid", "+"),
    "dev": ("nodev", "-"),
    "nodev": ("nodev", "+"),
    "exec": ("noexec", "-"),
    "noexec": ("noexec", "+"),
    "sync": ("sync", "+"),
    "async": ("sync", "-"),
    "dirsync": ("dirsync", "+"),
    "atime": ("noatime", "-"),
    "noatime": ("noatime", "+"),
    "diratime": ("nodiratime", "-"),
    "nodiratime": ("nodiratime", "+"),
    "relatime": (),
    "strictatime": ("strictatime", "+"),
    "nostrictatime": ("strictatime", "-"),
}
_SIZE = re.compile(r"[0-9]{1,18}[kmgKMG%]?")
_TMPFS_VALUES = {
    "size": _SIZE,
    "nr_blocks": _SIZE,
    "nr_inodes": _SIZE,
    "mode": re.compile(r"[0-7]{1,5}"),
    "uid": re.compile(r"[0-9]{1,10}"),
    "gid": re.compile(r"[0-9]{1,10}"),
}


def uses_volumes(spec: container_pb2.ContainerSpec) -> bool:
    """Tell whether a completed specification mounts volumes."""
    return any(mount.kind == _VOLUME for mount in spec.mounts)


def validate_mounts(spec: container_pb2.ContainerSpec) -> None:
    """Return when what is asked for can be mounted.

    Raises InvalidArgument (INVALID_SPEC), in Docker's words where it has some.
    """
    seen = set()
    for mount in spec.mounts:
        if mount.kind not in _WORDS:
            raise _invalid("mount type unknown")
        _check_target(mount.target, _WORDS[mount.kind])
        target = clean(mount.target)
        if target in seen:
            raise _invalid(f"Duplicate mount point: {mount.target}")
        seen.add(target)
        if mount.kind == _TMPFS:
            _check_tmpfs(mount)
        elif ".." in mount.subpath.split("/") or mount.subpath.startswith("/"):
            raise _invalid(
                'invalid mount config for type "volume": subpath must be a relative path within '
                "the volume"
            )
    for target in spec.volumes:
        _check_target(target, "volume")
    for text in spec.volumes_from:
        parse_lender(text)


def complete_mounts(
    spec: container_pb2.ContainerSpec,
    declared: Iterable[str],
    borrowed: Iterable[container_pb2.Mount],
    container_id: str,
) -> list[container_pb2.Mount]:
    """Return all that a container mounts, with names for volumes that have none.

    What is asked for itself wins over what comes from another container, and that over what image
    and specification only declare. Raises InvalidArgument (INVALID_SPEC).
    """
    mounts: dict[str, container_pb2.Mount] = {}
    for asked in spec.mounts:
        mount = _copy(asked)
        mounts[mount.target] = mount
        if mount.kind == _VOLUME and mount.source:
            mount.driver = mount.driver or spec.volume_driver
    for other in borrowed:
        mounts.setdefault(clean(other.target), other)
    for path in declared:
        _check_target(path, "volume")
        mounts.setdefault(
            clean(path),
            container_pb2.Mount(
                kind=_VOLUME, target=clean(path), form=container_pb2.MOUNT_FORM_DECLARED
            ),
        )
    for mount in mounts.values():
        if mount.kind == _VOLUME and not mount.source:
            # The same again when a create is repeated.
            name = hashlib.sha256(f"{container_id}:{mount.target}".encode()).hexdigest()
            mount.source, mount.anonymous = name, True
    completed = list(mounts.values())
    names = {mount.source for mount in completed if mount.kind == _VOLUME}
    if len(names) > MOST_VOLUMES or len(completed) > MOST_MOUNTS:
        raise _invalid(
            f"{len(names)} volumes and {len(completed)} mounts: a container has at most "
            f"{MOST_VOLUMES} volumes and {MOST_MOUNTS} mounts"
        )
    return completed


def parse_lender(text: str) -> tuple[str, bool]:
    """Return the container that an entry of volumes_from names, and whether it is only read."""
    reference, colon, mode = text.partition(":")
    if not reference:
        raise _invalid(f"invalid volumes-from specification: '{text}'")
    if colon and not {*mode.split(",")} <= {"ro", "rw", "z", "Z"}:
        raise _invalid(f"invalid mode for volumes-from: {mode}")
    return reference, "ro" in mode.split(",")


def lend(mounts: Iterable[container_pb2.Mount], *, read_only: bool) -> list[container_pb2.Mount]:
    """Return a container's volumes as another mounts them."""
    lent = []
    for mount in mounts:
        if mount.kind == _VOLUME:
            other = _copy(mount)
            other.form = container_pb2.MOUNT_FORM_BORROWED
            other.mode = ""
            other.no_copy = True
            other.read_only = mount.read_only or read_only
            lent.append(other)
    return lent


def volume_uses(spec: container_pb2.ContainerSpec) -> list[volume_pb2.VolumeUse]:
    """Return the volumes of a completed specification as storage is asked for them."""
    return [
        volume_pb2.VolumeUse(
            name=mount.source,
            anonymous=mount.anonymous,
            target=mount.target,
            read_only=mount.read_only,
            no_copy=not may_copy(mount),
            driver=mount.driver,
            labels=mount.labels,
            options=mount.options,
        )
        for mount in spec.mounts
        if mount.kind == _VOLUME
    ]


def may_copy(mount: container_pb2.Mount) -> bool:
    """Tell whether the image's files go into the volume; a directory of one has to be there."""
    return not mount.no_copy and not mount.subpath


def in_order(mounts: Iterable[container_pb2.Mount]) -> list[container_pb2.Mount]:
    """Return mounts in the order in which they are made: those below others after them."""
    return sorted(mounts, key=lambda mount: mount.target.count("/"))


def tmpfs_options(mount: container_pb2.Mount) -> tuple[Sequence[str], str]:
    """Return a tmpfs's flags, in words of mount(8), and its data for mount(2).

    Raises InvalidArgument (INVALID_SPEC) naming the option that can't be.
    """
    flags = dict.fromkeys(_TMPFS_DEFAULTS)
    data = {}
    if mount.tmpfs_size_bytes:
        data["size"] = str(mount.tmpfs_size_bytes)
    if mount.tmpfs_mode:
        data["mode"] = f"{mount.tmpfs_mode:o}"
    for option in filter(None, mount.tmpfs_options.split(",")):
        name, given, value = option.partition("=")
        if given and name in _TMPFS_VALUES and _TMPFS_VALUES[name].fullmatch(value):
            data[name] = value
        elif not given and name in _TMPFS_WORDS:
            word, sign = _TMPFS_WORDS[name] or ("", "")
            if sign == "+":
                flags[word] = None
            elif sign == "-":
                flags.pop(word, None)
        else:
            raise _invalid(f'invalid tmpfs option "{option[:100]}"')
    return list(flags), ",".join(f"{name}={value}" for name, value in data.items())


def clean(path: str) -> str:
    """Return an absolute path without what leads nowhere."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _copy(mount: container_pb2.Mount) -> container_pb2.Mount:
    copy = container_pb2.Mount()
    copy.CopyFrom(mount)
    copy.target = clean(mount.target)
    return copy


def _check_target(target: str, word: str) -> None:
    prefix = f'invalid mount config for type "{word}": '
    if not target:
        raise _invalid(f"{prefix}field Target must not be empty")
    if not target.startswith("/"):
        raise _invalid(f"{prefix}invalid mount path: '{target}' mount path must be absolute")
    if "\0" in target or len(target.encode()) > LONGEST_PATH:
        raise _invalid(f"{prefix}the mount path is too long, or has a NUL byte")
    path = clean(target)
    if path == "/":
        raise _invalid(f"{prefix}invalid specification: destination can't be '/'")
    if path == "/proc" or path.startswith("/proc/"):
        raise _invalid(f'"{path}" cannot be mounted because it is inside /proc')


def _check_tmpfs(mount: container_pb2.Mount) -> None:
    if mount.source:
        raise _invalid('invalid mount config for type "tmpfs": field Source must not be specified')
    tmpfs_options(mount)


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)
