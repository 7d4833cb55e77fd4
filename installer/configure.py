"""`vic configure`: a running suite's limits, and how its containers start; effective at once."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from installer.checks import require_root
from installer.errors import InstallerError, NotRunningError, UsageError
from installer.facets import facet_channel
from installer.instance import Instance, check_data_dir, load_instance
from installer.words import Words
from portlayer.errors import VicError
from portlayer.identity import Role

CONFIGURE_SECONDS = 30.0
_SIZE = re.compile(r"([0-9]{1,12})([bkmgt]?)b?", re.IGNORECASE)
_FACTOR = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,2}))?", re.ASCII)
_CPUS = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,3}))?", re.ASCII)
_SHARES = re.compile(r"[0-9]{1,5}", re.ASCII)
# vSphere's words, with its ratio of one to two to four.
SHARES = {"default": 0, "low": 50, "normal": 100, "high": 200}
# Of a size in the contract, in bytes.
_MOST = 2**63
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def parse_size(text: str) -> int:
    """Return bytes of "512m" or "4g"; "none" is 0. Raises UsageError for anything else."""
    if text == "none":
        return 0
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _UNITS[found[2].lower()] if found else _MOST
    if size >= _MOST:
        raise UsageError(f"not a size: {text!r}; write it as 512m or 4g, or none")
    return size


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


def parse_ready_clones(text: str) -> int:
    """Return a number of clones; "auto" is -1. Raises UsageError for anything else."""
    if text == "auto":
        return -1
    if not (text.isascii() and text.isdigit()) or len(text) > 4:
        raise UsageError(f"not a number of ready clones: {text!r}; write 0, 2 or auto")
    return int(text)


def parse_cpus(text: str) -> int:
    """Return thousandths of "1.5" CPUs; "none" is 0. Raises UsageError for anything else."""
    if text == "none":
        return 0
    found = _CPUS.fullmatch(text)
    if found is None:
        raise UsageError(f"not a number of CPUs: {text!r}; write it as 2 or 1.5, or none")
    return int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))


def parse_shares(text: str) -> int:
    """Return shares of "high" or "150"; "default" is 0. Raises UsageError for anything else."""
    if text in SHARES:
        return SHARES[text]
    if not _SHARES.fullmatch(text) or not int(text):
        raise UsageError(
            f"not a number of shares: {text!r}; write low, normal, high, 1 to 10000, or default"
        )
    return int(text)


def wish(
    *,
    containers: str | None = None,
    memory: str | None = None,
    cpus: str | None = None,
    storage: str | None = None,
    overcommit: str | None = None,
    ready_clones: str | None = None,
    start: str | None = None,
    kernel: str | None = None,
    cpu_reservation: str | None = None,
    memory_reservation: str | None = None,
    cpu_shares: str | None = None,
    memory_shares: str | None = None,
    log_syslog: str | None = None,
) -> exec_pb2.ConfigureRequest:
    """Return what the command line asks for; what it leaves out stays.

    Raises UsageError with all that makes no sense.
    """
    words = Words()

    def read(option: str, parse: Callable[[str], int], text: str | None) -> int | None:
        return None if text is None else words.read(option, partial(parse, text), 0)

    request = exec_pb2.ConfigureRequest(
        containers=read("--container-limit", parse_count, containers),
        memory_bytes=read("--memory-limit", parse_size, memory),
        cpus=read("--cpu-limit", parse_count, cpus),
        storage_bytes=read("--storage-limit", parse_size, storage),
        memory_overcommit_percent=read("--memory-overcommit", parse_factor, overcommit),
        ready_clones=read("--ready-clones", parse_ready_clones, ready_clones),
        kernel="" if kernel == "none" else kernel,
        cold=None if start is None else start == "cold",
        cpu_reservation_millis=read("--cpu-reservation", parse_cpus, cpu_reservation),
        memory_reservation_bytes=read("--memory-reservation", parse_size, memory_reservation),
        cpu_shares=read("--cpu-shares", parse_shares, cpu_shares),
        memory_shares=read("--memory-shares", parse_shares, memory_shares),
        log_syslog="" if log_syslog == "none" else log_syslog,
    )
    words.check()
    return request


def configure(data_dir: Path, request: exec_pb2.ConfigureRequest) -> exec_pb2.ConfigureResponse:
    """Have exec change what is asked for, and return all. Raises InstallerError."""
    require_root("configure")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance")
    if not instance.may_answer(Role.EXEC):
        raise NotRunningError("the suite is not running; start it with `vic up`")
    try:
        configured = asyncio.run(_configure(instance, request))
    except VicError as error:
        raise InstallerError(error.message) from error
    if instance.options.driver == "vsphere":
        from installer.vsphere.verbs import set_pool_limits

        # After exec, which refuses what can't be: a pool isn't changed for that. Where vCenter
        # refuses, the same command can be given again.
        set_pool_limits(instance, request)
    return configured


def tell(configured: exec_pb2.ConfigureResponse) -> str:
    """Return for people what holds now."""
    limits, mode = configured.limits, configured.start_mode
    allocation = configured.allocation
    kept = ""
    if allocation.memory_reservation_bytes and not allocation.memory_protected:
        kept = " (promised to nobody else; this machine's cgroups can't keep it)"
    ready = f"{mode.ready_clones}" + (" (auto)" if mode.ready_clones_automatic else "")
    return "\n".join(
        [
            f"containers: {limits.containers or 'no limit'}",
            f"memory of running VMs: {_mebibytes(limits.memory_bytes)}",
            f"CPUs of running VMs: {limits.cpus or 'no limit'}",
            f"disks of containers: {_mebibytes(limits.storage_bytes)}",
            f"memory overcommitment: {limits.memory_overcommit_percent / 100:g} times",
            f"CPUs reserved: {allocation.cpu_reservation_millis / 1000:g}",
            f"memory reserved: {allocation.memory_reservation_bytes // 1024**2} MiB{kept}",
            f"shares: {allocation.cpu_shares} of CPUs, {allocation.memory_shares} of memory",
            f"start: {'cold' if mode.cold else 'clone'}",
            f"ready clones: {ready}",
            f"kernel: {configured.kernel or 'the default one'}",
            f"logs also go to: {configured.log_syslog or 'nowhere'}",
        ]
    )


def _mebibytes(size: int) -> str:
    return f"{size // 1024**2} MiB" if size else "no limit"


async def _configure(
    instance: Instance, request: exec_pb2.ConfigureRequest
) -> exec_pb2.ConfigureResponse:
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        return await stub.Configure(request, timeout=CONFIGURE_SECONDS)
