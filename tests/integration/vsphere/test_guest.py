"""A guest in the loop: a real tether stands for the guest of a simulated VM.

vCenter's simulator runs no guest. So whoever watches it here boots a VM of QEMU's for a container
VM that is powered on, on the devices that vSphere has, and tells its tether what the container VM's
guestinfo holds: everything that attach and exec pass through is set up for vSphere.
"""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim
from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import interaction_pb2 as pb
from vic.interaction.v1 import interaction_pb2_grpc
from vic.tether.v1 import process_pb2

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


async def output(answers: AsyncIterable[Any]) -> str:
    """Collect what a process writes until it ends."""
    written = b""
    async for answer in answers:
        if answer.WhichOneof("message") == "output":
            written += answer.output.data
    return written.decode()


async def test_attach_exec_and_stats_reach_the_guest(
    own: Simulator, image: BootstrapImage, tmp_path: Path
) -> None:
    async with exec_service(own, guests=True, instant_clone=False) as service:
        talk = interaction_pb2_grpc.InteractionServiceStub(service.talk)
        spec = container_pb2.ContainerSpec(
            image="busybox",
            name="shell",
            command=["sh", "-c", "read line; echo got $line; exit 3"],
            process=process_pb2.ProcessSpec(stdin=True),
            stdio=container_pb2.StdioOptions(stdin_once=True),
        )
        create = exec_pb2.CreateRequest(spec=spec)
        made = (await service.exec.Create(create, wait_for_ready=True)).container
        guest = asyncio.create_task(stand_in(service, image, tmp_path, made.id))
        async with asyncio.timeout(SECONDS):
            start = exec_pb2.StartRequest(reference=made.id)
            await service.exec.Start(start, timeout=SECONDS)
            got = (await service.exec.Get(exec_pb2.GetRequest(reference=made.id))).container
            # The guest's own word.
            assert "cloud" in got.status.kernel_release

            process = process_pb2.ProcessSpec(args=["sh", "-c", "hostname; ls /sys/class/net"])
            streams = pb.ExecStreams(stdout=True, stderr=True)
            command = await talk.CreateExec(
                pb.CreateExecRequest(container_id=made.id, process=process, streams=streams)
            )

            async def run() -> AsyncIterator[pb.StartExecRequest]:
                yield pb.StartExecRequest(start=pb.StartExecStart(exec_id=command.exec_id))

            said = await output(talk.StartExec(run()))
            assert said.split() == [made.id[:12], "eth0", "lo"]
            ended = await talk.InspectExec(pb.InspectExecRequest(exec_id=command.exec_id))
            assert ended.exit_code == 0

            # Use as the guest counts it, of the container and not of the VM.
            ask = pb.StatsRequest(container_id=made.id)
            (told,) = [answer async for answer in talk.Stats(ask, timeout=SECONDS)]
            assert told.sample.pids >= 1
            assert 0 < told.sample.memory_bytes <= told.sample.memory_limit_bytes

            async def attach() -> AsyncIterator[pb.AttachRequest]:
                yield pb.AttachRequest(
                    start=pb.AttachStart(container_id=made.id, stdin=True, stdout=True, stream=True)
                )
                yield pb.AttachRequest(stdin=b"hello\n")

            assert await output(talk.Attach(attach())) == "got hello\n"
            waited = service.exec.Wait(exec_pb2.WaitRequest(reference=made.id))
            async for answer in waited:
                if answer.WhichOneof("message") == "result":
                    assert answer.result.exit_code == 3
            await guest
            remove = exec_pb2.RemoveRequest(reference=made.id)
            await service.exec.Remove(remove)
            assert await service.machine(made.id) is None
