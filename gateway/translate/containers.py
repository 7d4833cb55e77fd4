"""Containers in Docker's shapes: inspect, and the entries of a list."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from vic.exec.v1.container_pb2 import Container, ContainerEndpoint
from vic.storage.v1.volume_pb2 import Volume

from gateway.translate import states
from gateway.translate.configs import config_json, host_config_json
from gateway.translate.health import health_json
from gateway.translate.mounts import mount_points
from gateway.translate.networks import endpoint_settings
from gateway.translate.ports import network_ports, port_list
from gateway.translate.times import rfc3339

STORAGE_DRIVER = "vmdk"
"""What Docker's GraphDriver is here."""

_NO_ENDPOINT = ContainerEndpoint()


def inspect_json(
    container: Container,
    exec_ids: Sequence[str],
    version: tuple[int, int],
    volumes: Mapping[str, Volume] = MappingProxyType({}),
) -> dict[str, Any]:
    """A container as ``GET /containers/{id}/json`` gives it; ``volumes`` are its own, by name."""
    spec = container.spec
    args = list(spec.process.args)
    return {
        "Id": container.id,
        "Created": rfc3339(container.created_at),
        "Path": args[0] if args else "",
        "Args": args[1:],
        "State": _state(container),
        "Image": spec.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": "",
        "Name": f"/{spec.name}",
        "RestartCount": container.status.restart_count,
        "Driver": STORAGE_DRIVER,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": host_config_json(spec),
        "GraphDriver": {"Data": _disk(container), "Name": STORAGE_DRIVER},
        "Mounts": list(mount_points(spec.mounts, volumes)),
        "Config": _config(container, version),
        "NetworkSettings": _network_settings(container),
    }


def summary_json(container: Container) -> dict[str, Any]:
    """A container as an entry of ``GET /containers/json``."""
    spec = container.spec
    return {
        "Id": container.id,
        "Names": [f"/{spec.name}"],
        "Image": spec.image,
        "ImageID": spec.image_id,
        "Command": _command_line(container),
        "Created": container.created_at.seconds,
        "Ports": port_list(container),
        "Labels": dict(spec.labels),
        "State": states.word(container),
        "Status": states.sentence(container),
        "HostConfig": {
            "NetworkMode": "bridge" if spec.network_mode in ("", "default") else spec.network_mode
        },
        "NetworkSettings": {"Networks": _networks(container)},
        "Mounts": list(mount_points(spec.mounts, {})),
    }


def _state(container: Container) -> dict[str, Any]:
    status = container.status
    state = states.word(container)
    return {
        "Status": state,
        "Running": states.is_running(container),
        "Paused": state == "paused",
        "Restarting": state == "restarting",
        "OOMKilled": status.oom_killed,
        "Dead": state == "dead",
        "Pid": status.pid,
        "ExitCode": status.exit_code,
        "Error": status.error,
        "StartedAt": rfc3339(status.started_at),
        "FinishedAt": rfc3339(status.finished_at),
        **({"Health": health_json(container)} if status.HasField("health") else {}),
    }


def _config(container: Container, version: tuple[int, int]) -> dict[str, Any]:
    config = config_json(container.spec)
    if not config["Hostname"]:
        config["Hostname"] = container.id[:12]
    if version < (1, 52) and len(container.endpoints) == 1 and states.is_running(container):
        config["MacAddress"] = container.endpoints[0].mac_address.lower()
    return config


def _disk(container: Container) -> dict[str, str]:
    return {"ChainLength": str(container.disk_chain_length)}


def _network_settings(container: Container) -> dict[str, Any]:
    running = states.is_running(container)
    bridges = [endpoint for endpoint in container.endpoints if endpoint.network_name == "bridge"]
    networks = _networks(container)
    on_bridge = endpoint_settings(bridges[0], container, in_use=True) if bridges and running else {}
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": network_ports(container),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": on_bridge.get("EndpointID", ""),
        "Gateway": on_bridge.get("Gateway", ""),
        "GlobalIPv6Address": on_bridge.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": on_bridge.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": on_bridge.get("IPAddress", ""),
        "IPPrefixLen": on_bridge.get("IPPrefixLen", 0),
        "IPv6Gateway": on_bridge.get("IPv6Gateway", ""),
        "MacAddress": on_bridge.get("MacAddress", ""),
        "Networks": networks,
    }


def _networks(container: Container) -> dict[str, Any]:
    running = states.is_running(container)
    networks = {
        endpoint.network_name: endpoint_settings(endpoint, container, in_use=running)
        for endpoint in container.endpoints
    }
    spec = container.spec
    if spec.network_mode == "none" and not spec.none_left and not networks:
        networks["none"] = endpoint_settings(_NO_ENDPOINT, container, in_use=False)
    return networks


def _command_line(container: Container) -> str:
    args = list(container.spec.process.args)
    quoted = [f"'{arg}'" if " " in arg else arg for arg in args[1:]]
    return " ".join([*args[:1], *quoted])
