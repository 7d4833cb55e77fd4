"""A tar as files of the container."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Self, cast

from tether.files.failures import FileError, FileFailure, of_system
from tether.supervisor.directories import make_directories

_PIECE = 256 * 1024
_ZEROS = bytes(_PIECE)
_XATTR = "SCHILY.xattr."
_NANO = 1_000_000_000
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # with gzip's header and trailer, as zlib.h has it
# Not exported, but stable since Python 2.7; typeshed has neither.
_DAMAGED = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]


def unpack(
    directory: str, source: IO[bytes], owner: tuple[int, int] | None, *, keep_kinds: bool
) -> None:
    """Unpack below a directory, as Docker does: what is in the way is replaced.

    ``owner`` is whose everything is, None for the archive's own; with ``keep_kinds`` nothing but a
    directory replaces a directory, and the reverse. Raises FileError; what was unpacked stays.
    """
    times: list[tuple[str, int]] = []
    reader = _Counting(source)
    try:
        with tarfile.open(
            fileobj=cast(IO[bytes], plain := _inflated(reader)),  # it is only read
            mode="r|*",
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=_PIECE,
            tarinfo=_Member,
        ) as tar:
            while (member := tar.next()) is not None:
                _Entry(tar, member, directory, owner, keep_kinds, times).make()
                # The list would grow with the number of files; typeshed has no such attribute.
                tar.members.clear()  # type: ignore[attr-defined]
        while plain.read(_PIECE):
            pass  # what follows the archive's end, and the checksum of one that is compressed
    except (tarfile.TarError, zlib.error, EOFError, ValueError, MemoryError) as error:
        if reader.count:
            raise FileError(FileFailure.INVALID, f"unexpected archive: {error}") from error
    for path, mtime_ns in reversed(times):
        with suppress(OSError):  # it was replaced meanwhile
            os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


class _Member(tarfile.TarInfo):
    """An entry's header. One that is damaged or cut is an error, wherever it is.

    tarfile takes each but the first one for the archive's end.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next one. Raises ReadError, and what tarfile knows as an archive's end."""
        try:
            member = super().fromtarfile(archive)
        except _DAMAGED as error:
            raise tarfile.ReadError(str(error)) from error
        if member.size < 0:  # tarfile would meet it again and again (CVE-2025-8194)
            raise tarfile.ReadError("an entry of negative size")
        return member


class _Counting:
    """Tells an archive that is empty from one that is none, and how it begins."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.count = 0
        self._head = b""

    def begins_with(self, magic: bytes) -> bool:
        while len(self._head) < len(magic) and (data := self.read(len(magic) - len(self._head))):
            self._head += data
        return self._head == magic

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        data = self._source.read(size)
        self.count += len(data)
        return data


def _inflated(reader: _Counting) -> _Counting | _Gzip:
    """An archive as tarfile is to read it: its own reader of gzip looks at no checksum."""
    return _Gzip(reader) if reader.begins_with(_GZIP) else reader


class _Gzip:
    """What a gzip of one or more members holds; what follows them counts for nothing."""

    def __init__(self, source: _Counting) -> None:
        self._source = source
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        self._pending = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        """Some of it, nothing at its end. Raises zlib.error, and EOFError where it is cut."""
        while not self._ended:
            data = self._inflater.decompress(self._pending, size)
            self._pending = self._inflater.unconsumed_tail
            if self._inflater.eof:
                self._next_member()
            elif not data and not self._pending:
                self._pending = self._source.read(_PIECE)
                if not self._pending:
                    raise EOFError("it ends in the middle")
            if data:
                return data
        return b""

    def _next_member(self) -> None:
        self._pending = self._inflater.unused_data
        while len(self._pending) < len(_GZIP) and (more := self._source.read(_PIECE)):
            self._pending += more
        self._ended = not self._pending.startswith(_GZIP)
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        while self._ended and self._source.read(_PIECE):
            pass  # as the sender would be held up else


