"""Bootstrap images: kernels with the image of the tether, by digest and by name."""

from collections.abc import Mapping

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import FailedPrecondition, NotFound, Reason


class BootstrapImages:
    """Asks the agent which there are."""

    def __init__(
        self, agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub", default_digest: str
    ) -> None:
        self._agent = agent
        # As configured, or found once: another one comes with another start of the suite.
        self._default = hostagent_pb2.Bootstrap(digest=default_digest)

    async def of(self, kernel: str) -> hostagent_pb2.Bootstrap:
        """Return the image of a kernel's name; empty is the default one.

        Raises FailedPrecondition where there is none.
        """
        if not kernel:
            return await self.default()
        for image in (await self._info()).bootstraps:
            if kernel in image.names:
                return image
        raise FailedPrecondition(f"no kernel is named {kernel!r}")

    async def by_digest(self, digest: str) -> hostagent_pb2.Bootstrap:
        """Return an image. Raises NotFound (BOOTSTRAP_NOT_FOUND)."""
        for image in (await self._info()).bootstraps:
            if image.digest == digest:
                return image
        raise NotFound(f"there is no bootstrap image {digest}", Reason.BOOTSTRAP_NOT_FOUND)

    async def kernels(self) -> Mapping[str, str]:
        """Return the releases of the kernels that have names, by name."""
        return {
            name: image.kernel_release
            for image in (await self._info()).bootstraps
            for name in image.names
        }

    async def default(self) -> hostagent_pb2.Bootstrap:
        """Return the image that is booted where no kernel is named."""
        if not self._default.digest:
            info = await self._info()
            found = self.default_of(info)
            if found is None:
                raise FailedPrecondition(
                    f"{len(info.bootstraps)} bootstrap images are there: "
                    "the setting bootstrap_digest must name one",
                    Reason.HYPERVISOR_FAILED,
                )
            self._default = found
        return self._default

    def default_of(self, info: hostagent_pb2.InfoResponse) -> hostagent_pb2.Bootstrap | None:
        """Return the default image among those that the agent tells of."""
        images = list(info.bootstraps)
        if self._default.digest:
            return next((one for one in images if one.digest == self._default.digest), None)
        named = [one for one in images if one.default]
        return (named or images)[0] if named or len(images) == 1 else None

    async def _info(self) -> hostagent_pb2.InfoResponse:
        return await self._agent.Info(hostagent_pb2.InfoRequest(), wait_for_ready=True)
