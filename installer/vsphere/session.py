"""One vCenter session for one `vic` command, and its errors in the command's words."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from installer.errors import InstallerError, PreconditionError
from portlayer.errors import Unauthenticated, Unavailable, VicError
from portlayer.vsphere.session import VCenter
from portlayer.vsphere.target import Target

T = TypeVar("T")


def with_vcenter(target: Target, work: Callable[[VCenter], Awaitable[T]]) -> T:
    """Do work in a session. Raises InstallerError."""

    async def run() -> T:
        vcenter = VCenter(target)
        try:
            await _open(vcenter, target)
            return await work(vcenter)
        finally:
            await vcenter.close()

    try:
        return asyncio.run(run())
    except VicError as error:
        raise InstallerError(error.message) from error


async def _open(vcenter: VCenter, target: Target) -> None:
    """Log in; what goes wrong says what to do."""
    try:
        await vcenter.open()
    except Unauthenticated as error:
        raise PreconditionError(
            f"{target.host} does not let {target.user} in ({error.message}); check --user and the "
            f"file of {'--certificate-file' if target.certificate_file else '--password-file'}"
        ) from error
    except Unavailable as error:
        advice = "check --target"
        if "thumbprint" in error.message:
            advice = "if that is the right server, give this thumbprint by --thumbprint"
        elif "who it should be" in error.message:
            advice = "give its thumbprint by --thumbprint, or its authority by --ca-file"
        raise PreconditionError(f"{target.host}: {error.message}; {advice}") from error
    except VicError as error:
        raise PreconditionError(error.message) from error
