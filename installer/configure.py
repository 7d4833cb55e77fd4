"""`vic configure`: change the limits of a suite that runs, effective at once."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
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
_FACTOR = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,2}))?", re.ASCII)
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


def parse_factor(text: str) -> int:
    """Return percent of "1.5" times; "default" is 0. Raises UsageError for anything else."""
    if text == "default":
        return 0
    found = _FACTOR.fullmatch(text)
    if found is None:
        raise UsageError(f"not a factor: {text!r}; write it as 1.5 or 4, or default")
    # Zero would mean the default.
    return max(1, int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")))


@dataclass(frozen=True)
class Wishes:
    """Limits as they were typed; None leaves one as it is."""

    containers: str | None = None
    memory: str | None = None
    cpus: str | None = None
    storage: str | None = None
    overcommit: str | None = None


def configure(data_dir: Path, wishes: Wishes) -> exec_pb2.Limits:
    """Set the limits that are given and return all. Raises InstallerError."""
    require_root("configure")
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not instance.socket(Role.EXEC).exists():
        raise NotRunningError("the suite is not running; start it with `vic up`")
    request = exec_pb2.ConfigureRequest(
        containers=_parsed(parse_count, wishes.containers),
        memory_bytes=_parsed(parse_size, wishes.memory),
        cpus=_parsed(parse_count, wishes.cpus),
        storage_bytes=_parsed(parse_size, wishes.storage),
        memory_overcommit_percent=_parsed(parse_factor, wishes.overcommit),
    )
    try:
        return asyncio.run(_configure(instance, request))
    except VicError as error:
        raise InstallerError(error.message) from error


def _parsed(parse: Callable[[str], int], text: str | None) -> int | None:
    return None if text is None else parse(text)


async def _configure(instance: Instance, request: exec_pb2.ConfigureRequest) -> exec_pb2.Limits:
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        return (await stub.Configure(request, timeout=CONFIGURE_SECONDS)).limits
