"""A tar that was sent, or that an image's files came in, as a tree that is never unpacked.

Names are looked up among the members alone, so that no name, link or device in it reaches anything
of this host's. Of a file only where its bytes are is kept; they are read from the tar itself.
"""

import hashlib
import math
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any, NoReturn, Self, cast

from gateway.errors import ApiError, bad_parameter

MAX_ENTRIES = 500_000
_MAX_HEADER = 1 << 20
_MAX_HOPS = 40
_READ = 256 * 1024
_XATTR = "SCHILY.xattr."
_MAX_ATTRIBUTES = 64 << 20
"""Bytes of extended attributes of all members together: they are kept."""
# What tarfile takes for an archive's end where it isn't the first header.
_DAMAGED = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Entry:
    """A file, a directory or a symbolic link of a tree."""

    path: str
    """Relative to the top, without a dot in front; the top's own is empty."""

    mode: int
    """As stat(2) has it, kind included."""

    size: int = 0
    offset: int = 0
    """Where the content begins in the tar."""

    target: str = ""
    """Of a symbolic link."""

    mtime: float = 0.0
    uid: int = 0
    gid: int = 0
    attributes: tuple[tuple[str, str], ...] = ()
    """Extended attributes, as a tar's extended header has them."""

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is one with bytes in it."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic one."""
        return stat.S_ISLNK(self.mode)


_TOP = Entry("", stat.S_IFDIR | 0o755)


@dataclass
class Tree:
    """What a tar holds, by path."""

    file: IO[bytes]
    """The tar, inflated; without a name anywhere, so that it goes with this object."""

    entries: dict[str, Entry] = field(default_factory=lambda: {"": _TOP})
    described: bool = False
    """Whether a member says what the top is: the tar is of a directory, and not of one file."""

    attribute_bytes: int = 0
    """Of all entries' extended attributes."""

    _children: dict[str, set[str]] | None = None
    _digests: dict[int, bytes] = field(default_factory=dict)

    def close(self) -> None:
        """Give the tar's bytes back."""
        self.file.close()

    def find(self, path: str) -> Entry | None:
        """What is at a path, links followed inside the tree. Raises a 400 for circles."""
        trail: list[str] = []
        pending = path.split("/")[::-1]
        hops = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del trail[-1:]
                continue
            found = self.entries.get("/".join([*trail, part]))
            if found is None:
                return None
            if found.is_link:
                hops += 1
                if hops > _MAX_HOPS:
                    raise bad_parameter(f"too many links on the way to {path[:200]}")
                if found.target.startswith("/"):
                    trail.clear()
                pending += found.target.split("/")[::-1]
            else:
                trail.append(part)
        return self.entries.get("/".join(trail))

    def below(self, top: Entry) -> Iterator[Entry]:
        """All that is in a directory, each directory before its content, in order of names."""
        if self._children is None:
            self._children = {}
            for path in self.entries:
                if path:
                    self._children.setdefault(posixpath.dirname(path), set()).add(path)
        pending = sorted(self._children.get(top.path, ()), reverse=True)
        while pending:
            path = pending.pop()
            yield self.entries[path]
            pending += sorted(self._children.get(path, ()), reverse=True)

    def read(self, entry: Entry, limit: int) -> bytes:
        """A file's content. Raises a 400 where it is longer than the limit."""
        if entry.size > limit:
            raise bad_parameter(f"{entry.path[:200]} has more than {limit} bytes")
        return os.pread(self.file.fileno(), entry.size, entry.offset)

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """A file's content, piece by piece."""
        at, end = entry.offset, entry.offset + entry.size
        while at < end:
            piece = os.pread(self.file.fileno(), min(_READ, end - at), at)
            if not piece:
                raise bad_parameter("the build context ends in the middle of a file")
            at += len(piece)
            yield piece

    def digest(self, entry: Entry) -> bytes:
        """SHA-256 of a file's content."""
        found = self._digests.get(entry.offset)
        if found is None:
            digest = hashlib.sha256()
            for piece in self.pieces(entry):
                digest.update(piece)
            found = self._digests[entry.offset] = digest.digest()
        return found

    def without(self, path: str) -> None:
        """Take a file out."""
        self.entries.pop(path, None)
        self._children = None


