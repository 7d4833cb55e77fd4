"""Exposed and published ports in Docker's shapes."""

from typing import Any

from vic.exec.v1.container_pb2 import Container, ContainerSpec, PortBinding, Protocol

_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - how Docker shows it; nothing is bound here
_PROTOCOLS = {Protocol.PROTOCOL_TCP: "tcp", Protocol.PROTOCOL_UDP: "udp"}


def port_name(binding: PortBinding) -> str:
    """``80/tcp``."""
    return f"{binding.container_port}/{_PROTOCOLS.get(binding.protocol, 'tcp')}"


def exposed_ports(spec: ContainerSpec) -> dict[str, Any]:
    """Config.ExposedPorts."""
    return {port: {} for port in spec.exposed_ports}


def port_bindings(spec: ContainerSpec) -> dict[str, list[dict[str, str]]]:
    """HostConfig.PortBindings: what was asked for."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for binding in spec.port_bindings:
        bindings.setdefault(port_name(binding), []).append(
            {"HostIp": binding.host_address, "HostPort": _host_ports(binding)}
        )
    return bindings


def network_ports(container: Container, running: bool) -> dict[str, Any]:
    """NetworkSettings.Ports: only of a running container; null where exposed, not published."""
    if not running:
        return {}
    ports: dict[str, Any] = dict.fromkeys(container.spec.exposed_ports)
    return {**ports, **port_bindings(container.spec)}


def port_list(container: Container, running: bool) -> list[dict[str, Any]]:
    """The ports in a list of containers."""
    if not running:
        return []
    ports = []
    published = network_ports(container, running)
    for name, bindings in published.items():
        number, _, protocol = name.partition("/")
        entry = {"PrivatePort": int(number), "Type": protocol}
        if not bindings:
            ports.append(entry)
        for binding in bindings or ():
            host_port = binding["HostPort"].partition("-")[0]
            ports.append(
                {
                    "IP": binding["HostIp"] or _ALL_ADDRESSES,
                    **entry,
                    **({"PublicPort": int(host_port)} if host_port else {}),
                }
            )
    return ports


def _host_ports(binding: PortBinding) -> str:
    if not binding.host_port_start:
        return ""
    if binding.host_port_end in (0, binding.host_port_start):
        return str(binding.host_port_start)
    return f"{binding.host_port_start}-{binding.host_port_end}"
