"""`vic kernel`: a kernel of choice for a container or a VCH, added when a VM has booted it."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.suite import Suite
from tether.bootstrap import debian
from tether.bootstrap.image import DEFAULT_CACHE

pytestmark = pytest.mark.usefixtures("containers")


def refused(suite: Suite, *arguments: str, words: str) -> None:
    done = suite.vic(*arguments)
    # 2 where the command line itself can't be right
    assert done.returncode in (1, 2)
    assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def packaged(root: Path, target: Path) -> Path:
    """Make a package of what lies below a directory."""
    (root / "DEBIAN").mkdir(exist_ok=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: linux-image-own\nVersion: 1\nArchitecture: amd64\n"
        "Maintainer: a test <test@example.org>\nDescription: a kernel\n"
    )
    command = ["dpkg-deb", "-Znone", "--build", str(root), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


def test_a_kernel_is_added_when_it_boots_and_chosen_by_its_name(
    suite: Suite, image: str, tmp_path: Path
) -> None:
    package = debian.resolve_kernel()
    file = debian.fetch([package], DEFAULT_CACHE / "downloads")[package.name]
    own = suite.vic("kernel", "add", "own", f"--deb={file}")
    assert own.returncode == 0, own.stderr
    release = own.stdout.split()[-1]
    assert suite.ok("run", "--rm", "-l", "vic.kernel=own", image, "uname", "-r") == release

    # One that doesn't boot leaves all as it was.
    before = sorted(path.name for path in (suite.data_dir / "bootstrap").iterdir())
    debian.unpack(file, tmp_path / "root")
    next((tmp_path / "root" / "boot").glob("vmlinuz-*")).write_bytes(bytes(1 << 20))
    broken = packaged(tmp_path / "root", tmp_path / "broken.deb")
    words = "the kernel does not boot, and was not added: "
    refused(suite, "kernel", "add", "broken", f"--deb={broken}", words=words)
    assert sorted(path.name for path in (suite.data_dir / "bootstrap").iterdir()) == before
    assert [path.name for path in (suite.data_dir / "kernels").iterdir()] == ["own.deb"]
    unknown = "no kernel is named 'broken': there are own; `vic kernel add` adds one"
    options = ["-l", "vic.kernel=broken"]
    suite.refused("run", "--rm", *options, image, "true", code=125, message=unknown)
    refused(suite, "configure", "--kernel=broken", words=unknown)
    refused(suite, "kernel", "add", "own", f"--deb={file}", words="a kernel named 'own' already")

    # One that somebody has chosen is not removed.
    suite.ok("create", "--name", "chooser", "-l", "vic.kernel=own", image)
    refused(suite, "kernel", "rm", "own", words="own is the kernel of chooser, 1 in all")
    suite.ok("rm", "chooser")
    assert "kernel: own" in suite.vic("configure", "--kernel=own").stdout.splitlines()
    assert suite.ok("run", "--rm", image, "uname", "-r") == release
    refused(suite, "kernel", "rm", "own", words="own is this host's choice")
    suite.vic("configure", "--kernel=none")
    assert suite.vic("kernel", "rm", "own").returncode == 0
    assert suite.vic("kernel", "ls").stdout.splitlines()[1:] == []
    assert suite.ok("run", "--rm", image, "echo", "still here") == "still here"
