"""What `vic create` is told of a VCH on vSphere, and what its words mean."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from installer.errors import UsageError
from installer.networks import ExternalWish
from portlayer.vsphere.target import Target
from services.exec.drivers.shapes import MIB, MINIMUM_MEMORY_MIB
from services.network.drivers.vsphere.settings import parse_vlans

# Of a pool and a folder, and without what their paths are taken apart by.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_STORE = re.compile(r"(?P<datastore>[^/\[\]]+)(?:/(?P<directory>[^\[\]]*))?")
_STORE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
HTTPS_PORT = 443


@dataclass(frozen=True)
class Store:
    """A directory of a datastore; "" is all of it."""

    datastore: str
    directory: str = ""

    @property
    def path(self) -> str:
        """The path as vCenter has it."""
        return f"[{self.datastore}] {self.directory}".rstrip()

    def below(self, *names: str) -> str:
        """Return a path in it."""
        return f"[{self.datastore}] " + "/".join(filter(None, (self.directory, *names)))


@dataclass(frozen=True)
class VchLimits:
    """Of the VCH as a whole; 0 is none."""

    containers: int = 0
    memory_bytes: int = 0
    cpus: int = 0


def memory_problem(limits: VchLimits) -> str:
    """Return what is wrong with a limit in which no VM has room, or ""."""
    memory = limits.memory_bytes
    if not memory or memory >= MINIMUM_MEMORY_MIB * MIB:
        return ""
    return (
        f"--memory: {memory // MIB} MiB hold no container; the smallest VM has "
        f"{MINIMUM_MEMORY_MIB} MiB"
    )


@dataclass(frozen=True)
class VchWishes:
    """A VCH to be made."""

    name: str
    target: Target
    compute_resource: str
    image_store: Store
    management_network: str
    volume_stores: dict[str, Store] = field(default_factory=dict)
    bridge_networks: tuple[str, ...] = ()
    switch: str = ""
    vlans: str = ""
    public_network: str = ""
    client_network: str = ""
    container_networks: tuple[ExternalWish, ...] = ()
    anti_affinity: bool = False
    host_group: str = ""
    limits: VchLimits = field(default_factory=VchLimits)


def parse_target(text: str) -> tuple[str, int]:
    """Return host and port of "HOST[:PORT]". Raises UsageError."""
    host, colon, port = text.removeprefix("https://").rstrip("/").partition(":")
    if not host or "/" in host or (colon and not (port.isascii() and port.isdigit())):
        raise UsageError(f"invalid --target {text!r}: expected HOST or HOST:PORT of a vCenter")
    number = int(port) if colon else HTTPS_PORT
    if not 1 <= number <= 65535:
        raise UsageError(f"invalid --target {text!r}: there is no port {number}")
    return host, number


def parse_name(text: str) -> str:
    """Return a VCH's name. Raises UsageError."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"invalid --name {text!r}: up to 63 letters, digits, '.', '_' and '-', beginning with "
            "a letter or digit"
        )
    return text


def parse_store(option: str, text: str) -> Store:
    """Return the store of "DATASTORE[/DIRECTORY]", also as a ds:// URL. Raises UsageError."""
    found = _STORE.fullmatch(text.removeprefix("ds://"))
    if found is None:
        raise UsageError(f"invalid {option} {text!r}: expected DATASTORE or DATASTORE/DIRECTORY")
    directory = (found["directory"] or "").strip("/")
    if ".." in directory.split("/"):
        raise UsageError(f"invalid {option} {text!r}: a directory can't be above its datastore")
    return Store(found["datastore"], directory)


def parse_volume_stores(entries: Sequence[str]) -> dict[str, Store]:
    """Return stores by name of "NAME=DATASTORE/DIRECTORY".

    Raises UsageError with all that is wrong.
    """
    stores: dict[str, Store] = {}
    problems = []
    for entry in entries:
        name, given, text = entry.partition("=")
        if not given or not _STORE_NAME.fullmatch(name):
            problems.append(f"invalid --volume-store {entry!r}: expected NAME=DATASTORE/DIRECTORY")
        elif name in stores:
            problems.append(f"--volume-store {name!r} is given twice")
        else:
            try:
                stores[name] = parse_store("--volume-store", text)
            except UsageError as error:
                problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return stores


def check_vlans(text: str) -> str:
    """Return a range of VLANs as it was written. Raises UsageError."""
    if text:
        try:
            parse_vlans(text)
        except ValueError as error:
            raise UsageError(f"invalid --vlans: {error}") from None
    return text
