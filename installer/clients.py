"""`vic client issue`: a certificate for a program that calls the facets itself."""

import os
import re
from pathlib import Path

from installer.checks import require_root
from installer.errors import NotRunningError, UsageError
from installer.instance import check_data_dir, load_instance
from installer.pki import Authority
from installer.roles import CLIENT_ROLES
from portlayer.identity import Role, peer_uri

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def issue_client(data_dir: Path, name: str, role: Role, out: Path) -> Path:
    """Make a key and a certificate for an outside caller, in a directory of its own.

    The files belong to who ran sudo, or to root. Returns the directory. Raises UsageError for an
    impossible name or where the directory holds an identity already.
    """
    require_root("client issue")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"invalid client name {name!r}: letters, digits and . _ - only, 64 at most, beginning "
            "with a letter or digit"
        )
    if role not in CLIENT_ROLES:
        raise UsageError(f"clients can be {', '.join(CLIENT_ROLES)}, not {role}")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance; make one with `vic up`")
    if (out / "tls.key").exists():
        raise UsageError(f"{out} holds a client's certificate already; choose another with --out")
    authority = Authority.load(instance.pki_dir)
    identity = authority.issue(name, uri=peer_uri(role, instance.id, name))
    identity.write(out, owner=_asker())
    return out


def _asker() -> tuple[int, int]:
    """Return the user and group for whom root works: sudo's caller, or root itself."""
    return int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0"))
