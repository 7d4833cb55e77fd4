"""A create request's body as a container's specification.

Every field of Config, HostConfig and NetworkingConfig is honoured or refused by its name.
"""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from vic.exec.v1.container_pb2 import (
    ContainerSpec,
    HealthCheck,
    StdioOptions,
)
from vic.tether.v1.process_pb2 import ProcessSpec

from gateway.errors import bad_parameter
from gateway.fields import Fields
from gateway.translate.attachments import (
    SEVERAL_ENDPOINTS,
    place_mac_address,
    read_attachments,
    without_what_the_mode_says,
)
from gateway.translate.host_config import HostConfig, read_host_config
from gateway.translate.mounts import read_declared

SPEC_VERSION = 1

KERNEL_LABEL = "vic.kernel"
"""Label by which a container names its VM's kernel: Docker has no option for it."""

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PORT = re.compile(r"([0-9]{1,5})(?:/([a-z]+))?")
# Nanoseconds; Docker's MinimumDuration.
_SHORTEST_SPAN = 1_000_000
_MOST_RETRIES = 2**31 - 1


def read_create_request(
    body: object, name: str, platform: str, version: tuple[int, int]
) -> ContainerSpec:
    """Return the specification that a create request asks for.

    Raises 400 for what can't be right, 501 naming an option that isn't implemented.
    """
    try:
        return _read(body, name, platform, version)
    except ValueError as error:
        # What the contract's messages can't hold: too large a number, or no Unicode.
        raise bad_parameter(f"invalid request: {error}") from error


def deprecations(body: object, version: tuple[int, int]) -> list[str]:
    """Return what a create request that was read asks for and should ask for otherwise.

    Source: handleMACAddressBC of moby.
    """
    if version < SEVERAL_ENDPOINTS or not Fields(body).text("MacAddress"):
        return []
    return [
        "The container-wide MacAddress field is now deprecated. It should be specified in "
        "EndpointsConfig instead."
    ]


def _read(body: object, name: str, platform: str, version: tuple[int, int]) -> ContainerSpec:
    if body is None or body == {}:
        raise bad_parameter("config cannot be empty in order to create a container")
    fields = Fields(body)
    host = read_host_config(fields.child("HostConfig"))
    mode = host.network_mode
    attachments = read_attachments(fields.child("NetworkingConfig"), mode, version)
    spec = _config(fields, host)
    place_mac_address(fields.text("MacAddress"), attachments, mode, version)
    spec.name = checked_name(name) if name else ""
    spec.platform = platform
    spec.networks.extend(without_what_the_mode_says(attachments, mode))
    fields.finish()
    return spec


def checked_name(name: str) -> str:
    """Return a container's name without its slash. Raises a 400 for one that Docker refuses."""
    if not _NAME.fullmatch(name):
        raise bad_parameter(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return name.removeprefix("/")


def _config(fields: Fields, host: HostConfig) -> ContainerSpec:
    image = fields.text("Image")
    if not image:
        raise bad_parameter("no image specified")
    entrypoint = fields.optional_texts("Entrypoint")
    labels = fields.text_mapping("Labels")
    spec = ContainerSpec(
        version=SPEC_VERSION,
        image=image,
        # ``--entrypoint ""`` arrives as [""] and clears the image's.
        entrypoint=[] if entrypoint in (None, [""]) else entrypoint,
        entrypoint_set=entrypoint is not None,
        command=fields.optional_texts("Cmd") or [],
        process=_process(fields, host),
        hostname=fields.text("Hostname"),
        domainname=fields.text("Domainname"),
        labels=labels,
        kernel=labels.get(KERNEL_LABEL, ""),
        stop_signal=fields.text("StopSignal"),
        stop_timeout=_stop_timeout(fields.optional_number("StopTimeout")),
        resources=host.resources,
        restart_policy=host.restart_policy,
        auto_remove=host.auto_remove,
        log=host.log,
        network_mode=host.network_mode,
        exposed_ports=read_exposed_ports(fields.mapping("ExposedPorts")),
        port_bindings=host.port_bindings,
        publish_all_ports=host.publish_all_ports,
        mounts=host.mounts.mounts,
        volumes=read_declared(fields.mapping("Volumes")),
        volumes_from=host.mounts.volumes_from,
        volume_driver=host.mounts.volume_driver,
        stdio=StdioOptions(
            attach_stdin=fields.flag("AttachStdin"),
            attach_stdout=fields.flag("AttachStdout"),
            attach_stderr=fields.flag("AttachStderr"),
            stdin_once=fields.flag("StdinOnce"),
        ),
        health_check=read_health_check(fields.child("Healthcheck")),
        dns=host.resolving.dns,
        extra_hosts=host.resolving.extra_hosts,
    )
    spec.MergeFrom(host.confinement)
    # Written by docker commit and by old Windows builds; no part of what a container does.
    fields.drop("ArgsEscaped")
    return spec


def _process(fields: Fields, host: HostConfig) -> ProcessSpec:
    directory = fields.text("WorkingDir")
    if directory and not directory.startswith("/"):
        raise bad_parameter(
            f"the working directory '{directory}' is invalid, it needs to be an absolute path"
        )
    environment = fields.texts("Env")
    for variable in environment:
        if variable.startswith("=") or not variable:
            raise bad_parameter(f"invalid environment variable: {variable}")
    process = ProcessSpec(
        env=environment,
        cwd=directory,
        user=fields.text("User"),
        tty=fields.flag("Tty"),
        stdin=fields.flag("OpenStdin"),
    )
    if process.tty and host.window.rows and host.window.columns:
        process.window.CopyFrom(host.window)
    return process


def _stop_timeout(seconds: int | None) -> Duration | None:
    if seconds is None:
        return None
    if abs(seconds) > 2**31:
        raise bad_parameter("StopTimeout is out of range")
    return Duration(seconds=seconds)


def read_exposed_ports(ports: Mapping[str, Any]) -> list[str]:
    """Return ports that are exposed, each with its protocol. Raises a 400 for what is none."""
    exposed = []
    for port in ports:
        found = _PORT.fullmatch(port)
        if found is None or int(found[1]) > 65535:
            raise bad_parameter(f"invalid port specification: {port!r}")
        protocol = found[2] or "tcp"
        if protocol not in ("tcp", "udp", "sctp"):
            raise bad_parameter(f"invalid protocol: {protocol}")
        exposed.append(f"{int(found[1])}/{protocol}")
    return exposed


def read_health_check(fields: Fields) -> HealthCheck | None:
    """Return what differs from the image's check; None where nothing does."""
    retries = fields.number("Retries")
    if retries < 0:
        raise bad_parameter("Retries in Healthcheck cannot be negative")
    check = HealthCheck(
        test=fields.texts("Test"),
        interval=_health_span(fields, "Interval"),
        timeout=_health_span(fields, "Timeout"),
        start_period=_health_span(fields, "StartPeriod"),
        start_interval=_health_span(fields, "StartInterval"),
        retries=min(retries, _MOST_RETRIES),
    )
    fields.finish()
    return check if check != HealthCheck() else None


def _health_span(fields: Fields, name: str) -> Duration | None:
    """Return a span that the client gave in nanoseconds; None for the default."""
    span = fields.number(name)
    if not span:
        return None
    if not _SHORTEST_SPAN <= span < 2**63:
        raise bad_parameter(f"{name} in Healthcheck cannot be less than 1ms")
    return Duration(seconds=span // 10**9, nanos=span % 10**9)
