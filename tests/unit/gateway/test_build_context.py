"""Contexts of builds: read where they lie, never unpacked; and what COPY makes of them."""

import asyncio
import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.build import spooling, trees
from gateway.build.copying import Copy, Owner, Place, Source, found_sources, layer_of, of_archive
from gateway.build.lexing import Instruction
from gateway.build.owners import owner_of
from gateway.build.spooling import archive_in, spooled
from gateway.build.trees import Tree, index
from gateway.errors import ApiError

COPY = Instruction("COPY", "")


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for field, value in fields.items():
        setattr(header, field, value)
    return header, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for header, content in members:
            tar.addfile(header, io.BytesIO(content))
    return out.getvalue()


async def tree(*members: tuple[tarfile.TarInfo, bytes]) -> Tree:
    return await spooled(_pieces(packed(*members)), None, "the build context")


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 700):
        yield data[at : at + 700]


def layer(copy: Copy, place: Place) -> dict[str, tarfile.TarInfo]:
    data = b"".join(layer_of(copy, place, Owner(7, 8)))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {header.name: header for header in tar}


@pytest.mark.parametrize(
    "squeeze",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress],
)
async def test_contexts_come_compressed_or_not(squeeze: Callable[[bytes], bytes]) -> None:
    body = squeeze(packed(member("./a/b", b"x" * 3000), link("c", "a/b", tarfile.LNKTYPE)))
    found = await spooled(_pieces(body), None, "the build context")
    for name in ("a/b", "/c"):
        entry = found.find(name)
        assert entry is not None
        assert found.read(entry, 4000) == b"x" * 3000
    assert found.entries["a"].is_directory
    found.close()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../x")], "a name outside of it: ../x"),
        ([member("a/../../x")], "a name outside of it"),
        ([link("l", "/etc"), member("l/x")], "leads through a file or a link"),
        ([member("f"), member("f/x")], "leads through a file or a link"),
        ([link("h", "../../etc/passwd", tarfile.LNKTYPE)], "a name outside of it"),
        ([link("h", "etc/passwd", tarfile.LNKTYPE)], "a hard link to nothing"),
        ([link("s", "/etc/passwd"), link("h", "s", tarfile.LNKTYPE)], "a hard link to nothing"),
        ([member("d", type=tarfile.BLKTYPE)], "a device"),
        ([member("d", type=tarfile.FIFOTYPE)], "a device, a pipe"),
        ([member("d/x"), member("d")], "a file and a directory of one name"),
    ],
)
async def test_what_would_reach_out_of_a_context_is_refused(
    members: list[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await tree(*members)
    assert refused.value.status == 400
    assert message in refused.value.message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1500), st.integers(0, 1023))
def test_no_tar_breaks_the_reader(noise: bytes, at: int) -> None:
    good = packed(member("a", b"1"), link("b", "a"))
    with io.BytesIO(good[:at] + noise + good[at + len(noise) :]) as file, suppress(ApiError):
        index(file, "it")


async def test_links_lead_nowhere_out_of_a_context() -> None:
    found = await tree(
        member("real/file", b"1"),
        link("up", "../../../real"),
        link("absolute", "/real/file"),
        link("host", "/etc/passwd"),
        link("round", "round"),
    )
    for name in ("up/file", "absolute"):
        entry = found.find(name)
        assert entry is not None
        assert entry.path == "real/file"
    assert found.find("host") is None
    with pytest.raises(ApiError, match="too many links"):
        found.find("round")


def negative(extended: bool) -> bytes:
    """A member that leads back to itself."""
    header = tarfile.TarInfo("a")
    if extended:
        header.pax_headers = {"size": "-1536"}
        return header.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    header.size = -512
    return header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def with_time(moment: str) -> bytes:
    header = tarfile.TarInfo("a")
    header.pax_headers = {"mtime": moment}
    return header.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


def sparse() -> bytes:
    header = tarfile.TarInfo("a")
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a"}
    header.size = 1024
    return header.tobuf(tarfile.PAX_FORMAT) + b"1\n" * 512 + bytes(1024)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (negative(extended=True), "negative size"),
        (negative(extended=False), "negative size"),
        (with_time("nan"), "a time that is none"),
        (sparse(), "a sparse file"),
        (packed(member("a", b"1"), member("b", b"2"))[: 2 * 512 + 300], "truncated header"),
        (
            packed(member("a", b"1"), member("b", b"2")).replace(b"b\0", b"c\0", 1),
            "bad checksum",
        ),
    ],
)
async def test_a_context_that_is_damaged_is_not_taken_for_a_whole_one(
    data: bytes, words: str
) -> None:
    async with asyncio.timeout(60):
        with pytest.raises(ApiError, match=words):
            await spooled(_pieces(data), None, "the build context")


@pytest.mark.parametrize("end", [1, 300, 325, 837])
async def test_a_context_may_end_with_its_last_content(end: int) -> None:
    """The docker CLI sends such a one with a Dockerfile from standard input."""
    whole = packed(member("a", b"1"), member("b", b"2" * 700))
    found = await spooled(_pieces(whole[: 3 * 512 + 699 + end]), None, "the build context")
    entry = found.find("b")
    assert entry is not None
    assert found.read(entry, 700) == b"2" * 700
    found.close()
    for cut in (1, 512):
        with pytest.raises(ApiError, match="unexpected end of data"):
            await spooled(_pieces(whole[: 3 * 512 + 700 - cut]), None, "the build context")


