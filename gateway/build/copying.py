"""COPY and ADD: which files are meant, where they go, and the layer that brings them there."""

import hashlib
import os
import posixpath
import stat
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gateway.build.addresses import is_git, is_url
from gateway.build.lexing import NEEDS_BUILDKIT, Instruction
from gateway.build.matching import expression_of, has_wildcards
from gateway.build.trees import Entry, Tree
from gateway.errors import ApiError, bad_parameter

END = bytes(2 * tarfile.BLOCKSIZE)
"""What a tar ends with; alone it is a layer without members."""


@dataclass(frozen=True)
class Owner:
    """Whose what is copied becomes."""

    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Source:
    """Something that is copied."""

    tree: Tree
    entry: Entry
    name: str
    """Its last component as it was asked for."""

    archive: bool = False
    """Whether it is the content of an archive, which keeps its owners."""

    fetched: bool = False
    """Whether it comes from a URL, which dockerd's history tells by another form of the digest."""


@dataclass
class Copy:
    """A COPY or an ADD whose words are expanded and whose sources are found."""

    instruction: Instruction
    sources: list[Source]
    destination: str
    """As it is written, below the working directory where it is relative."""

    opened: list[Tree] = field(default_factory=list)
    """Trees of archives, to be closed."""

    def digest(self) -> str:
        """What is copied, for the cache: `file:…`, `dir:…`, or `multi:…` of several."""
        parts = [_digest_of(source) for source in self.sources]
        if len(parts) == 1:
            return parts[0]
        whole = hashlib.sha256(",".join(parts).encode()).hexdigest()
        return f"multi:{whole}"

    def close(self) -> None:
        """Give the archives' files back."""
        for tree in self.opened:
            tree.close()


def failed(instruction: Instruction, why: str) -> ApiError:
    """How a copy fails."""
    return bad_parameter(f"{instruction.name} failed: {why}")


def check_elsewhere(instruction: Instruction, path: str) -> None:
    """Refuse a source that is elsewhere than ADD gets something from. Raises a 400."""
    if instruction.name == "ADD" and is_git(path):
        raise bad_parameter(f"ADD of a Git repository ({path[:200]}) {NEEDS_BUILDKIT}")
    if instruction.name == "COPY" and is_url(path):
        raise failed(instruction, "source can't be a URL for COPY")


def found_sources(instruction: Instruction, path: str, tree: Tree) -> list[Source]:
    """What one source names in a tree, which may be nothing. Raises a 400 in dockerd's words."""
    return list(_matching(instruction, path, tree))


def _matching(instruction: Instruction, path: str, tree: Tree) -> Iterator[Source]:
    clean = posixpath.normpath("/" + path).lstrip("/")
    if posixpath.normpath(path.lstrip("/") or ".").split("/")[0] == "..":
        raise failed(instruction, f"forbidden path outside the build context: {path[:200]} ()")
    if has_wildcards(clean):
        expression = expression_of(clean)
        for name in sorted(name for name in tree.entries if name and expression.fits(name)):
            entry = tree.find(name)
            if entry is None:
                raise failed(instruction, f"{name} is a link to nothing that is there")
            yield Source(tree, entry, posixpath.basename(name))
        return
    entry = tree.find(clean.replace("\\", ""))
    if entry is None:
        raise failed(
            instruction,
            "file not found in build context or excluded by .dockerignore: "
            f"stat {path[:200]}: file does not exist",
        )
    yield Source(tree, entry, posixpath.basename(clean))


def _digest_of(source: Source) -> str:
    """A source's digest: names, modes and contents, without times, as dockerd's sums have it."""
    top = source.entry
    digest = hashlib.sha256(b"" if top.is_directory else os.fsencode(source.name))
    members = [top, *source.tree.below(top)] if top.is_directory else [top]
    for entry in members:
        name = entry.path[len(top.path) :].lstrip("/")
        owner = (entry.uid, entry.gid) if source.archive else ()
        line = (name, entry.mode, entry.size, entry.target, owner, entry.attributes)
        digest.update(repr(line).encode("utf-8", "surrogateescape"))
        if entry.is_file:
            digest.update(source.tree.digest(entry))
    if source.fetched:
        return digest.hexdigest()
    return f"{'dir' if top.is_directory and not source.archive else 'file'}:{digest.hexdigest()}"


