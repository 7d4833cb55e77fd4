"""The processes of a suite: who they are on the host, and in which order they come and go."""

from dataclasses import dataclass

from portlayer.identity import Role

UID_BASE = 1_900_000_000
"""First user ID of slot 0: far above what `useradd` and subordinate ID ranges hand out."""

UIDS_PER_SLOT = 65_536
IMAGE_STORES = UID_BASE - 1
"""Group of the files in image stores that several instances share."""

DATABASE_UID_OFFSET = 6
"""User ID, counted from the slot's first, of a PostgreSQL whose facets run in containers."""

FACET_PORTS = 17_000
PORTS_PER_SLOT = 8
"""TCP ports on loopback at which facets in containers serve: those of slot 0, and how many each
slot has. A port's number in the slot is that of the user ID."""

VM_UID_OFFSET = 1_000
"""User IDs below it, counted from the slot's first, are services; from it on, virtual machines."""


CLIENT_ROLES = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)
"""Roles that `vic client issue` gives to callers from outside."""


@dataclass(frozen=True)
class ProcessKind:
    """How one process of the suite is run."""

    role: Role
    module: str
    """Run as ``python -m MODULE``."""
    uid_offset: int | None
    """Its user ID, counted from the slot's first; None means root."""
    capabilities: tuple[str, ...] = ()
    """What it keeps of root's powers, as setpriv(1) names them."""
    stop_seconds: float = 15.0
    """Time between SIGTERM and SIGKILL."""


HOSTAGENT = ProcessKind(Role.HOSTAGENT, "hostagent", None)

SERVICES = (
    ProcessKind(
        Role.NETWORK,
        "services.network",
        4,
        # Bridges, addresses and nftables; DNS answers on port 53 of each bridge's gateway.
        capabilities=("net_admin", "net_bind_service"),
    ),
    ProcessKind(Role.STORAGE, "services.storage", 5),
    ProcessKind(Role.INTERACTION, "services.interaction", 3),
    ProcessKind(Role.EXEC, "services.exec", 2),
    ProcessKind(Role.GATEWAY, "gateway", 1),
)
"""In the order in which `vic restart` goes through them; they are started all at once."""

PROCESSES = (HOSTAGENT, *SERVICES)
"""Every process that the watcher keeps running."""


def kind_of(role: Role) -> ProcessKind:
    """Return how a process of the suite is run. Raises KeyError for a role that is no process."""
    for kind in PROCESSES:
        if kind.role is role:
            return kind
    raise KeyError(role)


def first_uid(slot: int) -> int:
    """Return the first user ID of an instance slot; the group of that number is the suite's."""
    return UID_BASE + slot * UIDS_PER_SLOT


def facet_port(role: Role, slot: int) -> int:
    """Return the TCP port of a facet that runs in containers."""
    offset = kind_of(role).uid_offset
    assert offset is not None, "the host agent runs in no container"
    return FACET_PORTS + slot * PORTS_PER_SLOT + offset


def database_port(slot: int) -> int:
    """Return the TCP port of the PostgreSQL of facets that run in containers."""
    return FACET_PORTS + slot * PORTS_PER_SLOT + DATABASE_UID_OFFSET


def uid_of(kind: ProcessKind, slot: int) -> int:
    """Return the user ID, and primary group ID, under which a process runs in a slot."""
    return 0 if kind.uid_offset is None else first_uid(slot) + kind.uid_offset
