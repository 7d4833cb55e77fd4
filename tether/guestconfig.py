"""What a container VM is told through the hypervisor's own channel, and how it is written down.

The host agent and the tether share this module; it needs the standard library only.

**Channel.** On QEMU the configuration arrives on the virtio-serial port named ``vic.config``. Each
message down is a *frame*: its length in four bytes, big-endian, then that many bytes of JSON in
UTF-8. What comes up on the same port are lines of JSON:

``{"event": "ready", "protocol": 1}``
    Written once, when the tether waits for its identity and everything that clones can share is
    loaded. A parent for Instant Clone can be stopped from this moment on.
``{"event": "configured", "container_id": …}``
    The frames told all, and were carried out: addresses, disk, files.
``{"event": "failed", "error": …}``
    The configuration can't be carried out; the VM powers off after this.
``{"event": "connected", "serial": …}``, ``{"event": "refused", "serial": …, "error": …}``
    What became of ``networks`` with that serial number; the VM goes on either way.

**Frames.** One frame may carry everything (a clone at the moment of use, a cold boot). A ready
clone may get it in steps, each a frame of its own, in this order:

``warm_up``
    Nothing of an identity: fresh entropy and the time, and throwaway certificates to go through
    the motions of a start with. ``{"event": "warm"}`` comes up when that is done. For clones that
    are kept ready; never for a parent. It may be left out.
``identity``
    Who the VM is: ``boot_id``, names, management address, certificate.
    A clone that is to wait connected gets one of its own, under its own name.
``assignment``
    Whose a clone is that had an identity of its own: once, beside ``container``. It goes on
    dialling with what it has, and interaction knows from elsewhere whose it is.
``container``
    The container's disk, interfaces and name service.
``networks``
    Interfaces and name service of a running container, as they are to be from now on; as often as
    its networks change. An interface that is new may not have appeared yet: it is waited for.

An interface with an index below :data:`PLACED_NICS` is known by its place, since a clone wakes with
its parent's MAC address there; all others are plugged in, and known by their own.

Entropy and time are fresh in every frame. What is secret (``tls.key``, ``entropy``) is for one VM
and one start, and never written to a disk.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import asdict, dataclass, replace
from typing import Any

PROTOCOL_VERSION = 1
CONFIG_PORT = "vic.config"
EXIT_PORT = "vic.exit"
# How long a VM stays up after its init process ended, for the agent to hand over the output, in
# seconds. The agent itself gives up earlier where interaction can't be reached; this bounds a
# broken one.
LONGEST_FAREWELL = 90.0
# The least that makes clones' random states independent: 512 bytes, see docs of the tether.
MINIMUM_ENTROPY = 512
# How many network interfaces a VM has from its beginning, the management interface among them.
PLACED_NICS = 2
REHEARSAL_ADDRESS = "192.0.2.2/24"
MIRROR = "192.0.2.1"
"""Addresses for documentation (RFC 5737), which nobody has."""
# A frame with certificates and hosts takes 5 KiB; a bound keeps a broken host from filling us.
MAXIMUM_FRAME = 4 * 1024 * 1024

_LENGTH = struct.Struct(">I")


class ConfigError(ValueError):
    """A configuration that isn't understood; the message names the field."""


@dataclass(frozen=True)
class Tls:
    """Certificates in PEM: the authority of the instance, this VM's own, and its key."""

    ca: str
    cert: str
    key: str

    def __repr__(self) -> str:
        """Without the key, so that it can't reach a log."""
        return "Tls(…)"


@dataclass(frozen=True)
class Management:
    """The management interface, and where interaction listens for tethers.

    ``address`` has its prefix length ("100.112.0.5/20"), ``endpoint`` is "address:port",
    ``server_name`` the DNS name in interaction's certificate.
    """

    mac: str
    address: str
    endpoint: str
    server_name: str


@dataclass(frozen=True)
class Nic:
    """An interface of the container. ``index`` counts the VM's NICs; 0 is the management NIC.

    Gateways, of IPv4 and IPv6, are for what has no other route; as a rule one interface has them.
    """

    index: int
    mac: str
    addresses: tuple[str, ...]
    gateway: str = ""
    mtu: int = 1500
    name: str = "eth0"
    gateway6: str = ""


