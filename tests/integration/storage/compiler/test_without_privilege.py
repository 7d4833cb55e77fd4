"""The compiler runs as nobody, and asks the kernel for nothing but files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.in_view import REPOSITORY, in_view
from tests.integration.storage.compiler.reference import check, needs, of_disk, root_only
from tests.unit.storage.compiler.disks import directory, file, member, tar

NOBODY = 65534
FORBIDDEN = {
    "mount", "umount2", "pivot_root", "chroot", "mknod", "mknodat", "setuid", "setresuid",
    "setreuid", "setgid", "setfsuid", "capset", "chown", "fchown", "lchown", "fchownat",
    "setxattr", "lsetxattr", "fsetxattr", "unshare", "setns", "bpf", "symlink", "symlinkat",
    "link", "linkat", "socket", "connect", "fork", "vfork", "ptrace", "fsopen", "move_mount",
    "mkdir", "mkdirat",
}  # fmt: skip


@root_only
@needs("strace")
def test_it_compiles_as_nobody_and_only_opens_reads_and_writes(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    work = tmp_path / "work"
    work.mkdir()
    os.chown(work, NOBODY, NOBODY)
    (tmp_path / "layer.tar").write_bytes(
        tar(
            directory("etc"),
            file("etc/shadow", b"x", mode=0o600),
            file("bin/su", b"y", mode=0o4755),
            member("dev/sda", kind=b"4", device=(8, 0)),
        )
    )

    def compile_(*arguments: str) -> tuple[str, str]:
        trace = work / "trace"
        ran = subprocess.run(
            in_view(
                ["strace", "-f", "-qq", "-u", "nobody", "-o", trace, sys.executable, "-B", "-m",
                 "services.storage.compiler", *arguments],
                tmp_path,
            ),
            capture_output=True, text=True, check=False,
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": "/"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout, trace.read_text()

    compile_("--base", str(work / "base.vmdk"), "--size", str(1 << 30))
    out, trace = compile_(
        "--parent", str(work / "base.vmdk"),
        "--tar", str(tmp_path / "layer.tar"),
        "--out", str(work / "layer.vmdk"),
    )  # fmt: skip
    assert json.loads(out)["entries"] == 4
    # What strace itself does before the program starts isn't the program's.
    trace = trace[trace.index("execve(") :]
    calls = set(re.findall(r"^\d+\s+(\w+)\(", trace, re.MULTILINE))
    assert {"pwrite64", "pwritev2"} <= calls
    assert calls & FORBIDDEN == set()
    assert trace.count("execve(") == 1
    opened = set(re.findall(r'openat\([^"]*"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)', trace))
    assert {str(Path(path).parent) for path in opened} == {str(work)}
    assert (work / "layer.vmdk").stat().st_uid == NOBODY
    check(work / "layer.vmdk")
    found = of_disk(work / "layer.vmdk")
    assert found[b"bin/su"].mode == 0o104755
    assert found[b"dev/sda"].device == (8, 0)
