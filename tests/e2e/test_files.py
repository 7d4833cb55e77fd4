"""Files of containers: `docker cp`, `export`, `diff` and `commit`, while they run and while not."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")


def test_files_go_in_and_out_of_a_running_container(
    suite: Suite, image: str, tmp_path: Path
) -> None:
    suite.ok("run", "-d", "--name", "files", "-u", "1000", image, "sleep", "100000")
    content = os.urandom(6 << 20)
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/big").write_bytes(content)
    (tmp_path / "tree/link").symlink_to("/etc/passwd")
    suite.ok("cp", f"{tmp_path}/tree", "files:/opt-new")
    told = suite.ok(
        "exec", "files", "sh", "-c", "sha256sum /opt-new/sub/big; readlink /opt-new/link"
    )
    assert told.split()[0] == hashlib.sha256(content).hexdigest()
    assert told.splitlines()[1] == "/etc/passwd"

    suite.ok("cp", "files:/opt-new/.", f"{tmp_path}/back")
    assert (tmp_path / "back/sub/big").read_bytes() == content
    assert os.readlink(tmp_path / "back/link") == "/etc/passwd"
    suite.ok("cp", "-L", "files:/opt-new/link", f"{tmp_path}/passwd")
    assert "root:" in (tmp_path / "passwd").read_text()

    # The container's own user is the owner with -a; otherwise the archive says.
    suite.ok("cp", "-a", f"{tmp_path}/passwd", "files:/tmp/owned")
    suite.ok("cp", f"{tmp_path}/passwd", "files:/tmp/roots")
    owners = suite.ok("exec", "files", "stat", "-c", "%u", "/tmp/owned", "/tmp/roots").split()
    assert owners == ["1000", str(os.getuid())]

    refusals = (
        (
            ("cp", "files:/no/such", str(tmp_path)),
            "Could not find the file /no/such in container files",
        ),
        (("cp", "files:/etc/passwd/below", str(tmp_path)), "ot a directory"),
        (("cp", f"{tmp_path}/tree", "files:/etc/passwd"), "annot copy directory"),
    )
    for command, message in refusals:
        suite.refused(*command, code=1, message=message)
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../out"))
    refused = subprocess.run(
        ["docker", "cp", "-", "files:/tmp"],
        input=evil.getvalue(),
        env=suite.environment,
        capture_output=True,
    )
    assert refused.returncode == 1
    assert b"is outside of" in refused.stderr
    # What is there gives way to what is of another kind, unless that is forbidden.
    for held, kind, message in (
        ("/tmp/owned", tarfile.DIRTYPE, "cannot overwrite non-directory"),
        ("/opt-new/sub", tarfile.REGTYPE, "cannot overwrite directory"),
    ):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            member = tarfile.TarInfo(held.removeprefix("/"))
            member.type = kind
            tar.addfile(member)
        target = "/containers/files/archive?path=/&noOverwriteDirNonDir=1"
        status, told = suite.api("PUT", target, packed.getvalue())
        assert status == 400, told
        assert message in told["message"]
    # What the kernel makes up is no content, of an export no volume either.
    for arguments, prefix in ((("export", "files"), ""), (("cp", "files:/", "-"), "/")):
        sent = subprocess.run(
            ["docker", *arguments], env=suite.environment, capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(sent.stdout)) as tar:
            names = set(tar.getnames())
            big = tar.extractfile(f"{prefix}opt-new/sub/big")
            assert big is not None
            assert big.read() == content
        assert {f"{prefix}proc", f"{prefix}etc/passwd"} <= names
        assert not any(name.startswith((f"{prefix}proc/", f"{prefix}sys/")) for name in names)

    # What docker cp ran left nothing: the container has its own process alone.
    rows = suite.ok("top", "files", "-o", "pid,comm").splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["sleep"]

    suite.ok("run", "-d", "--name", "fixed", "--read-only", image, "sleep", "100000")
    suite.refused(
        "cp",
        f"{tmp_path}/passwd",
        "fixed:/etc/",
        code=1,
        message="container rootfs is marked read-only",
    )
    suite.ok("kill", "fixed")
    suite.ok("wait", "fixed")
    suite.refused(
        "cp",
        f"{tmp_path}/passwd",
        "fixed:/etc/",
        code=1,
        message="container rootfs is marked read-only",
    )

    # The processes are held while the layer is read, and go on.
    suite.ok("commit", "files", "running:1")
    changed = {"A /opt-new/link", "A /opt-new/sub/big", "C /tmp", "A /tmp/owned", "A /tmp/roots"}
    assert changed < set(suite.ok("diff", "files").splitlines())
    assert suite.ok("exec", "files", "echo", "goes on") == "goes on"
    listed = suite.ok("run", "--rm", "running:1", "sha256sum", "/opt-new/sub/big")
    assert listed.split()[0] == hashlib.sha256(content).hexdigest()


def test_files_of_a_container_that_does_not_run(suite: Suite, image: str, tmp_path: Path) -> None:
    program = (
        "rm /etc/group; mkdir /made; echo from-put >> /put; mv /put /made; chmod 600 /made/put"
    )
    suite.ok("create", "--name", "idle", "-v", "idle-data:/data", image, "sh", "-c", program)
    (tmp_path / "put").write_text("before it ever ran\n")
    suite.ok("cp", f"{tmp_path}/put", "idle:/put")
    suite.ok("cp", f"{tmp_path}/put", "idle:/data/in-volume")
    # Nobody sees the VM that this takes, and a start has the disk at once.
    assert suite.ok("ps", "-q") == ""
    suite.ok("start", "-a", "idle")

    assert set(suite.ok("diff", "idle").splitlines()) == {
        *("C /etc", "D /etc/group", "A /made", "A /made/put", "A /data"),
    }
    wanted = "before it ever ran\nfrom-put\n"
    with ThreadPoolExecutor(10) as pool:
        copies = [
            pool.submit(suite.ok, "cp", "idle:/made/put", f"{tmp_path}/copy{number}")
            for number in range(10)
        ]
        for copy in copies:
            copy.result()
    assert {(tmp_path / f"copy{n}").read_text() for n in range(10)} == {wanted}
    suite.ok("cp", "idle:/data/in-volume", f"{tmp_path}/volume")
    assert (tmp_path / "volume").read_text() == "before it ever ran\n"
    suite.refused(
        *("cp", "idle:/etc/group", str(tmp_path)),
        code=1,
        message="Could not find the file /etc/group in container idle",
    )
    sent = subprocess.run(
        ["docker", "export", "idle"], env=suite.environment, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(sent.stdout)) as tar:
        names = set(tar.getnames())
    assert {"made/put", "data", "etc/passwd"} <= names
    assert not {"etc/group", "data/in-volume"} & names

    command = 'CMD ["sh", "-c", "ls /etc/group; stat -c %a /made/put; cat /made/put"]'
    made = suite.ok("commit", "-a", "me", "-m", "why", "-c", command, "idle", "idle:done").strip()
    told = json.loads(suite.ok("image", "inspect", "idle:done"))[0]
    assert (told["Id"], told["Author"], told["Comment"]) == (made, "me", "why")
    assert told["Parent"] == suite.inspect("idle")["Image"]
    assert suite.docker("run", "--rm", "idle:done").stdout == f"600\n{wanted}"
    assert suite.ok("ps", "-aq", "--filter", "status=exited").split() != []
    # Who removes a container doesn't wait for what held its files.
    suite.ok("rm", "-v", "idle")
