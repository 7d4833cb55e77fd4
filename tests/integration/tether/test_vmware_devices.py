"""The same kernel and image on the devices that vSphere gives a VM, as QEMU emulates them.

The channel for the VM's configuration is virtio's here; on vSphere it is guestinfo.
"""

from __future__ import annotations

from pathlib import Path

from vic.tether.v1 import tether_pb2 as pb

from tests.integration.tether.authority import Authority
from tests.integration.tether.interaction import serve
from tests.integration.tether.machine import CONTAINER_ID, MAC, VMWARE, configuration, machine
from tether.bootstrap.image import BootstrapImage

_SCRIPT = (
    "cat /sys/class/net/eth0/address; basename $(readlink /sys/class/net/eth0/device/driver); "
    "grep -o '^/dev/[a-z]* / ext4' /proc/mounts; echo kept > /kept; exit 3"
)


async def test_a_container_runs_on_vmxnet3_and_pvscsi(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk, hardware=VMWARE) as vm,
    ):
        assert (await vm.line())["event"] == "ready"
        await vm.configure(configuration(authority, port, hardware=VMWARE))
        # The management interface is the other vmxnet3: the tether could not dial out without it.
        assert await vm.line() == {"event": "configured", "container_id": CONTAINER_ID}
        result = await interaction.run("sh", "-c", _SCRIPT)
        assert result.stdout.decode().split("\n") == [MAC, "vmxnet3", "/dev/sda / ext4", ""]
        assert result.code == 3
        interaction.send(exit_acknowledged=pb.ExitAcknowledged(process_id="init"))
        assert (await vm.power_off())["exit_code"] == 3
