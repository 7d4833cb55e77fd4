"""`vic restart`: new processes for the suite, the same containers."""

from pathlib import Path

from installer.checks import require_root
from installer.control import ask
from installer.errors import NotRunningError
from installer.instance import check_data_dir, load_instance

ALL_SECONDS = 900.0


def restart(data_dir: Path, role: str | None) -> None:
    """Restart one process of the suite, or each in turn, and wait until it serves again.

    Raises InstallerError when one does not come back, NotRunningError when the suite isn't up.
    """
    require_root("restart")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance; make one with `vic up`")
    ask(instance.control_socket, "restart", ALL_SECONDS, role=role)
