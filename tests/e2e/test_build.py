"""`docker build` without BuildKit: each RUN in a container VM, all else without one."""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.suite import Finished, Suite

pytestmark = pytest.mark.usefixtures("containers")

_STAGES = """\
# syntax=docker/dockerfile:1
ARG BASE=missing
FROM ${BASE} AS made
ARG WHO
ARG FLAVOUR=plain
ENV GREETING="hello ${WHO}"
WORKDIR /src/deep
COPY --chown=nobody:1 *.txt sub/ ./
RUN echo "$GREETING $FLAVOUR" > said && \\
    # a comment within
    ls -ln /src/deep
RUN ["touch", "exec form"]
FROM ${BASE}
COPY --from=made /src/deep/said /src/deep/a.txt /out/
ADD packed.tar.gz /unpacked/
LABEL stage=last
ONBUILD RUN echo triggered > /triggered
ENTRYPOINT ["cat"]
CMD ["/out/said"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory to build from."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "Dockerfile").write_text(_STAGES)
    (tmp_path / ".dockerignore").write_text("*.md\n**/hidden*\n!sub/hidden-not\nDockerfile\n")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "hidden.txt").write_text("no")
    (tmp_path / "sub/hidden-not").write_text("yes")
    (tmp_path / "sub/link").symlink_to("/etc/passwd")
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("inside/file")
        member.uid, member.size = 33, 4
        tar.addfile(member, io.BytesIO(b"tar\n"))
    return tmp_path


def test_stages_are_built_once_and_their_image_runs(
    suite: Suite, image: str, context: Path
) -> None:
    options = ["-t", "built:one", "-t", "built:two", "--build-arg", "WHO=you", "--label", "by=me"]
    options += ["--build-arg", f"BASE={image}", "--build-arg", "NOBODY=1"]
    built = suite.build(context, *options)
    told = built.stdout
    assert built.returncode == 0, told + built.stderr
    assert f"Step 1/17 : ARG BASE=missing\nStep 2/17 : FROM {'${BASE}'} AS made\n" in told
    assert "Step 17/17 : LABEL" in told
    assert " ---> Running in " in told
    assert " ---> Removed intermediate container " in told
    rows = [line.split() for line in told.splitlines() if line[:2] in ("-r", "lr")]
    listed = {row[8]: row for row in rows}
    assert set(listed) >= {"a.txt", "hidden-not", "said"}
    assert "hidden.txt" not in listed
    assert listed["a.txt"][2:4] == ["65534", "1"]
    assert "[Warning] One or more build-args [NOBODY] were not consumed" in told
    assert told.endswith("Successfully tagged built:one\nSuccessfully tagged built:two\n")
    assert suite.ok("ps", "--all", "--quiet") == ""

    assert suite.ok("run", "--rm", "built:one") == "hello you plain"
    look = "stat -c '%u %n' /unpacked/inside/file /out/a.txt; cat /unpacked/inside/file"
    seen = suite.ok("run", "--rm", "--entrypoint", "sh", "built:two", "-c", look)
    assert seen == "33 /unpacked/inside/file\n0 /out/a.txt\ntar"
    config = json.loads(suite.ok("image", "inspect", "built:one"))[0]["Config"]
    assert config["Labels"]["stage"] == "last"
    assert config["Labels"]["by"] == "me"
    assert config["OnBuild"] == ["RUN echo triggered > /triggered"]
    assert "ADD file:" in suite.ok("history", "--no-trunc", "built:one")

    again = suite.build(context, *options)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(" ---> Using cache\n") == 14
    assert " ---> Running in " not in again.stdout
    first = _id(built)
    assert _id(again) == first

    (context / "a.txt").write_text("b")
    quiet = suite.build(context, "-q", *options)
    assert quiet.returncode == 0, quiet.stderr
    assert quiet.stdout.startswith("sha256:")
    assert first not in quiet.stdout

    (context / "Dockerfile").write_text("FROM built:one\nRUN rm -r /out\n")
    triggered = suite.build(context, "-t", "built:on")
    assert "# Executing 1 build trigger\n" in triggered.stdout, triggered.stderr
    ls = ("run", "--rm", "--entrypoint", "ls", "built:on", "/triggered", "/unpacked")
    assert suite.ok(*ls) == "/triggered\n\n/unpacked:\ninside"
    suite.ok("rmi", "built:on", "built:one", "built:two")


def _id(built: Finished) -> str:
    return built.stdout.split("Successfully built ")[1].split()[0]


def test_a_build_that_fails_says_which_command_did(
    suite: Suite, image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo before; exit 7\nRUN never\n")
    failed = suite.build(tmp_path, "--force-rm")
    assert failed.returncode == 7
    assert "before\n" in failed.stdout
    message = "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7"
    assert message in failed.stderr
    assert suite.ok("ps", "--all", "--quiet") == ""
    kept = suite.build(tmp_path)
    assert kept.returncode == 7
    assert len(suite.ok("ps", "--all", "--quiet").split()) == 1

    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN --mount=type=cache,target=/x ls\n")
    refused = suite.build(tmp_path)
    assert "the --mount option requires BuildKit" in refused.stderr


def test_what_a_hostile_context_holds_reaches_nothing(suite: Suite, image: str) -> None:
    def context(*members: tarfile.TarInfo, dockerfile: str) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            text = dockerfile.encode()
            header = tarfile.TarInfo("Dockerfile")
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text))
            for member in members:
                tar.addfile(member)
        return packed.getvalue()

    def linked(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        return member

    copied = f"FROM {image}\nCOPY out /x\n"
    device = tarfile.TarInfo("sda")
    device.type, device.devmajor = tarfile.BLKTYPE, 8
    cases = (
        (context(tarfile.TarInfo("../../out"), dockerfile=copied), "a name outside of it"),
        (context(linked("out", "../../etc/passwd"), dockerfile=copied), "file not found"),
        (context(linked("out", "/etc/passwd"), dockerfile=copied), "file not found"),
        (context(linked("out", "/etc/passwd", tarfile.LNKTYPE), dockerfile=copied), "a hard link"),
        (context(device, dockerfile=copied), "a device"),
        (context(dockerfile=f"FROM {image}\nCOPY ../etc /x\n"), "forbidden path outside"),
        (b"no tar at all" * 100, "is not a tar archive"),
    )
    for body, message in cases:
        told = _post(suite, body)
        assert message in told, told
    # A link of the image leads nowhere out of it either.
    link = f"FROM {image}\nRUN ln -s ../../../../../../tmp/away /link\nCOPY a /link/\n"
    link += "RUN ls /tmp/away/a\n"
    told = _post(suite, context(tarfile.TarInfo("a"), dockerfile=link))
    assert "Successfully built" in told, told
    assert not Path("/tmp/away").exists()


def _post(suite: Suite, body: bytes, **options: str) -> str:
    done = subprocess.run(
        [
            *("curl", "-sS", "--unix-socket", suite.endpoint.removeprefix("unix://")),
            *("-H", "Content-Type: application/x-tar", "--data-binary", "@-"),
            f"http://docker/v1.50/build?{urlencode(options)}",
        ],
        input=body,
        capture_output=True,
        timeout=600,
        check=False,
    )
    return done.stdout.decode() + done.stderr.decode()


def test_a_client_that_goes_away_leaves_no_container(
    suite: Suite, image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo begun; sleep 1000\n")
    before = set(os.listdir(suite.data_dir / "gateway"))
    build = subprocess.Popen(
        ["docker", "build", str(tmp_path)],
        env=suite.environment | {"DOCKER_BUILDKIT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert build.stdout is not None
    with build.stdout as output:
        assert any(line == "begun\n" for line in output)
        build.kill()
    build.wait()
    events = ("events", "--since", "5m", "--filter", "event=destroy", "--format", "{{.ID}}")
    gone = subprocess.Popen(["docker", *events], env=suite.environment, stdout=subprocess.PIPE)
    assert gone.stdout is not None
    try:
        left = suite.ok("ps", "--all", "--quiet", "--no-trunc").split()
        while left:
            left = [one for one in left if one != gone.stdout.readline().decode().strip()]
    finally:
        gone.kill()
        gone.wait()
        gone.stdout.close()
    assert set(os.listdir(suite.data_dir / "gateway")) <= before