@dataclass(frozen=True)
class Dns:
    """What goes into /etc/resolv.conf."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Root:
    """The container's disk, by its name below /dev, with an ext4 file system and no partitions."""

    device: str = "vda"
    readonly: bool = False
    shm_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Disk:
    """A volume's disk, an ext4 file system without partitions; its LUN is its place."""

    readonly: bool = False


@dataclass(frozen=True)
class Mount:
    """What is mounted in the container: a volume, by its disk's place, or (None) a tmpfs.

    ``flags`` and ``data`` are a tmpfs's, as mount(8) and mount(2) have them. ``copy_up``: into an
    empty volume the image's files at the target are copied first.
    """

    target: str
    readonly: bool = False
    disk: int | None = None
    copy_up: bool = False
    subpath: str = ""
    flags: tuple[str, ...] = ()
    data: str = ""


@dataclass(frozen=True)
class WarmUp:
    """Throwaway certificates in PEM for a rehearsal of TLS, good for client and server at once.

    ``server_name`` is the DNS name in the certificate. ``mirrored``: what the management interface
    sends to :data:`MIRROR`, from :data:`REHEARSAL_ADDRESS`, comes back from there.
    """

    ca: str
    cert: str
    key: str
    server_name: str
    mirrored: bool = False

    def __repr__(self) -> str:
        """Without the key, as ever."""
        return "WarmUp(…)"


@dataclass(frozen=True)
class Identity:
    """Who this VM is."""

    instance: str
    container_id: str
    boot_id: str
    machine_id: str
    management: Management
    tls: Tls


@dataclass(frozen=True)
class Assignment:
    """The boot that a VM is of from now on, which had waited under a name of its own."""

    container_id: str
    boot_id: str
    machine_id: str


@dataclass(frozen=True)
class Container:
    """What the workload finds around it."""

    hostname: str
    domainname: str = ""
    nics: tuple[Nic, ...] = ()
    dns: Dns = Dns()
    hosts: tuple[tuple[str, str], ...] = ()
    root: Root = Root()
    disks: tuple[Disk, ...] = ()
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """The interfaces and the name service of a running container, from now on.

    ``serial`` is the sender's number of this change, and grows.
    """

    serial: int
    nics: tuple[Nic, ...] = ()
    dns: Dns = Dns()
    hosts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class GuestConfig:
    """One frame. Both parts are there at a cold boot; see the module's text for the steps."""

    time_ns: int
    entropy: bytes
    identity: Identity | None = None
    container: Container | None = None
    warm_up: WarmUp | None = None
    networks: Surroundings | None = None
    assignment: Assignment | None = None

    def steps(self) -> list[GuestConfig]:
        """The same in two frames, the identity first."""
        return [replace(self, container=None), replace(self, identity=None)]

    def __repr__(self) -> str:
        """Without the entropy, so that it can't reach a log."""
        return f"GuestConfig(identity={self.identity!r}, container={self.container!r})"


def format_frame(config: GuestConfig) -> bytes:
    """The frame as it is written to the port, length included."""
    document: dict[str, Any] = {
        "v": PROTOCOL_VERSION,
        "time_ns": config.time_ns,
        "entropy": base64.b64encode(config.entropy).decode(),
    }
    if config.warm_up is not None:
        document["warm_up"] = asdict(config.warm_up)
    if config.networks is not None:
        document["networks"] = asdict(config.networks)
    if config.assignment is not None:
        document["assignment"] = asdict(config.assignment)
    for part in (config.identity, config.container):
        if part is not None:
            document.update(asdict(part))
    body = json.dumps(document, separators=(",", ":")).encode()
    if len(body) > MAXIMUM_FRAME:
        raise ConfigError(f"a frame of {len(body)} bytes is longer than {MAXIMUM_FRAME}")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts the byte stream of the port into frames."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; return the bodies of the frames that are complete now."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAXIMUM_FRAME:
                raise ConfigError(f"a frame of {length} bytes is longer than {MAXIMUM_FRAME}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return bodies
