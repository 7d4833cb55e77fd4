"""The container's files as tar and back, on directories of this machine."""

import gzip
import io
import json
import os
import random
import stat
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tether.files.failures import FileError, FileFailure
from tether.files.pack import pack
from tether.files.paths import absolute, base, describe, follow
from tether.files.task import do
from tether.files.unpack import unpack
from tether.supervisor.request import FileRequest


def packed(path: str) -> bytes:
    out = io.BytesIO()
    pack(path, describe(path), out)
    return out.getvalue()


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            member.uid, member.gid = os.getuid(), os.getgid()
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o755
    return member


def put(directory: Path, data: bytes, *, keep_kinds: bool = False) -> None:
    unpack(str(directory), io.BytesIO(data), None, keep_kinds=keep_kinds)


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("etc", "/etc"),
        ("/etc/", "/etc/"),
        ("/etc/.", "/etc/."),
        ("../../etc", "/etc"),
        ("/", "/"),
        (".", "/."),
        ("/a//b/../c", "/a/c"),
    ],
)
def test_a_path_is_absolute_and_keeps_what_its_end_means(path: str, clean: str) -> None:
    assert absolute(path) == clean


def test_the_base_is_gos() -> None:
    assert [base(path) for path in ("/", "/etc/", "/etc/.", "/a/b")] == ["/", "etc", ".", "b"]


def test_links_are_followed_to_their_end_and_a_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken").symlink_to("gone/away")
    assert describe(str(tmp_path / "one")).link_target == str(tmp_path / "file")
    assert follow(str(tmp_path / "loop")) == str(tmp_path / "loop")
    assert follow(str(tmp_path / "broken")) == str(tmp_path / "gone/away")


