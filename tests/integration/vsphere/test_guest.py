"""A guest in the loop: a real tether stands for the guest of a simulated VM.

vCenter's simulator runs no guest. So whoever watches it here boots a VM of QEMU's for a container
VM that is powered on, on the devices that vSphere has, and tells its tether what the container VM's
guestinfo holds: everything that attach, exec and logs pass through, from the docker CLI and the
gateway on, is set up for vSphere.
"""

import asyncio
import base64
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim
from vic.exec.v1 import exec_pb2

from portlayer.vsphere.identity import CONFIG, EXIT_RECORD, option_values, options
from tests.integration.tether.machine import (
    VMWARE,
    cache_directory,
    machine,
    make_disk,
    make_tree,
)
from tests.integration.vsphere.others import until
from tests.integration.vsphere.service import Service, exec_service
from tests.integration.vsphere.test_exec_service import properties
from tests.vcenter import Simulator, simulator
from tether.bootstrap.image import BootstrapImage, build
from tether.guestconfig import FrameReader
from tether.guestparse import parse_body

SECONDS = 240.0


@pytest.fixture(scope="module")
def image() -> BootstrapImage:
    """The bootstrap image of this tree."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("there is no qemu-system-x86_64 here")
    return build(cache_directory())


@pytest.fixture(scope="module")
def own() -> Any:
    with simulator() as running:
        yield running


async def stand_in(
    service: Service, image: BootstrapImage, directory: Path, container_id: str
) -> None:
    """Be the guest of a container's VM, from power-on to power-off."""
    power, config = "runtime.powerState", "config.extraConfig"
    disk = make_disk(directory, make_tree(directory / "tree"))

    async def on() -> bool:
        return await service.machine(container_id) is not None and (
            (await properties(service, container_id, power))[power] == "poweredOn"
        )

    await until(service.vcenter, on, SECONDS)
    vm = await service.machine(container_id)
    assert vm is not None
    told = await properties(service, container_id, config)
    (body,) = FrameReader().feed(base64.b64decode(options(told[config])[CONFIG]))
    guest = parse_body(body)
    assert guest.identity is not None
    assert guest.container is not None
    macs = (guest.identity.management.mac, *(nic.mac for nic in guest.container.nics))
    hardware = replace(VMWARE, macs=macs)
    async with machine(image, directory / "vm", disk, hardware=hardware) as made:
        assert (await made.line())["event"] == "ready"
        await made.configure(guest)
        told_back = await made.line()
        assert told_back == {"event": "configured", "container_id": container_id}
        record = await made.power_off()
    values = option_values({EXIT_RECORD: json.dumps(record)})
    await service.vcenter.finish(
        lambda _: vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=values))
    )
    await service.vcenter.finish(lambda _: vm.PowerOffVM_Task())


@dataclass(frozen=True)
class Said:
    """What a command has written, and how it ended."""

    code: int
    out: str
    err: str


class Docker:
    """The docker CLI at a service's endpoint."""

    def __init__(self, endpoint: Path, home: Path) -> None:
        self._environment = os.environ | {"DOCKER_HOST": f"unix://{endpoint}", "HOME": str(home)}

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            "docker", *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment
        )

    async def run(self, *arguments: str, stdin: bytes = b"") -> Said:
        """Run a command to its end."""
        process = await self.begin(*arguments)
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def output(self, *arguments: str) -> str:
        """Return what a command writes that must succeed."""
        said = await self.run(*arguments)
        assert said.code == 0, said
        return said.out

    async def follow(self, name: str, text: str) -> None:
        """Wait until a container's log has a line."""
        following = await self.begin("logs", "--follow", name)
        assert following.stdout is not None
        async for line in following.stdout:
            if line.decode().rstrip() == text:
                break
        following.kill()
        await following.communicate()


# It answers a line, and ends in order when it is told to.
SCRIPT = """
read line; echo got $line; echo oops >&2
trap 'echo bye; exit 3' TERM
echo ready; sleep 600 & wait
"""


async def test_the_docker_cli_reaches_the_guest(
    own: Simulator, image: BootstrapImage, tmp_path: Path
) -> None:
    async with exec_service(own, guests=True, instant_clone=False) as service:
        docker = Docker(service.endpoint, tmp_path)
        await service.exec.Info(exec_pb2.InfoRequest(), wait_for_ready=True)

        async def answers() -> bool:
            return (await docker.run("version")).code == 0

        await until(service.vcenter, answers)
        create = ("create", "--interactive", "--name", "shell", "busybox", "sh", "-c", SCRIPT)
        made = (await docker.output(*create)).strip()
        guest = asyncio.create_task(stand_in(service, image, tmp_path, made))
        async with asyncio.timeout(SECONDS):
            await docker.output("start", "shell")
            got = (await service.exec.Get(exec_pb2.GetRequest(reference=made))).container
            # The guest's own word.
            assert "cloud" in got.status.kernel_release

            attached = asyncio.create_task(docker.run("attach", "shell", stdin=b"hello\n"))
            await docker.follow("shell", "ready")
            listed = await docker.output("exec", "shell", "sh", "-c", "hostname; ls /sys/class/net")
            assert listed.split() == [made[:12], "eth0", "lo"]
            piped = ("exec", "--interactive", "shell", "sh", "-c", "cat; echo lost >&2; exit 7")
            said = await docker.run(*piped, stdin=b"sent\n")
            assert (said.code, said.out, said.err) == (7, "sent\n", "lost\n")
            assert "sleep 600" in await docker.output("top", "shell")

            # Use as the guest counts it, of the container and not of the VM.
            shown = "{{.PIDs}} {{.MemUsage}}"
            told = await docker.output("stats", "--no-stream", "--format", shown, "shell")
            pids, used, *_ = told.split()
            assert int(pids) >= 2
            assert not used.startswith("0B")

            # Its process is told, and then its guest shuts itself down: the VM that stands for it
            # is powered off by that, which vCenter would refuse if it was off already.
            await docker.output("stop", "--time", "60", "shell")
            await guest
            left = await attached
            assert (left.code, left.out, left.err) == (3, "got hello\nready\nbye\n", "oops\n")
            logged = await docker.run("logs", "shell")
            assert (logged.out, logged.err) == (left.out, left.err)
            assert await docker.output("wait", "shell") == "3\n"
            await docker.output("rm", "shell")
            assert await service.machine(made) is None
