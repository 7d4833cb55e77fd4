"""`vic store check`: the storage service's own check, as the storage service's user."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from installer.checks import require_root
from installer.errors import NotRunningError
from installer.instance import check_data_dir, load_instance
from installer.launch import service_command, service_environment
from installer.roles import kind_of
from portlayer.identity import Role


def check_store(data_dir: Path, wishes: Sequence[str]) -> int:
    """Check what an instance keeps, telling on standard output; return the exit code.

    Raises NotRunningError where there is no instance.
    """
    require_root("store check")
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not (instance.data_dir / Role.STORAGE).is_dir():
        raise NotRunningError(f"{data_dir} holds no instance")
    command = [sys.executable, "-m", "services.storage.checking", *wishes]
    return subprocess.run(
        service_command(instance, kind_of(Role.STORAGE), command),
        env=service_environment(instance),
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode
