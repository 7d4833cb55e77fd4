"""One vCenter session for one `vic` command, and its errors in the command's words."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from installer.errors import InstallerError, PreconditionError
from portlayer.errors import Unauthenticated, Unavailable, VicError
from portlayer.vsphere.session import VCenter
from portlayer.vsphere.target import Target

T = TypeVar("T")


def with_vcenter(
    target: Target, work: Callable[[VCenter], Awaitable[T]], *, made: bool = False
) -> T:
    """Do work in a session, for a VCH that is ``made``, or for none. Raises InstallerError."""

    async def run() -> T:
        vcenter = VCenter(target)
        try:
            try:
                await vcenter.open()
            except VicError as error:
                raise PreconditionError(_advised(target, error, made=made)) from error
            return await work(vcenter)
        finally:
            await vcenter.close()

    try:
        return asyncio.run(run())
    except VicError as error:
        raise InstallerError(error.message) from error


def _advised(target: Target, error: VicError, *, made: bool) -> str:
    """Return why a login failed, and what to do."""
    # `vic create` takes such changes up for a VCH that is made; nothing else has these options.
    again = " of `vic create`, repeated in its other words" if made else ""
    match error:
        case Unauthenticated():
            kept = "--certificate-file" if target.certificate_file else "--password-file"
            return (
                f"{target.host} does not let {target.user} in ({error.message}); check --user and "
                f"the file of {kept}{again}"
            )
        case Unavailable() if "thumbprint" in error.message:
            advice = f"if that is the right server, give this thumbprint by --thumbprint{again}"
        case Unavailable() if "who it should be" in error.message:
            advice = f"give its thumbprint by --thumbprint, or its authority by --ca-file{again}"
        case Unavailable():
            advice = "see whether it is up" if made else "check --target"
        case _:
            return error.message
    return f"{target.host}: {error.message}; {advice}"
