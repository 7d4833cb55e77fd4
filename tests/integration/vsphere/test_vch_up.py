"""The services of a VCH on a vCenter, started here by `vic up`."""

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from installer.__main__ import main
from portlayer.vsphere.lookup import find
from portlayer.vsphere.session import VCenter
from tests.integration.vsphere.others import put_bootstrap
from tests.integration.vsphere.vch import CLUSTER, inventory, on, place, target
from tests.vcenter import PASSWORD, simulator

POOL = f"{CLUSTER}/Resources/up"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="vic up needs root, and this test ip"
)


@contextmanager
def interface(address: str) -> Iterator[None]:
    """Have an address on this machine, as in the management port group."""
    name = f"vsm-{secrets.token_hex(3)}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


def refused(data: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of a `vic up` that must fail before it starts anything."""
    assert main(["up", *data]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


async def remove_pool(vcenter: VCenter) -> None:
    """Remove the VCH's pool, as others may."""
    pool = await vcenter.call(lambda content: find(content, POOL))
    assert pool is not None
    await vcenter.finish(lambda _: pool.Destroy_Task())


def test_a_vch_comes_up_where_its_vms_find_it_and_is_configured(
    medium: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short_path.chmod(0o711)
    data = ["--data-dir", str(short_path / "up")]
    with simulator() as own:
        on(own, put_bootstrap)
        before = inventory(own)
        iso = ["--bootstrap-iso", str(medium)]
        limits = ["--memory", "4g", "--cpu", "4", "--containers", "5"]
        creation = ["create", *data, "--name", "up", *target(own), *place(), *limits, *iso]
        assert main(creation) == 0
        made = inventory(own)
        # Nothing is made and nothing started where VMs could not reach it.
        assert main(["usage", *data]) == 1
        assert "never up; start it with `vic up`" in capsys.readouterr().err
        assert main(["up", *data]) == 1
        capsys.readouterr()
        assert main(["down", *data]) == 0
        assert capsys.readouterr().err == ""
        assert inventory(own) == made
        assert main(["up", *data]) == 1
        said = capsys.readouterr().err
        named = re.search(r"ip address add (\S+) dev INTERFACE", said)
        assert named is not None, said
        assert main(["status", *data]) == 3
        with interface(named[1]):
            try:
                password = short_path / "up/vcenter/password"
                password.write_text("another\n")
                assert refused(data, capsys).endswith(
                    "check --user and the file of --password-file of `vic create`, repeated in "
                    "its other words"
                )
                password.write_text(PASSWORD)
                assert main(["up", *data]) == 0
                capsys.readouterr()
                assert main(["status", *data]) == 0
                assert "hypervisor  VMware vCenter Server" in capsys.readouterr().out
                # As for a new password: who read the old one reads it.
                group = password.stat().st_gid
                assert main(creation) == 0
                assert "restarting the services" in "".join(capsys.readouterr())
                assert password.stat().st_gid == group != 0
                assert main(["status", *data]) == 0
                capsys.readouterr()
                new = ["--memory-limit", "1g", "--cpu-limit", "3", "--container-limit", "1"]
                assert main(["configure", *data, *new]) == 0
                assert "memory of running VMs: 1024 MiB" in capsys.readouterr().out
                assert main(["configure", *data, "--cpu-shares", "high"]) == 1
                error = capsys.readouterr().err
                assert error == (
                    "vic: this hypervisor can't reserve CPUs or memory for a virtual container "
                    "host\n"
                )
                assert main(["configure", *data, "--ready-clones", "2"]) == 1
                assert capsys.readouterr().err == "vic: this hypervisor keeps no ready clones\n"
                assert main(["inspect", *data]) == 0
                told = json.loads(capsys.readouterr().out)
                assert told["running"]
                assert told["vsphere"]["pool_state"] == {
                    "there": True,
                    "memory_limit_bytes": 1 << 30,
                    "cpu_limit_mhz": 3 * 2294,
                }
                assert main(["down", *data]) == 0
                capsys.readouterr()
                on(own, remove_pool)
                assert refused(data, capsys) == f"vic: there is no resource pool {POOL}"
            finally:
                # Also what runs.
                assert main(["delete", "--force", *data]) == 0
        assert inventory(own) == before
    assert not (short_path / "up").exists()