async def test_what_a_context_says_of_its_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_MAX_ATTRIBUTES", 1000)
    told = {"SCHILY.xattr.user.a": "x" * 400}
    with pytest.raises(ApiError, match="more than 1000 bytes of attributes"):
        await tree(*(member(name, pax_headers=told) for name in "abc"))


async def test_no_name_takes_another_one_away() -> None:
    context = await tree(member("d/.wh.passwd", b"x"))
    found = found_sources(COPY, "d", context)
    copy = Copy(COPY, found, "/etc/")
    with pytest.raises(ApiError, match="takes that for a whiteout"):
        layer(copy, Place("/etc", mode=0o40755))


async def test_sizes_are_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "MAX_BYTES", 5000)
    bomb = gzip.compress(packed(member("zeros", bytes(100_000))))
    with pytest.raises(ApiError) as refused:
        await spooled(_pieces(bomb), None, "the build context")
    assert refused.value.status == 413
    assert refused.value.message == "the build context has more than 5000 bytes"
    monkeypatch.setattr(spooling, "MAX_BYTES", 50_000)
    monkeypatch.setattr(spooling, "FREE_BYTES", 1 << 62)
    with pytest.raises(ApiError) as refused:
        await tree(member("a"))
    assert refused.value.status == 507


async def test_files_go_into_a_directory_and_beside_a_name() -> None:
    context = await tree(member("a/x.txt", b"1", mode=0o4750), member("a/y.txt", b"2"))

    def copy(*paths: str, to: str) -> Copy:
        sources = [found for path in paths for found in found_sources(COPY, path, context)]
        return Copy(COPY, sources, to)

    renamed = layer(copy("a/x.txt", to="/new/name"), Place("/new/name", 2))
    assert list(renamed) == ["new", "new/name"]
    assert renamed["new"].isdir()
    one = renamed["new/name"]
    assert (one.mode, one.uid, one.gid) == (0o4750, 7, 8)
    assert list(layer(copy("a/x.txt", to="/there"), Place("/usr/there", 0, 0o40755))) == [
        "usr/there/x.txt"
    ]
    assert list(layer(copy("a/*.txt", to="/d/"), Place("/d", 1))) == ["d", "d/x.txt", "d/y.txt"]
    assert list(layer(copy(".", to="/d"), Place("/d", 0, 0o40755))) == [
        "d/a",
        "d/a/x.txt",
        "d/a/y.txt",
    ]
    with pytest.raises(ApiError, match="cannot copy to non-directory"):
        layer(copy("a", to="/file"), Place("/file", 0, 0o100644))
    for path, message in (
        ("nothing", "file not found in build context"),
        ("../a", "forbidden path outside"),
    ):
        with pytest.raises(ApiError, match=message):
            copy(path, to="/")


async def test_a_digest_is_of_names_modes_and_contents() -> None:
    async def digest(name: str, content: bytes, **fields: object) -> str:
        context = await tree(member(name, content, **fields))
        return Copy(COPY, found_sources(COPY, ".", context), "/").digest()

    first = await digest("a", b"1", mtime=1)
    assert first.startswith("dir:")
    assert await digest("a", b"1", mtime=2) == first
    others = [await digest("b", b"1"), await digest("a", b"2"), await digest("a", b"1", mode=0o700)]
    assert len({first, *others}) == 4


async def test_an_archive_is_found_by_what_is_in_it() -> None:
    inner = packed(member("in/side", b"1", uid=5))
    context = await tree(
        member("a.tgz", gzip.compress(inner)), member("b", inner), member("c.tar", b"no tar" * 200)
    )
    assert archive_in(context, "c.tar", None) is None
    for name in ("a.tgz", "b"):
        found = archive_in(context, name, None)
        assert found is not None
        source = of_archive(found_sources(COPY, name, context)[0], found)
        made = layer(Copy(COPY, [source], "/to"), Place("/to", 1))
        assert made["to/in/side"].uid == 5
        found.close()
    empty = replace(context.entries["b"], size=0)
    context.entries["b"] = empty
    assert archive_in(context, "b", None) is None


async def test_owners_are_the_images() -> None:
    async def read(path: str) -> bytes:
        return {"/etc/passwd": b"me:x:5:6::/:/bin/sh\n", "/etc/group": b"me:x:7:\nus:x:8:\n"}[path]

    assert await owner_of("", read) == Owner(0, 0)
    assert await owner_of("me", read) == Owner(5, 7)
    assert await owner_of("1:us", read) == Owner(1, 8)
    assert await owner_of("3", read) == Owner(3, 3)
    for asked in ("you", "me:you", ":", "1:", "99999999999"):
        with pytest.raises(ApiError):
            await owner_of(asked, read)


def test_a_source_is_named_as_it_was_asked_for() -> None:
    with io.BytesIO(packed(member("real", b"1"), link("alias", "real"))) as file:
        found: list[Source] = found_sources(COPY, "alias", index(file, "it"))
        assert [(one.name, one.entry.path) for one in found] == [("alias", "real")]
