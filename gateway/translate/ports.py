"""Exposed and published ports in Docker's shapes."""

import re
from collections.abc import Iterable
from typing import Any

from vic.exec.v1.container_pb2 import Container, ContainerSpec, PortBinding, Protocol

from gateway.errors import bad_parameter
from gateway.translate import states

_PROTOCOLS = {Protocol.PROTOCOL_TCP: "tcp", Protocol.PROTOCOL_UDP: "udp"}

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")
_PORT = re.compile(r"([0-9]{1,5})(?:/([a-z]+))?")
_LAST = 65535


class PortFilter:
    """Ports that a filter's values name, such as ``80``, ``53/udp`` or ``8000-8010/tcp``.

    A mark for each port of a protocol: thousands of ranges take no more memory than one, and half a
    microsecond each. Raises a 400 for what is no port.
    """

    def __init__(self, key: str, values: Iterable[str]) -> None:
        self._marks: dict[str, bytearray] = {}
        for value in values:
            found = _RANGE.fullmatch(value)
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (-1, -1)
            if found is None or not first <= last <= _LAST:
                raise bad_parameter(f"invalid filter '{key}={value}'")
            marks = self._marks.setdefault(found[3] or "tcp", bytearray(_LAST + 1))
            marks[first : last + 1] = b"\x01" * (last + 1 - first)

    def names_one_of(self, ports: Iterable[str]) -> bool:
        """Whether one of these ports, each as ``80/tcp``, is among them."""
        return any(map(self._names, ports))

    def _names(self, port: str) -> bool:
        found = _PORT.fullmatch(port)
        # An image may declare what is no port.
        if found is None or int(found[1]) > _LAST:
            return False
        marks = self._marks.get(found[2] or "tcp")
        return marks is not None and bool(marks[int(found[1])])


def port_name(binding: PortBinding) -> str:
    """``80/tcp``."""
    return f"{binding.container_port}/{_PROTOCOLS.get(binding.protocol, 'tcp')}"


def exposed_ports(spec: ContainerSpec) -> dict[str, Any]:
    """Config.ExposedPorts."""
    return {port: {} for port in spec.exposed_ports}


def port_bindings(spec: ContainerSpec) -> dict[str, list[dict[str, str]]]:
    """HostConfig.PortBindings: what was asked for."""
    return _by_port(spec.port_bindings)


def network_ports(container: Container) -> dict[str, Any]:
    """NetworkSettings.Ports: only of a running container; null where exposed, not published."""
    # One that waits for its restart is a running one to Docker, but has no VM.
    if not states.is_running(container) or states.word(container) == "restarting":
        return {}
    ports: dict[str, Any] = dict.fromkeys(container.spec.exposed_ports)
    return {**ports, **_by_port(container.published_ports)}


def port_list(container: Container) -> list[dict[str, Any]]:
    """The ports in a list of containers."""
    ports = []
    for name, bindings in network_ports(container).items():
        number, _, protocol = name.partition("/")
        if not (number.isascii() and number.isdigit()):
            # An image may declare what is no port.
            continue
        entry = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        if not bindings:
            ports.append(entry)
        ports += [
            {"IP": binding["HostIp"], **entry, "PublicPort": int(binding["HostPort"])}
            for binding in bindings or ()
        ]
    return ports


def _by_port(bindings: Iterable[PortBinding]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for binding in bindings:
        found.setdefault(port_name(binding), []).append(
            {"HostIp": binding.host_address, "HostPort": _host_ports(binding)}
        )
    return found


def _host_ports(binding: PortBinding) -> str:
    if not binding.host_port_start:
        return ""
    if binding.host_port_end in (0, binding.host_port_start):
        return str(binding.host_port_start)
    return f"{binding.host_port_start}-{binding.host_port_end}"
