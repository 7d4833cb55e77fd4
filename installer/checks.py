"""What must be true of the machine before a suite is started on it."""

import os
import platform
import shutil
from pathlib import Path

from installer.errors import PreconditionError
from installer.launch import SAFE_PATH
from installer.spawn import SETPRIV
from installer.view import code_directories, unreadable

# Program: Debian package, what it is for.
PROGRAMS = {
    "qemu-system-x86_64": ("qemu-system-x86", "QEMU runs the containers' virtual machines"),
    "nft": ("nftables", "nftables keeps networks apart and gives containers their way out"),
    SETPRIV: ("util-linux", "services run without root's powers"),
}
TUN = Path("/dev/net/tun")


def require_root(what: str) -> None:
    """Raise PreconditionError unless run by root."""
    if os.geteuid() != 0:
        raise PreconditionError(
            f"vic {what} needs root: it makes bridges, users' directories and virtual machines; "
            f"run it as `sudo vic {what}`"
        )


def require_machine() -> None:
    """Raise PreconditionError, naming all that is missing, unless a suite can run here."""
    missing = [
        f"{program} is not installed ({purpose}): apt-get install {package}"
        for program, (package, purpose) in PROGRAMS.items()
        if shutil.which(program, path=SAFE_PATH) is None
    ]
    if platform.machine() != "x86_64":
        missing.append(f"this machine is {platform.machine()}; container VMs need x86_64")
    if not _opens(TUN):
        missing.append(
            f"{TUN} can't be opened (virtual machines' network cards): modprobe tun, or give this "
            "container the device"
        )
    missing.extend(_unreadable_code())
    if missing:
        raise PreconditionError("\n".join(missing))


def _opens(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _unreadable_code() -> list[str]:
    project = code_directories()[-1]
    if unreadable(Path(__file__)):
        return [
            f"the services' users can't read {project} (it was made under a tight umask): "
            f"chmod -R go+rX {project}"
        ]
    return []
