"""Kernels of choice: which there are, and which one a container's VM boots.

They are added by `vic kernel add`; the hypervisor knows them by their names.
"""

from vic.exec.v1 import container_pb2

from portlayer.errors import FailedPrecondition, InvalidArgument, NotImplementedYet, Reason
from services.exec.drivers import CanChooseKernel, Hypervisor
from services.exec.facts import Facts

# Name of the fact that holds the VCH's own choice.
KERNEL = "kernel"


class Kernels:
    """Finds the kernel of a container's VM."""

    def __init__(self, facts: Facts, hypervisor: Hypervisor) -> None:
        self._facts = facts
        self._hypervisor = hypervisor

    async def chosen(self) -> str:
        """Return the VCH's choice; empty for the default kernel."""
        return await self._facts.fact(KERNEL) or ""

    async def choose(self, name: str) -> None:
        """Make a kernel the VCH's choice. Raises InvalidArgument where there is none so named."""
        await self.check(name)
        await self._facts.set_fact(KERNEL, name)

    async def check(self, name: str) -> None:
        """Return when there is a kernel of this name; empty is the default one.

        Raises InvalidArgument (INVALID_SPEC) that says which there are.
        """
        if name and name not in (known := await self._choosing().kernels()):
            there_are = f"there are {', '.join(sorted(known))}" if known else "there is none"
            raise InvalidArgument(
                f"no kernel is named {name!r}: {there_are}; `vic kernel add` adds one",
                Reason.INVALID_SPEC,
            )

    async def of(self, spec: container_pb2.ContainerSpec) -> str:
        """Return the name of the kernel to boot; empty for the default one.

        Raises FailedPrecondition where it was removed meanwhile.
        """
        name = spec.kernel or await self.chosen()
        try:
            await self.check(name)
        except InvalidArgument as error:
            raise FailedPrecondition(error.message) from error
        return name

    async def release(self, spec: container_pb2.ContainerSpec) -> str:
        """Return the release of the kernel to boot, as far as is known before. Raises VicError."""
        if name := await self.of(spec):
            return (await self._choosing().kernels())[name]
        return (await self._hypervisor.info()).kernel_release

    async def try_boot(self, digest: str) -> str:
        """Boot a bootstrap image once, and return its kernel's release. Raises VicError."""
        return await self._choosing().try_kernel(digest)

    def _choosing(self) -> CanChooseKernel:
        if not isinstance(self._hypervisor, CanChooseKernel):
            raise NotImplementedYet("this hypervisor boots one kernel alone", option="kernel")
        return self._hypervisor
