"""Reads a frame of the guest configuration, whose format ``tether.guestconfig`` describes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tether.addresses import is_hexadecimal, is_mac, packed_address, split_interface
from tether.guestconfig import (
    MINIMUM_ENTROPY,
    PROTOCOL_VERSION,
    Assignment,
    ConfigError,
    Container,
    Disk,
    Dns,
    GuestConfig,
    Identity,
    Management,
    Mount,
    Nic,
    Root,
    Surroundings,
    Tls,
    WarmUp,
)

# What json.loads does, without the regular expression that looks for white space around the text.
_decode = json.JSONDecoder().raw_decode


def parse_body(body: bytes) -> GuestConfig:
    """The configuration in a frame's body. Raises ConfigError, which never quotes a secret."""
    try:
        text = body.decode()
        document, end = _decode(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("the frame is no JSON in UTF-8") from error
    if end != len(text):
        raise ConfigError("the frame has something after its JSON")
    fields = _Fields(document, "")
    version = fields.integer("v")
    if version != PROTOCOL_VERSION:
        raise ConfigError(f"protocol version {version}, understood is {PROTOCOL_VERSION}")
    try:
        entropy = base64.b64decode(fields.text("entropy"), validate=True)
    except ValueError as error:
        raise ConfigError("entropy: not base64") from error
    if len(entropy) < MINIMUM_ENTROPY:
        raise ConfigError(f"entropy: {len(entropy)} bytes, at least {MINIMUM_ENTROPY} are needed")
    return GuestConfig(
        time_ns=fields.integer("time_ns", minimum=1),
        entropy=entropy,
        identity=_identity(fields) if fields.has("tls") else None,
        container=_container(fields) if fields.has("root") else None,
        warm_up=_warm_up(fields.below("warm_up")) if fields.has("warm_up") else None,
        networks=_networks(fields.below("networks")) if fields.has("networks") else None,
        assignment=(_assignment(fields.below("assignment")) if fields.has("assignment") else None),
    )


class _Fields:
    """Typed access to a JSON object, with errors that name the field."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise ConfigError(f"{path or 'frame'}: not an object")
        self._value: dict[str, Any] = value
        self._path = path

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._value

    def given(self, key: str) -> bool:
        return self._value.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        value = self._value.get(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self._name(key)}: not a string")
        return value

    def checked(self, key: str, check: Callable[[str], object]) -> str:
        """A text that ``check`` takes: it returns something true, and raises no ValueError."""
        value = self.text(key)
        try:
            good = check(value)
        except ValueError:
            good = False
        if not good:
            raise ConfigError(f"{self._name(key)}: {value!r} is malformed")
        return value

    def integer(self, key: str, default: int | None = None, minimum: int = 0) -> int:
        value = self._value.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ConfigError(f"{self._name(key)}: not an integer from {minimum}")
        return value

    def flag(self, key: str) -> bool:
        value = self._value.get(key, False)
        if not isinstance(value, bool):
            raise ConfigError(f"{self._name(key)}: not a boolean")
        return value

    def below(self, key: str) -> _Fields:
        return _Fields(self._value.get(key), self._name(key))

    def items(self, key: str) -> list[Any]:
        value = self._value.get(key, [])
        if not isinstance(value, list):
            raise ConfigError(f"{self._name(key)}: not a list")
        return value

    def objects(self, key: str) -> list[_Fields]:
        return [_Fields(item, f"{self._name(key)}[{i}]") for i, item in enumerate(self.items(key))]

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise ConfigError(f"{self._name(key)}: not a list of strings")
        return tuple(values)

    def interface_addresses(self, key: str) -> tuple[str, ...]:
        values = self.texts(key)
        for value in values:
            try:
                split_interface(value)
            except ValueError as error:
                raise ConfigError(f"{self._name(key)}: {error}") from error
        return values


def _is_machine_id(text: str) -> bool:
    return len(text) == 32 and is_hexadecimal(text)


def _is_interface(text: str) -> bool:
    # The kernel's rule (dev_valid_name): up to 15 bytes, no white space, no "/", no ":".
    return 0 < len(text.encode()) <= 15 and not any(c.isspace() or c in "/:" for c in text)


def _is_disk(text: str) -> bool:
    return text.isascii() and text.isalnum() and text.islower()


def _identity(fields: _Fields) -> Identity:
    management, tls = fields.below("management"), fields.below("tls")
    return Identity(
        instance=fields.text("instance"),
        container_id=fields.text("container_id"),
        boot_id=fields.text("boot_id"),
        machine_id=fields.checked("machine_id", _is_machine_id),
        management=Management(
            mac=management.checked("mac", is_mac),
            address=management.checked("address", split_interface),
            endpoint=management.text("endpoint"),
            server_name=management.text("server_name"),
        ),
        tls=Tls(ca=tls.text("ca"), cert=tls.text("cert"), key=tls.text("key")),
    )


def _assignment(fields: _Fields) -> Assignment:
    return Assignment(
        container_id=fields.text("container_id"),
        boot_id=fields.text("boot_id"),
        machine_id=fields.checked("machine_id", _is_machine_id),
    )


def _warm_up(fields: _Fields) -> WarmUp:
    return WarmUp(
        ca=fields.text("ca"),
        cert=fields.text("cert"),
        key=fields.text("key"),
        server_name=fields.text("server_name"),
        mirrored=fields.flag("mirrored"),
    )


def _container(fields: _Fields) -> Container:
    root = fields.below("root")
    return Container(
        hostname=fields.text("hostname"),
        domainname=fields.text("domainname", ""),
        nics=tuple(_nic(nic) for nic in fields.objects("nics")),
        dns=_dns(fields),
        hosts=tuple(_host(item) for item in fields.items("hosts")),
        root=Root(
            root.checked("device", _is_disk),
            root.flag("readonly"),
            root.integer("shm_bytes", 64 * 1024 * 1024),
        ),
        disks=tuple(Disk(disk.flag("readonly")) for disk in fields.objects("disks")),
        mounts=tuple(_mount(mount) for mount in fields.objects("mounts")),
    )


def _mount(fields: _Fields) -> Mount:
    return Mount(
        target=fields.checked("target", lambda path: path.startswith("/") and "\0" not in path),
        readonly=fields.flag("readonly"),
        disk=fields.integer("disk") if fields.given("disk") else None,
        copy_up=fields.flag("copy_up"),
        subpath=fields.text("subpath", ""),
        flags=fields.texts("flags"),
        data=fields.text("data", ""),
    )


def _networks(fields: _Fields) -> Surroundings:
    return Surroundings(
        serial=fields.integer("serial"),
        nics=tuple(_nic(nic) for nic in fields.objects("nics")),
        dns=_dns(fields),
        hosts=tuple(_host(item) for item in fields.items("hosts")),
    )


def _dns(fields: _Fields) -> Dns:
    dns = fields.below("dns") if fields.has("dns") else _Fields({}, "dns")
    return Dns(dns.texts("servers"), dns.texts("search"), dns.texts("options"))


def _gateway(fields: _Fields, key: str) -> str:
    return fields.checked(key, packed_address) if fields.text(key, "") else ""


def _nic(fields: _Fields) -> Nic:
    return Nic(
        index=fields.integer("index", minimum=1),
        mac=fields.checked("mac", is_mac),
        addresses=fields.interface_addresses("addresses"),
        gateway=_gateway(fields, "gateway"),
        mtu=fields.integer("mtu", 1500, minimum=68),
        name=fields.checked("name", _is_interface),
        gateway6=_gateway(fields, "gateway6"),
    )


def _host(item: object) -> tuple[str, str]:
    if (
        not isinstance(item, list)
        or len(item) != 2
        or not all(isinstance(part, str) and "\n" not in part for part in item)
    ):
        raise ConfigError("hosts: not a list of [address, name]")
    return item[0], item[1]
