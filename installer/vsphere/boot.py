"""What container VMs of a vCenter boot from: an ISO image of this version's bootstrap image."""

from collections.abc import Callable
from pathlib import Path

from installer.bootstrap import build_bootstrap
from installer.errors import PreconditionError
from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.iso import build_iso

Say = Callable[[str], None]


def medium(given: Path | None, say: Say) -> Path:
    """Return the file that was given, or make one. Raises PreconditionError."""
    if given is not None:
        return given
    image = build_bootstrap()
    try:
        return build_iso(image)
    except BootstrapError as error:
        raise PreconditionError(f"no boot medium for container VMs: {error}") from error