@dataclass(frozen=True)
class Place:
    """Where the destination leads in the image."""

    path: str
    """Absolute, links followed inside the image."""

    missing: int = 0
    """How many of its last components aren't there."""

    mode: int = 0
    """Of what is there, as stat(2) has it; zero where nothing is."""

    @property
    def is_directory(self) -> bool:
        """Whether a directory is there."""
        return stat.S_ISDIR(self.mode)


def destination_of(written: str, directory: str) -> str:
    """A destination below the working directory; a slash at its end stays."""
    path = posixpath.join("/", directory, written)
    clean = "/" + posixpath.normpath(path).lstrip("/")
    if clean != "/" and (written.endswith("/") or written.split("/")[-1] == "."):
        return clean + "/"
    return clean


def layer_of(copy: Copy, place: Place, owner: Owner) -> Iterator[bytes]:
    """The layer that brings the files there, a tar. Raises a 400 where they can't be."""
    into = place.is_directory or copy.destination.endswith("/")
    for source in copy.sources:
        if (source.entry.is_directory or into) and place.mode and not place.is_directory:
            raise failed(copy.instruction, f"cannot copy to non-directory: {copy.destination}")
    last_too = into or copy.sources[0].entry.is_directory
    yield from directories(place, owner, last_too=last_too)
    for source in copy.sources:
        top = source.entry
        if top.is_directory:
            for entry in source.tree.below(top):
                name = entry.path[len(top.path) :].lstrip("/")
                _see_name(copy, name)
                yield from _member(source, entry, posixpath.join(place.path, name), owner)
        else:
            name = posixpath.join(place.path, source.name) if into else place.path
            _see_name(copy, name)
            yield from _member(source, top, name, owner)
    yield END


def _see_name(copy: Copy, name: str) -> None:
    """Refuse what a layer can't bring: by such a name it takes another one away."""
    if any(part.startswith(".wh.") for part in name.split("/")):
        raise failed(copy.instruction, f"{name[:200]}: a layer takes that for a whiteout")


def directories(place: Place, owner: Owner, *, last_too: bool) -> Iterator[bytes]:
    """Headers of the directories on the way to a place that aren't there."""
    parts = place.path.strip("/").split("/")
    for missing in range(place.missing, 0 if last_too else 1, -1):
        path = "/".join(parts[: len(parts) - missing + 1])
        made = Entry(path, stat.S_IFDIR | 0o755, mtime=int(time.time()))
        yield _header(made, path, owner)


def _member(source: Source, entry: Entry, name: str, owner: Owner) -> Iterator[bytes]:
    if source.archive:
        owner = Owner(entry.uid, entry.gid)
    yield _header(entry, name, owner)
    if entry.is_file:
        yield from source.tree.pieces(entry)
        yield bytes(-entry.size % tarfile.BLOCKSIZE)


def _header(entry: Entry, name: str, owner: Owner) -> bytes:
    header = tarfile.TarInfo(name.lstrip("/"))
    header.type = tarfile.REGTYPE
    if entry.is_directory:
        header.type = tarfile.DIRTYPE
    elif entry.is_link:
        header.type, header.linkname = tarfile.SYMTYPE, entry.target
    header.mode = stat.S_IMODE(entry.mode)
    header.size = entry.size if entry.is_file else 0
    header.mtime = entry.mtime
    header.uid, header.gid = owner.uid, owner.gid
    header.pax_headers = dict(entry.attributes)
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def of_archive(source: Source, tree: Tree) -> Source:
    """What an archive holds, in place of the archive itself."""
    return replace(source, tree=tree, entry=tree.entries[""], archive=True)
