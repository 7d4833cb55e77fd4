"""What surrounds a container's processes: which of it can be.

Host and container share no kernel, so that most of it is the container's own affair; what isn't
understood is refused here, before anything is made.
"""

import re

from vic.exec.v1 import container_pb2
from vic.tether.v1 import process_pb2

from portlayer.errors import InvalidArgument, Reason
from services.exec.seccomp.compiler import FILTER_STEP_BYTES, MOST_INSTRUCTIONS, compile_profile
from services.exec.seccomp.profile import read_profile

# Names in setrlimit(2).
RLIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending "
    "stack".split()
)
# Source: linux/capability.h.
CAPABILITIES = frozenset(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE".split()
)
# Docker's, of a container that neither adds nor drops any.
DEFAULT_CAPABILITIES = frozenset(
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
    "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split()
)
UNLIMITED = 2**63
MOST_OPTIONS = 256
_SYSCTL = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_:*@-]+)+")
_DEVICE_RULE = re.compile(r"[abc] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}")
_PERMISSIONS = re.compile(r"[rwm]{0,3}")
_LONGEST_VALUE = 4096
# Set by other options, which would be contradicted.
_OWN_SETTINGS = {"kernel.hostname": "--hostname", "kernel.domainname": "--domainname"}


def validate_sandbox(spec: container_pb2.ContainerSpec) -> None:
    """Return when the options can be. Raises InvalidArgument (INVALID_SPEC) in Docker's words."""
    _validate_process(spec.process)
    if spec.seccomp_profile and spec.process.seccomp_filter:
        raise _invalid("a seccomp profile and a filter exclude one another")
    if spec.shm_bytes >= UNLIMITED:
        raise _invalid("SHM size is out of range")
    sandbox = spec.sandbox
    counts = (len(sandbox.sysctls), len(sandbox.devices), len(sandbox.device_rules))
    if max(counts) > MOST_OPTIONS:
        raise _invalid(f"more than {MOST_OPTIONS} options of one kind")
    for name, value in sandbox.sysctls.items():
        _validate_setting(name, value)
    for device in sandbox.devices:
        _validate_device(device)
    for rule in sandbox.device_rules:
        if not _DEVICE_RULE.fullmatch(rule):
            raise _invalid(f"invalid device cgroup rule format: '{rule}'")
    for path in (*sandbox.masked_paths.paths, *sandbox.readonly_paths.paths):
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise _invalid(f"invalid path {path!r}: an absolute one is needed")


def with_filter(
    spec: container_pb2.ContainerSpec, kernel_release: str
) -> container_pb2.ContainerSpec:
    """Return the specification with its seccomp profile compiled for a kernel.

    Raises InvalidArgument (INVALID_SPEC), and NotImplementedYet that names a part of the profile.
    """
    profile = read_profile(
        spec.seccomp_profile,
        capabilities=capabilities_of(spec.process.capabilities),
        kernel_release=kernel_release,
    )
    full = container_pb2.ContainerSpec()
    full.CopyFrom(spec)
    full.process.seccomp_filter = compile_profile(profile)
    return full


def capabilities_of(asked: process_pb2.Capabilities) -> frozenset[str]:
    """Return the capabilities that a container has; adding wins over dropping, except with ALL."""
    if asked.privileged:
        return CAPABILITIES
    added, dropped = (
        {name.upper().removeprefix("CAP_") for name in names} for names in (asked.add, asked.drop)
    )
    if "ALL" in added:
        return CAPABILITIES - dropped
    if "ALL" in dropped:
        return CAPABILITIES & added
    return DEFAULT_CAPABILITIES - dropped | (CAPABILITIES & added)


def _validate_process(process: process_pb2.ProcessSpec) -> None:
    capabilities = process.capabilities
    for kind, names in (("CapAdd", capabilities.add), ("CapDrop", capabilities.drop)):
        for name in names:
            if name.upper() != "ALL" and name.upper().removeprefix("CAP_") not in CAPABILITIES:
                raise _invalid(f'invalid {kind}: unknown capability: "{name}"')
    for limit in process.rlimits:
        if limit.name not in RLIMITS:
            raise _invalid(f"invalid ulimit type: {limit.name}")
        soft, hard = min(limit.soft, UNLIMITED), min(limit.hard, UNLIMITED)
        if soft > hard:
            shown = "-1 (unlimited)" if soft == UNLIMITED else soft
            raise _invalid(
                f"ulimit soft limit must be less than or equal to hard limit: {shown} > {hard}"
            )
    if not -1000 <= process.oom_score_adj <= 1000:
        raise _invalid(
            f"Invalid value {process.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    size = len(process.seccomp_filter)
    if size % FILTER_STEP_BYTES or size > MOST_INSTRUCTIONS * FILTER_STEP_BYTES:
        raise _invalid(f"a seccomp filter of {size} bytes is no program of BPF")
    if any("\0" in group for group in process.additional_groups):
        raise _invalid("a NUL byte can't be part of a group's name")


def _validate_setting(name: str, value: str) -> None:
    dotted = name.replace("/", ".")
    if not _SYSCTL.fullmatch(name):
        raise _invalid(f"invalid sysctl: {name!r}")
    if dotted in _OWN_SETTINGS:
        raise _invalid(f"sysctl '{name}' conflicts with {_OWN_SETTINGS[dotted]}, which sets it")
    if "\0" in value or len(value) > _LONGEST_VALUE:
        raise _invalid(f"invalid value of sysctl {name!r}")


def _validate_device(device: process_pb2.Device) -> None:
    for path in (device.path, device.container_path):
        bad = ".." in path.split("/") or "\0" in path
        if bad or (path and not path.startswith("/")):
            raise _invalid(f"invalid device path {path!r}: an absolute one is needed")
    if not device.path.startswith("/dev/"):
        raise _invalid(
            f'error gathering device information while adding custom device "{device.path}": '
            "not a device node"
        )
    if not _PERMISSIONS.fullmatch(device.permissions):
        raise _invalid(f"invalid device mode: {device.permissions}")


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)
