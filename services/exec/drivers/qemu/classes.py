"""Templates of other classes than the default one: of those that containers have asked for of late.

The first start of a class is a plain clone, and has a template made when the host has time for it;
the next ones are forks. No clone waits of them: a fork takes some 20 ms.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from services.exec.drivers.qemu.hostmemory import MARGIN_BYTES, TEMPLATE_BYTES, HostMemory
from services.exec.drivers.qemu.template import Template
from services.exec.drivers.qemu.warming import ReadyClone, Warming

log = logging.getLogger("vic.exec.qemu.classes")


class ClassTemplates:
    """A few templates, the one that was used longest ago given up for a new one."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        warming: Warming,
        memory: HostMemory,
    ) -> None:
        self._agent = agent
        self._warming = warming
        self._memory = memory
        # By the bytes of their shapes, the one that was used last at the end.
        self._templates: OrderedDict[bytes, Template] = OrderedDict()
        self._wished: hostagent_pb2.Shape | None = None

    async def fork(self, shape: hostagent_pb2.Shape) -> ReadyClone | None:
        """Return a fork; None where there is no template yet, which is wished for then."""
        key = _key(shape)
        template = self._templates.get(key)
        if template is None or not template.there:
            self._wished = shape
            return None
        self._templates.move_to_end(key)
        return await template.fork(shape)

    async def prepare(self) -> None:
        """Make the template that was wished for last, where memory allows. Raises VicError."""
        shape, self._wished = self._wished, None
        most = self._memory.most_templates()
        if shape is None or not most or self._memory.spare() < TEMPLATE_BYTES + MARGIN_BYTES:
            return
        key = _key(shape)
        template = self._templates.pop(key, None) or Template(self._agent, self._warming)
        while len(self._templates) >= most:
            _, oldest = self._templates.popitem(last=False)
            await oldest.give_up()
        # Known before it is there: what has failed too often is not tried again.
        self._templates[key] = template
        await template.prepare(shape)

    def ended(self, machine_id: str) -> None:
        """Take in that a machine has ended."""
        for template in self._templates.values():
            template.ended(machine_id)

    async def weed(self, current: Collection[str]) -> bool:
        """End those of parents that are not current; tell whether there were any."""
        return any([await one.weed(current) for one in list(self._templates.values())])

    async def give_up(self) -> None:
        """End all of them; clones that were forked of them go on."""
        self._wished = None
        while self._templates:
            _, template = self._templates.popitem()
            await template.give_up()


def _key(shape: hostagent_pb2.Shape) -> bytes:
    return shape.SerializeToString(deterministic=True)
