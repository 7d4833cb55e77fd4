"""What a container is asked to be: validation, and completion from the image's configuration."""

import re
from collections.abc import Iterable, Sequence

from vic.exec.v1 import container_pb2
from vic.storage.v1 import image_pb2
from vic.tether.v1 import process_pb2 as tether_process_pb2

from portlayer.errors import InvalidArgument, Reason
from portlayer.signals import parse_signal
from services.exec.health import complete_health_check, validate_health_check
from services.exec.mounts import complete_mounts, validate_mounts
from services.exec.names import validate_name
from services.exec.policy import validate_policy
from services.exec.ports import validate_ports
from services.exec.resources import validate_resources
from services.exec.sandbox import validate_sandbox
from services.exec.startmode import validate_label

SPEC_VERSION = 1
# RFC 1123 for each label; a host name has 64 bytes at most in Linux (sethostname(2)).
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?")
MAX_HOSTNAME = 64
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def validate(spec: container_pb2.ContainerSpec, *, cpus: int) -> None:
    """Return when a specification can be honoured on a host of so many CPUs.

    Raises InvalidArgument (INVALID_SPEC) in Docker's words, and NotImplementedYet
    (OPTION_NOT_IMPLEMENTED) that names an option which isn't implemented.
    """
    if not spec.image:
        raise _invalid("Config cannot be empty in order to create a container")
    if spec.name:
        validate_name(spec.name)
    if spec.hostname and (
        len(spec.hostname) > MAX_HOSTNAME or not _HOSTNAME.fullmatch(spec.hostname)
    ):
        raise _invalid(f"invalid hostname: {spec.hostname}")
    parse_signal(spec.stop_signal)
    validate_policy(spec.restart_policy, auto_remove=spec.auto_remove)
    _validate_process(spec)
    validate_resources(spec.resources, cpus=cpus)
    validate_sandbox(spec)
    validate_ports(spec)
    validate_mounts(spec)
    validate_health_check(spec.health_check)
    validate_label(spec.labels)


def _validate_process(spec: container_pb2.ContainerSpec) -> None:
    process = spec.process
    if process.cwd and not process.cwd.startswith("/"):
        raise _invalid(
            f"the working directory '{process.cwd}' is invalid, it needs to be an absolute path"
        )
    for variable in process.env:
        if not variable or variable.startswith("="):
            raise _invalid(f"invalid environment variable: {variable}")
    texts: Iterable[str] = (*spec.entrypoint, *spec.command, *process.env, process.user)
    if any("\0" in text for text in texts):
        raise _invalid("a NUL byte can't be part of an argument, a variable or a user")


def complete(
    spec: container_pb2.ContainerSpec,
    image: image_pb2.Image,
    container_id: str,
    name: str,
    borrowed: Sequence[container_pb2.Mount] = (),
) -> container_pb2.ContainerSpec:
    """Return the specification with the image's defaults and ours filled in.

    ``borrowed`` are the volumes of other containers that it mounts.

    Raises InvalidArgument (NO_COMMAND) when neither says what to run, and of the image's ports what
    validate_ports raises.
    """
    full = container_pb2.ContainerSpec()
    full.CopyFrom(spec)
    config = image.config
    full.version = SPEC_VERSION
    full.image_id = image.id
    full.name = name
    full.hostname = spec.hostname or container_id[:12]
    full.stop_signal = spec.stop_signal or config.stop_signal
    full.network_mode = spec.network_mode or "default"
    if not full.networks and full.network_mode != "none":
        full.networks.add(network=_network_of(full.network_mode))
    entrypoint, command = _entrypoint_and_command(spec, config)
    _replace(full.entrypoint, entrypoint)
    _replace(full.command, command)
    _replace(full.process.args, [*entrypoint, *command])
    if not full.process.args:
        raise InvalidArgument("no command specified", Reason.NO_COMMAND)
    _replace(full.process.env, _merge_env(config.env, spec.process.env))
    full.process.user = spec.process.user or config.user
    full.process.cwd = spec.process.cwd or config.working_directory
    for key, value in config.labels.items():
        if key not in full.labels:
            full.labels[key] = value
    if spec.HasField("health_check") or config.HasField("health_check"):
        full.health_check.CopyFrom(complete_health_check(spec.health_check, config))
    _replace(full.exposed_ports, sorted({*config.exposed_ports, *spec.exposed_ports}))
    _replace(full.asked_ports, spec.exposed_ports)
    # The image's may be published, too.
    validate_ports(full)
    _replace(full.volumes, sorted({*config.volumes, *spec.volumes}))
    mounts = complete_mounts(spec, full.volumes, borrowed, container_id)
    del full.mounts[:]
    full.mounts.extend(mounts)
    return full


def init_process(spec: container_pb2.ContainerSpec) -> tether_process_pb2.ProcessSpec:
    """Return the process to run: the one specified, with the variables that Docker adds to it."""
    process = tether_process_pb2.ProcessSpec()
    process.CopyFrom(spec.process)
    ours = {"HOSTNAME": spec.hostname, **({"TERM": "xterm"} if process.tty else {})}
    given = {variable.partition("=")[0] for variable in process.env}
    added = [f"{name}={value}" for name, value in ours.items() if name not in given]
    # One without a value is to be absent, whoever else may have set it: Docker's.
    _replace(process.env, [*added, *(entry for entry in spec.process.env if "=" in entry)])
    return process


def _network_of(mode: str) -> str:
    return "bridge" if mode == "default" else mode


def _entrypoint_and_command(
    spec: container_pb2.ContainerSpec, config: image_pb2.ImageConfig
) -> tuple[Sequence[str], Sequence[str]]:
    """Docker's rule: an entrypoint that was given takes the image's command away."""
    if spec.entrypoint_set:
        return spec.entrypoint, spec.command
    return config.entrypoint, spec.command or config.command


def _merge_env(image: Iterable[str], own: Iterable[str]) -> list[str]:
    """Own variables win over the image's; "NAME" without "=" takes one away in the end."""
    merged: dict[str, str] = {}
    for variable in (DEFAULT_PATH, *image):
        merged[variable.partition("=")[0]] = variable
    for variable in own:
        merged[variable.partition("=")[0]] = variable
    return list(merged.values())


def _replace(target: object, values: Iterable[str]) -> None:
    items = list(values)
    del target[:]  # type: ignore[attr-defined]
    target.extend(items)  # type: ignore[attr-defined]


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)
