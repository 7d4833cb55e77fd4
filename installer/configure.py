"""`vic configure`: change the limits of a suite that runs, effective at once."""

import asyncio
import re
from pathlib import Path

from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from installer.checks import require_root
from installer.errors import InstallerError, NotRunningError, UsageError
from installer.facets import facet_channel
from installer.instance import Instance, check_data_dir, load_instance
from portlayer.errors import VicError
from portlayer.identity import Role

CONFIGURE_SECONDS = 30.0
_SIZE = re.compile(r"([0-9]{1,12})([bkmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def parse_size(text: str) -> int:
    """Return bytes of "512m" or "4g"; "none" is 0. Raises UsageError for anything else."""
    if text == "none":
        return 0
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"not a size: {text!r}; write it as 512m or 4g, or none")
    return int(found[1]) * _UNITS[found[2].lower()]


def parse_count(text: str) -> int:
    """Return a whole number; "none" is 0. Raises UsageError for anything else."""
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:10]) >= 2**31:
        raise UsageError(f"not a number: {text!r}")
    return int(text)


def configure(
    data_dir: Path,
    containers: str | None,
    memory: str | None,
    cpus: str | None,
    kernel: str | None,
) -> exec_pb2.ConfigureResponse:
    """Set what is given and return all. Raises InstallerError."""
    require_root("configure")
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not instance.socket(Role.EXEC).exists():
        raise NotRunningError("the suite is not running; start it with `vic up`")
    request = exec_pb2.ConfigureRequest(
        containers=None if containers is None else parse_count(containers),
        memory_bytes=None if memory is None else parse_size(memory),
        cpus=None if cpus is None else parse_count(cpus),
        kernel="" if kernel == "none" else kernel,
    )
    try:
        return asyncio.run(_configure(instance, request))
    except VicError as error:
        raise InstallerError(error.message) from error


async def _configure(
    instance: Instance, request: exec_pb2.ConfigureRequest
) -> exec_pb2.ConfigureResponse:
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        return await stub.Configure(request, timeout=CONFIGURE_SECONDS)
