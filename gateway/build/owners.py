"""`--chown`: users and groups by name or number, as the image's own files know them."""

from collections.abc import Awaitable, Callable

from gateway.build.copying import Owner
from gateway.errors import bad_parameter

MAX_DATABASE = 1 << 20
"""Bytes of /etc/passwd or /etc/group."""

_MAX_ID = 2**32 - 2

Read = Callable[[str], Awaitable[bytes]]
"""Reads a file of the image; nothing where there is none."""


async def owner_of(asked: str, read: Read) -> Owner:
    """What `--chown` means in an image; root where nothing is asked.

    A group that isn't given is that of the user's own name or number. Raises a 400.
    """
    if not asked:
        return Owner()
    user, colon, group = asked.partition(":")
    if not user or (colon and (not group or ":" in group)):
        raise bad_parameter(f"invalid chown string format: {asked[:100]}")
    uid = await _number(user, "/etc/passwd", "user", read)
    gid = await _number(group or user, "/etc/group", "group", read)
    return Owner(uid, gid)


async def _number(name: str, database: str, kind: str, read: Read) -> int:
    if name.isascii() and name.isdecimal():
        if len(name) > 10 or int(name) > _MAX_ID:
            raise bad_parameter(f"{kind} {name[:20]} is out of range")
        return int(name)
    for line in (await read(database)).decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2 and fields[2].isdecimal():
            return int(fields[2])
    number = "uid" if kind == "user" else "gid"
    raise bad_parameter(
        f"unable to convert uid/gid chown string to host mapping: can't find {number} for {kind} "
        f"{name[:100]}: no such {kind}: {name[:100]}"
    )
