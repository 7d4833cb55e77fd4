"""The data directory's tree, each part owned by who writes it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from installer.errors import InstallerError
from installer.instance import Instance
from installer.ownership import give_below, open_directory, own_tree
from installer.pki import AUTHORITY_KEY, Authority, needs_renewal
from installer.roles import PROCESSES, SERVICES, first_uid, uid_of
from portlayer.identity import Role, peer_uri, server_name

DATA_DIR_MODE = 0o711
"""Of the data directory itself: services find their part of it, and nobody lists it."""


@dataclass(frozen=True)
class OwnedDirectory:
    """A directory of the tree, with who owns it."""

    path: Path
    uid: int
    gid: int
    mode: int

    def ensure(self) -> None:
        """Make the directory, or mend its owner and mode."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(self.path, self.uid, self.gid)
        self.path.chmod(self.mode)


def directories(instance: Instance) -> Iterator[OwnedDirectory]:
    """Yield the directories of an instance, parents first."""
    suite = first_uid(instance.slot)
    yield OwnedDirectory(instance.data_dir, 0, 0, DATA_DIR_MODE)
    # Sockets made here get the suite's group (setgid), and none can remove another's (sticky).
    yield OwnedDirectory(instance.run_dir, 0, suite, 0o3771)
    yield OwnedDirectory(instance.log_dir, 0, 0, 0o700)
    yield OwnedDirectory(instance.pki_dir, 0, 0, 0o711)
    yield OwnedDirectory(instance.bootstrap_dir, 0, 0, 0o755)
    yield OwnedDirectory(instance.kernels_dir, 0, 0, 0o700)
    # exec connects to the QMP sockets below it, which are its own by their owner.
    yield OwnedDirectory(instance.data_dir / Role.HOSTAGENT, 0, 0, 0o711)
    for kind in SERVICES:
        uid = uid_of(kind, instance.slot)
        yield OwnedDirectory(instance.data_dir / kind.role, uid, uid, 0o700)


def lay_out(instance: Instance) -> None:
    """Make the tree, and give each facet what is its own.

    After a change of slot the facets' files belong to other users than before: they are handed
    over, by user and group, each ID moved by the distance between the slots.
    """
    former = _former_slot(instance)
    for directory in directories(instance):
        directory.ensure()
    if former is not None and former != instance.slot:
        hand_over(instance, first_uid(former), first_uid(instance.slot))


def count_kept(directory: Path) -> int:
    """Return how many containers or volumes a directory holds: each is a directory."""
    if not directory.is_dir():
        return 0
    return sum(path.is_dir() and not path.name.startswith(".") for path in directory.iterdir())


def hand_over(instance: Instance, former_first: int, first: int) -> None:
    """Move the owners of everything in the data directory from one slot's range to another's."""
    for top in (*(instance.data_dir / kind.role for kind in PROCESSES), instance.database_dir):
        if not top.is_dir():
            continue
        with open_directory(top.resolve()) as descriptor:
            give_below(descriptor, partial(_shifted, former_first, first), keep_modes=True)


def lay_out_identities(instance: Instance, renewed: set[Role] | None = None) -> None:
    """Make the authority and a certificate for each role, or renew what expires soon.

    `renewed` gets the roles that have a new one, also where another's can't be made; their
    processes must be restarted to use it. Raises InstallerError for those whose can't.
    """
    if (instance.pki_dir / AUTHORITY_KEY).exists():
        authority = Authority.load(instance.pki_dir)
    else:
        authority = Authority.create(instance.id)
        authority.write(instance.pki_dir)
    owners = {kind.role: uid_of(kind, instance.slot) for kind in PROCESSES}
    failures = []
    for role, uid in {**owners, Role.INSTALLER: 0}.items():
        try:
            new = _lay_out_identity(instance, authority, role, uid)
        except OSError as error:
            failures.append(f"the certificate of {role} can't be laid out: {error}")
        else:
            if new and renewed is not None:
                renewed.add(role)
    if failures:
        raise InstallerError("; ".join(failures))


def _lay_out_identity(instance: Instance, authority: Authority, role: Role, uid: int) -> bool:
    """Make a role's certificate, or renew it; tells whether there is a new one."""
    directory = instance.pki_dir / role
    new = needs_renewal(directory, authority)
    if new:
        identity = authority.issue(
            f"{role} of {instance.id}",
            uri=peer_uri(role, instance.id),
            dns_names=() if role is Role.INSTALLER else (server_name(role, instance.id),),
        )
        identity.write(directory, owner=(uid, uid))
    else:
        own_tree(directory, uid, uid)
    return new


def _former_slot(instance: Instance) -> int | None:
    """Return the slot whose users own the tree at present; None for a new tree."""
    try:
        suite = instance.run_dir.stat().st_gid
    except FileNotFoundError:
        return None
    slot, rest = divmod(suite - first_uid(0), first_uid(1) - first_uid(0))
    return slot if rest == 0 and 0 <= slot < 256 else None


def _shifted(former_first: int, first: int, status: os.stat_result) -> tuple[int, int]:
    width = first_uid(1) - first_uid(0)
    uid, gid = (
        first + number - former_first if former_first <= number < former_first + width else number
        for number in (status.st_uid, status.st_gid)
    )
    return uid, gid
