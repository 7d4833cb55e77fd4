"""What a container may do and see: capabilities, security options, namespaces, devices, settings.

A container is a virtual machine with a kernel of its own: what others share by namespaces of one
kernel it has for itself, and can't share with the host or with another container.
"""

from vic.exec.v1.container_pb2 import AsAsked, ContainerSpec
from vic.tether.v1.process_pb2 import (
    Capabilities,
    Device,
    Paths,
    ProcessSpec,
    Rlimit,
    SandboxOptions,
)

from gateway.decoding import decode_json
from gateway.errors import bad_parameter, not_implemented, not_possible
from gateway.fields import Fields

_OWN_KERNEL = "each container is a virtual machine with a kernel of its own"
_UNLIMITED = 2**64 - 1
RUNTIME = "vic"
"""Name of the one runtime: a virtual machine."""


def read_confinement(fields: Fields) -> ContainerSpec:
    """Read these fields of a HostConfig into a specification that has nothing else.

    Raises 400 for nonsense, 501 naming what isn't implemented or can't be.
    """
    spec = ContainerSpec(
        process=_process(fields),
        sandbox=_sandbox(fields),
        read_only_root=fields.flag("ReadonlyRootfs"),
        shm_bytes=_shm_size(fields),
        annotations=fields.text_mapping("Annotations"),
        as_asked=_modes(fields),
    )
    _read_security_options(fields, spec)
    if spec.as_asked.ipc_mode == "none":
        spec.sandbox.no_shm = True
    _check_runtime(fields)
    if fields.text("CgroupParent"):
        raise not_possible(
            fields.name_of("CgroupParent"),
            f"{_OWN_KERNEL}; what all of them may use is limited by vic configure",
        )
    return spec


def _process(fields: Fields) -> ProcessSpec:
    return ProcessSpec(
        capabilities=Capabilities(
            add=fields.texts("CapAdd"),
            drop=fields.texts("CapDrop"),
            privileged=fields.flag("Privileged"),
        ),
        additional_groups=fields.texts("GroupAdd"),
        rlimits=[_rlimit(item) for item in fields.objects("Ulimits")],
        oom_score_adj=_oom_score(fields.number("OomScoreAdj")),
    )


def _rlimit(fields: Fields) -> Rlimit:
    name, soft, hard = fields.text("Name"), fields.number("Soft"), fields.number("Hard")
    fields.finish()
    if min(soft, hard) < -1:
        raise bad_parameter(f"invalid ulimit {name}: {soft}:{hard}")
    return Rlimit(name=name, soft=_bound(soft), hard=_bound(hard))


def _bound(value: int) -> int:
    return _UNLIMITED if value == -1 else value


def _oom_score(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise bad_parameter(f"Invalid value {value}, range for oom score adj is [-1000, 1000]")
    return value


def _shm_size(fields: Fields) -> int:
    size = fields.number("ShmSize")
    if size < 0:
        raise bad_parameter("SHM size can not be less than 0")
    return size


def _sandbox(fields: Fields) -> SandboxOptions:
    options = SandboxOptions(
        init=fields.flag("Init"),
        sysctls=fields.text_mapping("Sysctls"),
        devices=[_device(item) for item in fields.objects("Devices")],
        device_rules=fields.texts("DeviceCgroupRules"),
    )
    # null asks for the defaults, an empty array for none
    if fields.has("MaskedPaths"):
        options.masked_paths.CopyFrom(Paths(paths=fields.texts("MaskedPaths")))
    if fields.has("ReadonlyPaths"):
        options.readonly_paths.CopyFrom(Paths(paths=fields.texts("ReadonlyPaths")))
    return options


def _device(fields: Fields) -> Device:
    device = Device(
        path=fields.text("PathOnHost"),
        container_path=fields.text("PathInContainer"),
        permissions=fields.text("CgroupPermissions"),
    )
    fields.finish()
    return device


def _modes(fields: Fields) -> AsAsked:
    """Read the namespaces' modes: what a VM has by itself is accepted, what it can't is refused."""
    _check_mode(fields, "PidMode", "PID mode", ())
    _check_mode(fields, "UTSMode", "UTS mode", ())
    # What "host" asks for is that users are not mapped, and they never are.
    users = _check_mode(fields, "UsernsMode", "userns mode", ("host",), joins=())
    # Nobody can join a VM's System V objects; what "shareable" adds is never asked for.
    ipc = _check_mode(fields, "IpcMode", "IPC mode", ("private", "shareable", "none"))
    cgroups = _check_mode(fields, "CgroupnsMode", "cgroup namespace mode", ("private",))
    isolation = fields.text("Isolation")
    if isolation.lower() not in ("", "default"):
        raise bad_parameter(f"invalid isolation: \"{isolation}\" - linux only supports 'default'")
    return AsAsked(ipc_mode=ipc, userns_mode=users, cgroupns_mode=cgroups, isolation=isolation)


def _check_mode(
    fields: Fields,
    name: str,
    words: str,
    accepted: tuple[str, ...],
    joins: tuple[str, ...] = ("host", "container:"),
) -> str:
    mode = fields.text(name)
    if mode == "" or mode in accepted:
        return mode
    if any(mode == other or (other[-1] == ":" and mode.startswith(other)) for other in joins):
        raise not_possible(f"{fields.name_of(name)} {mode!r}", _OWN_KERNEL)
    raise bad_parameter(f"invalid {words}: {mode}")


def _read_security_options(fields: Fields, spec: ContainerSpec) -> None:
    options = fields.texts("SecurityOpt")
    spec.as_asked.security_options.extend(options)
    for option in options:
        name, separator, value = _split(option)
        if name == "no-new-privileges":
            spec.process.no_new_privileges = _switch(option, value, given=bool(separator))
        elif not separator:
            raise bad_parameter(f'invalid --security-opt 1: "{option}"')
        elif name == "seccomp":
            spec.seccomp_profile = _seccomp_profile(value)
        elif name == "apparmor":
            # The guest's kernel has no such module; to be confined by none is what there is.
            if value != "unconfined":
                raise not_possible(f"security option {option!r}", _NO_MODULE)
        elif name == "label":
            if value != "disable":
                raise not_possible(f"security option {option!r}", _NO_MODULE)
        elif name == "systempaths" and value == "unconfined":
            # The CLI sends empty lists of paths for it, other clients this.
            spec.sandbox.masked_paths.CopyFrom(Paths())
            spec.sandbox.readonly_paths.CopyFrom(Paths())
        else:
            raise bad_parameter(f'invalid --security-opt 2: "{option}"')


_NO_MODULE = "the kernel of a container's VM has neither AppArmor nor SELinux"


def _split(option: str) -> tuple[str, str, str]:
    """Parts of "name=value", or of "name:value" as Docker had it first."""
    return option.partition("=" if "=" in option else ":")


def _switch(option: str, value: str, *, given: bool) -> bool:
    if not given:
        return True
    if value not in ("true", "false"):
        raise bad_parameter(f'invalid --security-opt 2: "{option}"')
    return value == "true"


def _seccomp_profile(value: str) -> str:
    """Return the profile's JSON; empty for none."""
    if value == "unconfined":
        return ""
    if value == "builtin":
        raise not_implemented("security option 'seccomp=builtin'")
    try:
        profile = decode_json(value)
    except ValueError as error:
        raise bad_parameter(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(profile, dict):
        raise bad_parameter("Decoding seccomp profile failed: not an object")
    return value


def _check_runtime(fields: Fields) -> None:
    runtime = fields.text("Runtime")
    if runtime not in ("", RUNTIME):
        raise bad_parameter(f"unknown or invalid runtime name: {runtime}")