def test_a_tree_survives_both_ways(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    (source / "sub/file").write_bytes(b"content" * 100_000)
    (source / "sub/file").chmod(0o4751)
    os.utime(source / "sub/file", ns=(1, 1_600_000_000_123_456_789))
    os.link(source / "sub/file", source / "sub/hard")
    (source / "link").symlink_to("/nowhere")
    os.mkfifo(source / "fifo")
    odd = os.fsencode(source) + b"/\xff\xfe name"
    with open(odd, "wb") as file:
        file.write(b"odd")
    os.utime(source / "sub", ns=(1, 1_500_000_000_000_000_001))
    put(target, packed(str(source)))
    copy = target / "source"
    assert (copy / "sub/file").read_bytes() == b"content" * 100_000
    status = (copy / "sub/file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o4751
    assert status.st_mtime_ns == 1_600_000_000_123_456_789
    assert status.st_nlink == 2
    assert (copy / "sub").stat().st_mtime_ns == 1_500_000_000_000_000_001
    assert os.readlink(copy / "link") == "/nowhere"
    assert stat.S_ISFIFO((copy / "fifo").stat().st_mode)
    with open(os.fsencode(copy) + b"/\xff\xfe name", "rb") as file:
        assert file.read() == b"odd"


def test_entries_are_named_as_docker_names_them(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    assert names(packed(f"{tmp_path}/d")) == ["d", "d/f"]
    assert names(packed(f"{tmp_path}/d/.")) == [".", "./f"]
    assert names(packed(f"{tmp_path}/d/f")) == ["f"]


def test_a_sparse_file_takes_no_room_where_it_is_unpacked(tmp_path: Path) -> None:
    data = archive((entry("sparse"), bytes(8 << 20) + b"end"))
    put(tmp_path, data)
    status = (tmp_path / "sparse").stat()
    assert status.st_size == (8 << 20) + 3
    assert status.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/../out"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    with pytest.raises(FileError, match="is outside of") as caught:
        put(inside, archive((entry(name), b"x")))
    assert caught.value.failure is FileFailure.INVALID
    assert not (tmp_path / "out").exists()


def test_a_hard_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret").write_text("x")
    with pytest.raises(FileError, match="is outside of"):
        put(inside, archive((entry("hard", tarfile.LNKTYPE, "../secret"), b"")))


def test_a_file_takes_the_place_of_a_link_and_not_of_its_target(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "target").write_text("old")
    put(inside, archive((entry("l", tarfile.SYMTYPE, "../target"), b""), (entry("l"), b"new")))
    assert (tmp_path / "target").read_text() == "old"
    assert (inside / "l").read_text() == "new"


def test_kinds_are_kept_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    with pytest.raises(FileError, match=r"cannot overwrite directory .* with non-directory"):
        put(tmp_path, archive((entry("d"), b"x")), keep_kinds=True)
    with pytest.raises(FileError, match=r"cannot overwrite non-directory .* with directory"):
        put(tmp_path, archive((entry("f", tarfile.DIRTYPE), b"")), keep_kinds=True)
    put(tmp_path, archive((entry("d"), b"x"), (entry("f", tarfile.DIRTYPE), b"")))
    assert (tmp_path / "d").is_file()
    assert (tmp_path / "f").is_dir()


@pytest.mark.parametrize("data", [b"garbage" * 200, archive((entry("f"), b"x" * 5000))[:2000]])
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FileError, match="unexpected archive"):
        put(tmp_path, data)


def test_an_empty_body_is_an_empty_archive(tmp_path: Path) -> None:
    put(tmp_path, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_archive_is_taken(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.addfile(entry("f"), io.BytesIO())
    put(tmp_path, out.getvalue())
    assert (tmp_path / "f").exists()


@pytest.mark.parametrize("split", [None, 1, 700, 5000])
def test_a_gzip_is_checked_to_its_end(tmp_path: Path, split: int | None) -> None:
    plain = archive((entry("f"), random.Random(7).randbytes(200_000)))
    whole = gzip.compress(plain)
    if split is not None:  # two members are one file
        whole = gzip.compress(plain[:split]) + gzip.compress(plain[split:])
    put(tmp_path, whole + b"\0" * 9)
    assert (tmp_path / "f").stat().st_size == 200_000
    for damaged in (
        whole[:-8] + b"\0\0\0\0" + whole[-4:],
        whole[:-4] + b"\0\0\0\0",
        whole[:-3],
        whole[:300],
    ):
        with pytest.raises(FileError, match="unexpected archive") as refused:
            put(tmp_path, damaged)
        assert refused.value.failure is FileFailure.INVALID


def test_a_stat_is_one_line(tmp_path: Path) -> None:
    out = io.BytesIO()
    do(FileRequest("stat", str(tmp_path)), io.BytesIO(), out)
    fields = json.loads(out.getvalue())
    assert fields["name"] == tmp_path.name
    assert stat.S_ISDIR(fields["mode"])


def test_refusals_have_a_kind(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    for request, failure in (
        (FileRequest("stat", f"{tmp_path}/gone"), FileFailure.NOT_FOUND),
        (FileRequest("read", f"{file}/below"), FileFailure.NOT_DIRECTORY),
        (FileRequest("write", str(file)), FileFailure.NOT_DIRECTORY),
        (FileRequest("write", f"{tmp_path}/gone"), FileFailure.NOT_FOUND),
    ):
        with pytest.raises(FileError) as caught:
            do(request, io.BytesIO(), io.BytesIO())
        assert caught.value.failure is failure


@pytest.mark.parametrize(
    ("device", "export", "expected"),
    [
        # /proc and its like have no device; a volume has one.
        (os.makedev(0, 99), False, ["tree", "tree/file", "tree/mounted"]),
        (os.makedev(8, 0), False, ["tree", "tree/file", "tree/mounted", "tree/mounted/inner"]),
        (os.makedev(8, 0), True, ["file", "mounted"]),
        (None, True, ["file", "mounted", "mounted/inner"]),
    ],
)
def test_what_is_mounted_is_gone_into_where_docker_has_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: int | None,
    export: bool,
    expected: list[str],
) -> None:
    tree = tmp_path / "tree"
    (tree / "mounted").mkdir(parents=True)
    (tree / "mounted/inner").touch()
    (tree / "file").touch()
    lstat = os.lstat

    def of_another_device(path: str) -> object:
        status = lstat(path)
        if device is None or "/mounted" not in path:
            return status
        fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**{**fields, "st_dev": device})

    top = describe(str(tree))
    monkeypatch.setattr(os, "lstat", of_another_device)
    monkeypatch.setattr(os.path, "samestat", lambda one, other: True)
    out = io.BytesIO()
    pack(str(tree), top, out, export=export)
    assert sorted(names(out.getvalue())) == expected


def test_a_file_that_is_mounted_is_empty_in_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text("content")
    lstat = os.lstat

    def of_another_device(path: str) -> object:
        status = lstat(path)
        fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**{**fields, "st_dev": 99}) if "hosts" in path else status

    top = describe(str(tmp_path))
    monkeypatch.setattr(os, "lstat", of_another_device)
    out = io.BytesIO()
    pack(str(tmp_path), top, out, export=True)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        assert [(member.name, member.size) for member in tar] == [("hosts", 0)]


def of_five() -> bytearray:
    return bytearray(archive(*((entry(f"f{number}"), b"hello") for number in range(5))))


def test_a_damaged_header_is_not_taken_for_the_archives_end(tmp_path: Path) -> None:
    data = of_five()
    data[2 * 1024 + 148 : 2 * 1024 + 154] = b"999999"  # the third one's checksum
    with pytest.raises(FileError, match="unexpected archive") as caught:
        put(tmp_path, bytes(data))
    assert caught.value.failure is FileFailure.INVALID


def test_an_entry_that_leads_back_is_refused(tmp_path: Path) -> None:
    """tarfile would meet it for ever (CVE-2025-8194)."""
    header = entry("a")
    header.size = -512
    with pytest.raises(FileError, match="negative size"):
        put(tmp_path, bytes(of_five()[:1024]) + header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


@pytest.mark.parametrize("size", [2 * 1024 + 300, 2 * 1024 + 512 + 3, 2 * 1024 + 512])
def test_an_archive_that_is_cut_within_an_entry_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(FileError, match="unexpected archive"):
        put(tmp_path, bytes(of_five()[:size]))


def test_an_archive_needs_no_blocks_of_zeros_at_its_end(tmp_path: Path) -> None:
    put(tmp_path, bytes(of_five()[: 5 * 1024]))
    assert len(list(tmp_path.iterdir())) == 5


def test_only_root_may_write_directories_that_an_archive_takes_for_granted(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        put(tmp_path, archive((entry("x/y/z/f"), b"")))
    finally:
        os.umask(before)
    for name in ("x", "x/y", "x/y/z"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o755
