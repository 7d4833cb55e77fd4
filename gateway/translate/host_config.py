"""The part of a create request that depends on the host: what is honoured, what refused by name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

from vic.exec.v1.container_pb2 import (
    ContainerSpec,
    LogOptions,
    PortBinding,
    Protocol,
    Resources,
    RestartCondition,
    RestartPolicy,
)
from vic.tether.v1.process_pb2 import WindowSize

from gateway.errors import bad_parameter, not_implemented, not_possible
from gateway.fields import Fields
from gateway.translate.confinement import read_confinement
from gateway.translate.logdrivers import read_log
from gateway.translate.mounts import HostMounts, read_mounts
from gateway.translate.resolving import Resolving, read_resolving
from gateway.translate.resources import read_resources
from gateway.translate.terminals import read_console_size

_RESTART = {
    "": RestartCondition.RESTART_CONDITION_UNSPECIFIED,
    "no": RestartCondition.RESTART_CONDITION_NO,
    "always": RestartCondition.RESTART_CONDITION_ALWAYS,
    "unless-stopped": RestartCondition.RESTART_CONDITION_UNLESS_STOPPED,
    "on-failure": RestartCondition.RESTART_CONDITION_ON_FAILURE,
}

_PORT = re.compile(r"([0-9]{1,5})(?:/([A-Za-z]+))?")
_HOST_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_LAST_PORT = 65535
_PROTOCOLS = {"tcp": Protocol.PROTOCOL_TCP, "udp": Protocol.PROTOCOL_UDP}


@dataclass
class HostConfig:
    """What a create request's HostConfig asks for."""

    resources: Resources = field(default_factory=Resources)
    # A specification of what it may do and see, and of nothing else.
    confinement: ContainerSpec = field(default_factory=ContainerSpec)
    log: LogOptions = field(default_factory=LogOptions)
    network_mode: str = "default"
    auto_remove: bool = False
    window: WindowSize = field(default_factory=WindowSize)
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    port_bindings: list[PortBinding] = field(default_factory=list)
    publish_all_ports: bool = False
    mounts: HostMounts = field(default_factory=HostMounts)
    resolving: Resolving = field(default_factory=Resolving)


def read_host_config(fields: Fields) -> HostConfig:
    """Read and check every field. Raises 400 for nonsense, 501 naming what isn't implemented."""
    config = HostConfig(
        resources=read_resources(fields),
        confinement=read_confinement(fields),
        log=read_log(fields.child("LogConfig")),
        network_mode=_network_mode(fields),
        auto_remove=fields.flag("AutoRemove"),
        window=read_console_size(fields),
        restart_policy=read_restart_policy(fields.child("RestartPolicy")),
        port_bindings=list(_port_bindings(fields)),
        publish_all_ports=fields.flag("PublishAllPorts"),
        mounts=read_mounts(fields),
        resolving=read_resolving(fields),
    )
    # Read by the CLI alone.
    fields.drop("ContainerIDFile")
    fields.finish()
    return config


def _network_mode(fields: Fields) -> str:
    """Take the network mode, and the links that are of it."""
    mode = fields.text("NetworkMode") or "default"
    if mode == "host" or mode.startswith("container:"):
        raise not_possible(
            f"{fields.name_of('NetworkMode')} {mode!r}",
            "each container is a virtual machine with a network stack of its own",
        )
    if any(fields.optional_texts("Links") or []) and mode in ("default", "bridge", "none"):
        raise not_possible(
            fields.name_of("Links"),
            "links on the default network are Docker's legacy; on a network of your own names "
            "and links work",
        )
    # On other networks clients say it of the endpoint as well, which is what counts.
    return mode


def read_restart_policy(fields: Fields) -> RestartPolicy:
    """Read and check a restart policy. Raises a 400 in Docker's words."""
    name = fields.text("Name")
    retries = fields.number("MaximumRetryCount")
    fields.finish()
    if name not in _RESTART:
        raise bad_parameter(
            f"invalid restart policy: unknown policy '{name}'; use one of "
            "'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if name == "on-failure" and retries < 0:
        raise bad_parameter("invalid restart policy: maximum retry count cannot be negative")
    if name not in ("", "on-failure") and retries:
        negative = " and cannot be negative" if retries < 0 else ""
        raise bad_parameter(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
            + negative
        )
    # Beyond what the contract holds there is no difference from no bound.
    kept = retries if name == "on-failure" and retries < 2**32 else 0
    return RestartPolicy(condition=_RESTART[name], maximum_retries=kept)


def _port_bindings(fields: Fields) -> Iterator[PortBinding]:
    name = fields.name_of("PortBindings")
    for port, bindings in fields.mapping("PortBindings").items():
        found = _PORT.fullmatch(port)
        if found is None or not 1 <= int(found[1]) <= _LAST_PORT:
            raise bad_parameter(f"invalid port specification: {port!r}")
        protocol = (found[2] or "tcp").lower()
        if protocol == "sctp":
            raise not_implemented(f"protocol sctp in {name}")
        if protocol not in _PROTOCOLS:
            raise bad_parameter(f"invalid protocol: {protocol}")
        if not isinstance(bindings, list | None):
            raise bad_parameter(f"invalid JSON: {name}.{port} must be an array")
        # As with dockerd, none is one that leaves everything open.
        for binding in bindings or [{}]:
            place = Fields(binding, f"{name}.{port}")
            first, last = _host_ports(place.text("HostPort"))
            yield PortBinding(
                container_port=int(found[1]),
                protocol=_PROTOCOLS[protocol],
                host_address=_host_address(place.text("HostIp"), name),
                host_port_start=first,
                host_port_end=last,
            )
            place.finish()


def _host_ports(text: str) -> tuple[int, int]:
    """A port or a range of which one is given; zeros for any port."""
    if not text:
        return 0, 0
    found = _HOST_PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (-1, -1)
    if not 0 <= first <= last <= _LAST_PORT or (last and not first):
        raise bad_parameter(f"invalid port specification: {text!r}")
    return first, last


def _host_address(text: str, name: str) -> str:
    if not text:
        return ""
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise bad_parameter(f"invalid IP address: {text}") from None
    if not isinstance(address, IPv4Address):
        raise not_implemented(f"IPv6 address {text} in {name}")
    return str(address)
