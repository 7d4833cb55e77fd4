"""`vic configure`: limits of the VCH, effective at once, told with their figures."""

import json
from collections.abc import Iterator

import pytest

from installer.instance import load_instance
from tests.cgroups import groups_of
from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")


def configure(suite: Suite, *options: str) -> str:
    done = suite.vic("configure", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cpu_weight(suite: Suite) -> int:
    """What the kernel was told of the suite's share of the CPUs, relative to 100."""
    instance = load_instance(suite.data_dir)
    assert instance is not None
    for group in groups_of(instance.id):
        if (group / "cpu.weight").exists():
            return int((group / "cpu.weight").read_text())
        if (group / "cpu.shares").exists():
            return int((group / "cpu.shares").read_text()) * 100 // 1024
    raise AssertionError("the suite has no control group for CPUs")


@pytest.fixture(autouse=True)
def no_limits_left(suite: Suite) -> Iterator[None]:
    yield
    configure(
        suite,
        *("--container-limit=none", "--memory-limit=none", "--cpu-limit=none"),
        *("--storage-limit=none", "--memory-overcommit=default"),
        *("--cpu-reservation=none", "--memory-reservation=none", "--cpu-shares=default"),
    )


def test_limits_are_kept_and_shown(suite: Suite, image: str) -> None:
    configure(suite, "--container-limit=2", "--memory-limit=1g")
    suite.ok("run", "-d", image, "sleep", "1000")
    suite.refused("run", "-m", "900m", image, "true", code=125, message="of 1024 MiB are taken")
    suite.refused("create", image, code=1, message="2 containers of 2")
    status = dict(json.loads(suite.ok("info", "--format", "{{json .DriverStatus}}")))
    assert status["Containers"] == "2 of 2"
    told = configure(suite, "--container-limit=none", "--cpu-limit=1")
    assert "CPU" in told
    second = suite.ok("create", image, "true")
    suite.refused("start", second, code=1, message="needs 1 CPUs, and 1 of 1 are taken")
    configure(suite, "--cpu-limit=2")
    suite.ok("start", second)
    suite.ok("wait", second)
    suite.ok("rm", second)
    configure(suite, "--cpu-limit=none")
    wrong = suite.vic("configure", "--memory-limit=1m")
    assert wrong.returncode != 0
    assert "the memory limit must be between" in wrong.stderr
    configure(suite, "--storage-limit=16g")
    suite.refused("create", image, code=1, message="and 16384 MiB of 16384 MiB are taken")
    told = configure(suite, "--storage-limit=none", "--memory-overcommit=0.1")
    assert "memory overcommitment: 0.1 times" in told
    suite.ok("create", image)
    status = dict(json.loads(suite.ok("info", "--format", "{{json .DriverStatus}}")))
    assert status["Memory overcommitment"] == "0.1 times"
    assert status["Disks of containers"].endswith(" of no limit")
    told = configure(
        suite, "--cpu-reservation=0.5", "--memory-reservation=512m", "--cpu-shares=200"
    )
    assert "CPUs reserved: 0.5" in told
    status = dict(json.loads(suite.ok("info", "--format", "{{json .DriverStatus}}")))
    assert status["Reserved"].startswith("0.5 CPUs, 536.9MB of memory")
    assert status["Shares"].startswith("200 of CPUs")
    assert cpu_weight(suite) > 200
    for option, told in (
        ("--memory-reservation=100t", "104857600 MiB, is above the memory limit of 1024 MiB"),
        ("--memory-overcommit=0.01", "must be between 0.1 and 100 times"),
        ("--memory-overcommit=much", "not a factor: 'much'"),
        ("--storage-limit=1g", "the storage limit must be 8192 MiB"),
        ("--container-limit=-1", "not a number: '-1'"),
    ):
        wrong = suite.vic("configure", option)
        assert wrong.returncode != 0
        assert told in wrong.stderr


def test_a_container_may_use_the_memory_that_it_was_given(suite: Suite, image: str) -> None:
    """Its VM is there when most of the memory is in use.

    Once what its parent never touched had been charged twice, and QEMU was killed.
    """
    fill = "dd if=/dev/zero of=/filled/file bs=1M count=720 2>/dev/null; stat -c %s /filled/file"
    filled = ("run", "--rm", "--memory=800m", "--tmpfs=/filled:size=100%", image, "sh", "-c", fill)
    assert suite.ok(*filled) == str(720 << 20)