class _Entry:
    """One entry of the archive on its way to the disk."""

    def __init__(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        directory: str,
        owner: tuple[int, int] | None,
        keep_kinds: bool,
        times: list[tuple[str, int]],
    ) -> None:
        self._tar = tar
        self._member = member
        self._directory = directory
        self._owner = owner
        self._keep_kinds = keep_kinds
        self._times = times
        self._path = _below(directory, member.name)

    def make(self) -> None:
        """Make it. Raises FileError."""
        try:
            self._make()
        except OSError as error:
            raise of_system(error, "write", self._path) from error

    def _make(self) -> None:
        member, path = self._member, self._path
        if posixpath.normpath(path) != posixpath.normpath(self._directory):
            make_directories(posixpath.dirname(path))
        if not self._clear():
            return
        mode = stat.S_IMODE(member.mode)
        if member.isdir():
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                self._dress(descriptor, mode)
            # Its entries would change it again.
            self._times.append((path, _nanoseconds(member)))
            return
        if member.isreg():
            self._write_file(mode)
            return
        if member.islnk():
            os.link(_below(self._directory, member.linkname), path, follow_symlinks=False)
            return
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.isfifo():
            os.mkfifo(path, mode)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(path, kind | mode, os.makedev(member.devmajor, member.devminor))
        else:
            kind_of_entry = member.type.decode("latin-1")
            raise FileError(FileFailure.INVALID, f"unhandled tar header type {kind_of_entry!r}")
        os.lchown(path, *self._ids())
        mtime_ns = _nanoseconds(member)
        os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def _clear(self) -> bool:
        """Remove what is in the way; False where nothing is to be made."""
        member, path = self._member, self._path
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            return True
        is_directory = stat.S_ISDIR(there.st_mode)
        if self._keep_kinds and is_directory != member.isdir():
            kinds = ("non-directory", "directory")
            raise FileError(
                FileFailure.INVALID,
                f'cannot overwrite {kinds[is_directory]} "{path}" '
                f'with {kinds[member.isdir()]} "{self._directory}"',
            )
        if is_directory and posixpath.normpath(path) == posixpath.normpath(self._directory):
            return False
        if is_directory and member.isdir():
            return True
        if is_directory:
            shutil.rmtree(path)  # never follows a link
        else:
            os.unlink(path)
        return True

    def _write_file(self, mode: int) -> None:
        """Write a regular file with holes where there is nothing but zeros."""
        source = self._tar.extractfile(self._member)
        assert source is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with (
            _opened(self._path, flags) as descriptor,
            open(descriptor, "wb", buffering=0, closefd=False) as file,
        ):
            while data := source.read(_PIECE):
                if data == _ZEROS[: len(data)]:
                    file.seek(len(data), os.SEEK_CUR)
                    continue
                view = memoryview(data)
                while view:
                    view = view[file.write(view) or 0 :]
            file.truncate(file.tell())
            self._dress(descriptor, mode)
            mtime_ns = _nanoseconds(self._member)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))

    def _dress(self, descriptor: int, mode: int) -> None:
        """Give it owner, mode and attributes, in the order in which none undoes another.

        By its descriptor: a workload may put a link in its place at any moment.
        """
        os.fchown(descriptor, *self._ids())
        os.fchmod(descriptor, mode)
        for name, value in self._member.pax_headers.items():
            if name.startswith(_XATTR):
                # A file system that has none keeps the file without, as under Docker.
                with suppress(OSError):
                    content = value.encode("utf-8", "surrogateescape")
                    os.setxattr(descriptor, name[len(_XATTR) :], content)

    def _ids(self) -> tuple[int, int]:
        return self._owner or (self._member.uid, self._member.gid)


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _below(directory: str, name: str) -> str:
    """A name of the archive as a path. Raises FileError for one that leads out of the directory."""
    clean = posixpath.normpath(name.lstrip("/") or ".")
    if clean == ".." or clean.startswith("../"):
        raise FileError(FileFailure.INVALID, f'"{name}" is outside of "{directory}"')
    return posixpath.join(directory, clean)


def _nanoseconds(member: tarfile.TarInfo) -> int:
    """A PAX time to the nanosecond, which tarfile's own float can't hold."""
    text = member.pax_headers.get("mtime", "")
    seconds, _, fraction = text.partition(".")
    digits = (fraction + "0" * 9)[:9]
    if seconds.isascii() and seconds.isdigit() and digits.isascii() and digits.isdigit():
        return int(seconds) * _NANO + int(digits)
    return int(member.mtime) * _NANO
