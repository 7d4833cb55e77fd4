"""`vic restart`: new processes for the suite, the same containers."""

from pathlib import Path

from installer.checks import require_root
from installer.containers import compose_command
from installer.control import ask
from installer.errors import NotRunningError, PreconditionError
from installer.instance import check_data_dir, load_instance
from portlayer.identity import Role

ALL_SECONDS = 900.0


def restart(data_dir: Path, role: str | None) -> None:
    """Restart one process of the suite, or each in turn, and wait until it serves again.

    Facets in containers are Docker's to restart.

    Raises InstallerError when one does not come back, NotRunningError when the suite isn't up.
    """
    require_root("restart")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance; make one with `vic up`")
    if instance.in_containers and role not in (None, Role.HOSTAGENT):
        raise PreconditionError(
            f"{role} runs in a container: `{compose_command(instance)} restart {role}`"
        )
    ask(instance.control_socket, "restart", ALL_SECONDS, role=role)
