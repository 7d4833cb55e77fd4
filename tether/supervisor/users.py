"""Resolves Docker's user syntax against the image's own /etc/passwd and /etc/group."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from tether.supervisor import kernelfile

# Linux's uid_t is unsigned, but Docker accepts what fits a signed 32-bit number.
_HIGHEST_ID = (1 << 31) - 1
# A bound for files that a hostile image might make endless.
_MAXIMUM_FILE = 16 * 1024 * 1024


class UnknownUserError(Exception):
    """No such user or group; the message is Docker's."""


@dataclass(frozen=True)
class User:
    """What a process runs as. ``groups`` are all supplementary groups, the primary one included."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True)
class _PasswdEntry:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class _GroupEntry:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(
    user: str, additional: list[str], users: str = "/etc/passwd", groups: str = "/etc/group"
) -> User:
    """Resolve "", "name", "uid", "name:group" or "uid:gid", and additional groups.

    A number that the image doesn't know is taken as it is; a name it doesn't know raises
    UnknownUserError. Without a group of its own, a number has group 0, as Docker does it.
    """
    user_part, _, group_part = user.partition(":")
    number = _number(user_part) if user_part else 0

    def is_meant(entry: _PasswdEntry) -> bool:
        return entry.name == user_part if number is None else entry.uid == number

    entry = next(filter(is_meant, _passwd_entries(users)), None)
    if entry is None and number is None:
        raise UnknownUserError(
            f"unable to find user {user_part}: no matching entries in passwd file"
        )
    uid, gid, home = (entry.uid, entry.gid, entry.home) if entry else (number or 0, 0, "/")
    supplementary: list[int] = []
    if group_part or entry is not None or additional:
        # Who needs no more than a user's own groups reads the lines that name the user.
        word = "" if entry is None or group_part or additional else entry.name
        known = list(_group_entries(groups, word))
        if group_part:
            gid = _find_group(group_part, known)
        elif entry is not None:
            supplementary = [one.gid for one in known if entry.name in one.members]
        supplementary += [_find_group(name, known) for name in additional]
    for identifier in (uid, gid, *supplementary):
        if not 0 <= identifier <= _HIGHEST_ID:
            raise UnknownUserError(f"uids and gids must be in range 0-{_HIGHEST_ID}")
    return User(uid, gid, tuple(dict.fromkeys((gid, *supplementary))), home or "/")


def _find_group(name: str, groups: list[_GroupEntry]) -> int:
    number = _number(name)
    for group in groups:
        if group.gid == number if number is not None else group.name == name:
            return group.gid
    if number is None:
        raise UnknownUserError(f"unable to find group {name}: no matching entries in group file")
    return number


def _number(text: str) -> int | None:
    try:
        return int(text) if text.isascii() else None
    except ValueError:
        return None


def _passwd_entries(path: str) -> Iterator[_PasswdEntry]:
    for fields in _lines(path, ""):
        if len(fields) >= 4 and (uid := _number(fields[2])) is not None:
            gid = _number(fields[3])
            yield _PasswdEntry(fields[0], uid, gid or 0, fields[5] if len(fields) > 5 else "")


def _group_entries(path: str, word: str) -> Iterator[_GroupEntry]:
    for fields in _lines(path, word):
        if len(fields) >= 3 and (gid := _number(fields[2])) is not None:
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _GroupEntry(fields[0], gid, tuple(members))


def _lines(path: str, word: str) -> Iterator[list[str]]:
    """The fields of lines that have ``word`` in them: to take all apart costs a guest time."""
    try:
        # Not blocking, and regular files only: an image may have a FIFO or a device here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # images made from scratch have neither file: then every name is unknown
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        text = kernelfile.rest(descriptor, _MAXIMUM_FILE).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)
    for line in text.split("\n"):
        if word in line and line and not line.startswith("#"):
            yield line.strip().split(":")