class _Headers:
    """A tar for tarfile to walk along: what it reads at once is bounded, contents it skips.

    One that ends right behind the last file's content is whole, as it is for Go's reader: the
    docker CLI sends such a one where the Dockerfile comes from its standard input.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of more than {_MAX_HEADER} bytes")
        at = self._file.tell()
        if size == 1 and self.size <= at < self.size + -self.size % tarfile.BLOCKSIZE:
            return bytes(1)  # tarfile looks whether the padding is there
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Member(tarfile.TarInfo):
    """A member's header. One that is damaged, cut or leads back is an error, wherever it is."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next one. Raises ReadError, and what tarfile knows as an archive's end."""
        try:
            member = super().fromtarfile(archive)
        except _DAMAGED as error:
            raise tarfile.ReadError(str(error)) from error
        if member.size < 0:  # tarfile would meet it again and again (CVE-2025-8194)
            raise tarfile.ReadError("a member of negative size")
        if not math.isfinite(member.mtime):
            raise tarfile.ReadError("a time that is none")
        return member

    def _proc_gnusparse_10(self, *_: Any) -> NoReturn:
        # Its map may be as long as the archive, and would be read before it can be refused.
        raise tarfile.ReadError("a sparse file")

    _proc_sparse = _proc_gnusparse_10


def index(file: IO[bytes], what: str) -> Tree:
    """The tree of a tar that isn't compressed; `what` it is goes into refusals.

    Raises:
        ApiError: 400, for what is no tar or holds what must not be in one.
    """
    tree = Tree(file)
    headers = _Headers(file)
    try:
        with tarfile.open(
            fileobj=cast("IO[bytes]", headers),
            mode="r:",
            errors="surrogateescape",
            tarinfo=_Member,
        ) as tar:
            # tarfile keeps what it has met in a list of its own, which no stub of it tells.
            known: list[tarfile.TarInfo] = vars(tar)["members"]
            of_all: dict[str, str] = vars(tar)["pax_headers"]
            while (member := tar.next()) is not None:
                known.clear()  # which would grow without end
                # What is said of all members is said of the next one alone: else each had a copy.
                of_all.clear()
                if member.isreg() and member.offset_data + member.size > headers.size:
                    raise tarfile.ReadError("unexpected end of data")
                _add(tree, member, what)
                if len(tree.entries) > MAX_ENTRIES:
                    raise bad_parameter(f"{what} has more than {MAX_ENTRIES} entries")
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise bad_parameter(f"{what} is not a tar archive: {error}") from error
    return tree


def _add(tree: Tree, member: tarfile.TarInfo, what: str) -> None:
    path = _inside(member.name, what)
    if member.isdir():
        kind = stat.S_IFDIR
    elif member.issym():
        kind = stat.S_IFLNK
    elif member.isreg() and not member.issparse():
        kind = stat.S_IFREG
    elif not member.islnk():
        raise _refused(what, path, "a device, a pipe or a sparse file")
    attributes = tuple(
        (name, value) for name, value in member.pax_headers.items() if name.startswith(_XATTR)
    )
    tree.attribute_bytes += sum(len(name) + len(value) for name, value in attributes)
    if tree.attribute_bytes > _MAX_ATTRIBUTES:
        raise bad_parameter(f"{what} has more than {_MAX_ATTRIBUTES} bytes of attributes")
    if member.islnk():
        linked = tree.entries.get(_inside(member.linkname, what))
        if linked is None or not linked.is_file:
            raise _refused(what, path, "a hard link to nothing that is in it")
        _put(tree, replace(linked, path=path), what)
        return
    entry = Entry(
        path=path,
        mode=kind | member.mode & 0o7777,
        size=member.size if kind == stat.S_IFREG else 0,
        offset=member.offset_data,
        target=member.linkname if kind == stat.S_IFLNK else "",
        mtime=member.mtime,
        uid=member.uid,
        gid=member.gid,
        attributes=attributes,
    )
    _put(tree, entry, what)


def _put(tree: Tree, entry: Entry, what: str) -> None:
    if not entry.path and not entry.is_directory:
        raise _refused(what, ".", "a top that is no directory")
    if entry.path in tree.entries and tree.entries[entry.path].is_directory != entry.is_directory:
        raise _refused(what, entry.path, "a file and a directory of one name")
    # Directories that no member describes are there as well, as unpacking would make them.
    above = posixpath.dirname(entry.path)
    missing = []
    while above not in tree.entries:
        missing.append(above)
        above = posixpath.dirname(above)
    if not tree.entries[above].is_directory:
        raise _refused(what, entry.path, "a name that leads through a file or a link")
    for path in missing:
        tree.entries[path] = replace(_TOP, path=path)
    tree.entries[entry.path] = entry
    tree.described = tree.described or not entry.path


def _inside(name: str, what: str) -> str:
    """A member's name relative to the top. Raises a 400 for one that leads out."""
    if "\0" in name or len(name) > 4095:
        raise _refused(what, name[:100], "a name that can't be one")
    path = posixpath.normpath(name.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise _refused(what, name[:200], "a name outside of it")
    return "" if path == "." else path


def _refused(what: str, path: str, why: str) -> ApiError:
    shown = path.encode("utf-8", "backslashreplace").decode()
    return bad_parameter(f"{what} has {why}: {shown[:200]}")
