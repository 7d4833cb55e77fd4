"""What a container's tether is told on vSphere, and the certificate that it gets with it."""

import base64

from pyVmomi import vim
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.vsphere.identity import CONFIG, option_values
from services.exec.drivers import MachineSpec
from services.exec.drivers.guest import guest_config
from services.exec.drivers.vsphere.hardware import ROOT_DEVICE, has_nic


class Guests:
    """Has the instance's authority make what guests are told; nothing of it is kept here."""

    def __init__(self, issuer: "hostagent_pb2_grpc.IssuerServiceAsyncStub") -> None:
        self._issuer = issuer

    async def told(self, machine: MachineSpec) -> list[vim.option.OptionValue]:
        """Return the key that holds the whole configuration of a boot. Raises VicError."""
        request = hostagent_pb2.IssueRequest(
            container_id=machine.container_id,
            boot_id=machine.boot_id,
            guest=guest_config(machine, has_nic, ROOT_DEVICE),
        )
        frame = (await self._issuer.Issue(request)).frame
        return option_values({CONFIG: base64.b64encode(frame).decode()})
