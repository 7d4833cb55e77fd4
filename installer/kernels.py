"""`vic kernel`: kernels that a VCH or a container can choose for its VMs.

A kernel is added as a bootstrap image of its own, and only when a VM booted it to its tether. Its
record is ``DATA/bootstrap/kernels.json``, which the host agent reads; a kernel that came as a file
is kept in ``DATA/kernels``, since each version of the tether needs an image of its own.
"""

import asyncio
import json
import os
import re
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from installer.bootstrap import link_image, unlink_image
from installer.checks import require_root
from installer.errors import InstallerError, NotRunningError, UsageError
from installer.facets import Say, facet_channel
from installer.instance import Instance, check_data_dir, load_instance
from portlayer.errors import VicError
from portlayer.identity import Role
from tether.bootstrap.debian import KERNEL_META_PACKAGE
from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.image import DEFAULT_CACHE, BootstrapImage, KernelSource, build

RECORD = "kernels.json"
# A kernel that hangs is given up by exec after two minutes.
TRY_SECONDS = 200.0
LIST_SECONDS = 30.0
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Kernel:
    """A kernel that has a name: the image it is in, and where it is from."""

    digest: str
    release: str
    package: str
    """Name of the Debian package; empty for one that came as a file."""


@dataclass(frozen=True)
class Record:
    """What ``kernels.json`` says."""

    default: str
    kernels: dict[str, Kernel]


def read_record(instance: Instance) -> Record:
    """Return the record; an empty one where there is none."""
    try:
        fields = json.loads((instance.bootstrap_dir / RECORD).read_text())
        kernels = {name: Kernel(**kernel) for name, kernel in fields["kernels"].items()}
        return Record(fields["default"], kernels)
    except FileNotFoundError:
        return Record("", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InstallerError(f"{instance.bootstrap_dir / RECORD} is damaged: {error!r}") from error


def write_record(instance: Instance, record: Record) -> None:
    """Write the record, whole or not at all."""
    path = instance.bootstrap_dir / RECORD
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record), indent=2))
    temporary.chmod(0o644)
    temporary.replace(path)


def add_kernel(
    data_dir: Path, name: str, package: str | None, file: Path | None, say: Say
) -> Kernel:
    """Build an image with a kernel, boot it, and give it a name. Raises InstallerError.

    Where it doesn't boot, all is as before.
    """
    instance = _running(data_dir)
    if not _NAME.fullmatch(name) or name == "none":
        raise UsageError(f"no name for a kernel: {name!r}; use [a-z0-9][a-z0-9_.-]*")
    record = read_record(instance)
    if name in record.kernels:
        raise UsageError(f"there is a kernel named {name!r} already; `vic kernel rm` removes it")
    source = KernelSource(file=file) if file else KernelSource(package or KERNEL_META_PACKAGE)
    say(f"building the bootstrap image of {file or source.package}")
    image = _build(source)
    with ExitStack() as undo:
        if link_image(instance, image.directory):
            undo.callback(unlink_image, instance, image.digest)
        say("booting it once")
        try:
            release = asyncio.run(_try(instance, image.digest))
        except VicError as error:
            raise InstallerError(
                f"the kernel does not boot, and was not added: {error.message}"
            ) from error
        if file is not None:
            kept = _kept_file(instance, name)
            undo.callback(kept.unlink, missing_ok=True)
            shutil.copyfile(file, kept)
        kernel = Kernel(image.digest, release, "" if file else source.package)
        write_record(instance, Record(record.default, {**record.kernels, name: kernel}))
        undo.pop_all()
    return kernel


def list_kernels(data_dir: Path) -> tuple[dict[str, Kernel], str]:
    """Return the kernels by name, and the VCH's choice. Raises InstallerError."""
    instance = _running(data_dir)
    try:
        chosen = asyncio.run(_chosen(instance))
    except VicError as error:
        raise InstallerError(error.message) from error
    return read_record(instance).kernels, chosen


def remove_kernel(data_dir: Path, name: str) -> None:
    """Take a kernel's name away, and its image where nothing else needs it.

    Raises InstallerError where it is the VCH's choice, or a container's.
    """
    instance = _running(data_dir)
    record = read_record(instance)
    if name not in record.kernels:
        raise UsageError(f"no kernel is named {name!r}")
    try:
        users = asyncio.run(_users(instance, name))
        chosen = asyncio.run(_chosen(instance))
    except VicError as error:
        raise InstallerError(error.message) from error
    if name == chosen:
        raise InstallerError(f"{name} is this host's choice; `vic configure --kernel=none` first")
    if users:
        raise InstallerError(f"{name} is the kernel of {', '.join(users[:3])}, {len(users)} in all")
    left = {other: kernel for other, kernel in record.kernels.items() if other != name}
    write_record(instance, Record(record.default, left))
    digest = record.kernels[name].digest
    if digest not in {record.default, *(kernel.digest for kernel in left.values())}:
        unlink_image(instance, digest)
    _kept_file(instance, name).unlink(missing_ok=True)


def provide_kernels(instance: Instance, default: str, say: Say) -> None:
    """Give the kernels that have names images of this version, and link those alone.

    One that can't be built is told, and not there until a later `vic up` can build it.
    """
    record = read_record(instance)
    kernels = {}
    for name, kernel in record.kernels.items():
        source = KernelSource(kernel.package)
        if not kernel.package:
            source = KernelSource(file=_kept_file(instance, name))
        try:
            image = _build(source)
        except InstallerError as error:
            say(f"the kernel {name} is not there: {error}")
            kernels[name] = Kernel("", kernel.release, kernel.package)
            continue
        link_image(instance, image.directory)
        kernels[name] = Kernel(image.digest, kernel.release, kernel.package)
    write_record(instance, Record(default, kernels))
    needed = {default, RECORD, *(kernel.digest for kernel in kernels.values())}
    for entry in os.listdir(instance.bootstrap_dir):
        if entry not in needed:
            unlink_image(instance, entry)


def _kept_file(instance: Instance, name: str) -> Path:
    return instance.kernels_dir / f"{name}.deb"


def _build(source: KernelSource) -> BootstrapImage:
    try:
        return build(DEFAULT_CACHE, kernel=source)
    except (BootstrapError, OSError) as error:
        raise InstallerError(f"no image can be built with it: {error}") from error


def _running(data_dir: Path) -> Instance:
    require_root("kernel")
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not instance.may_answer(Role.EXEC):
        raise NotRunningError("the suite is not running; start it with `vic up`")
    return instance


async def _try(instance: Instance, digest: str) -> str:
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        request = exec_pb2.TryKernelRequest(digest=digest)
        return (await stub.TryKernel(request, timeout=TRY_SECONDS)).kernel_release


async def _chosen(instance: Instance) -> str:
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        # Nothing is changed by a request that says nothing.
        return (await stub.Configure(exec_pb2.ConfigureRequest(), timeout=LIST_SECONDS)).kernel


async def _users(instance: Instance, name: str) -> list[str]:
    """Return the names of the containers whose kernel this is."""
    found, page = [], ""
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        while True:
            request = exec_pb2.ListRequest(page_token=page)
            answer = await stub.List(request, timeout=LIST_SECONDS)
            found += [one.spec.name for one in answer.containers if one.spec.kernel == name]
            if not (page := answer.next_page_token):
                return found
