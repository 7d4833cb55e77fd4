"""Starting one process of the suite as who it is, with what it needs and nothing else."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass

from installer.instance import Instance, store_paths
from installer.processes import ProcessName, name_of
from installer.roles import ProcessKind, first_uid, uid_of
from installer.spawn import SpawnPlan, spawn_command
from installer.view import code_directories, windows_for
from portlayer.identity import Role

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Launched:
    """A process that was started, or found again."""

    name: ProcessName
    child: subprocess.Popen[bytes] | None
    """None for a host agent that an earlier watcher started."""
    output: int | None
    """Descriptor to read its log from; None where it writes its log file itself."""

    def end_descendants(self) -> None:
        """Kill what an ended service left behind in its session, before its ID can be reused."""
        if self.child is not None and self.output is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)

    def exit_status(self) -> str:
        """Return how it ended, for the log and `vic status`; reaps it."""
        if self.child is None:
            return "ended"
        code = self.child.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def launch_service(
    instance: Instance, kind: ProcessKind, listener: socket.socket | None = None
) -> Launched:
    """Start a service, which dies with this process. `listener` is what the gateway accepts on."""
    environment = service_environment(instance)
    inherited = []
    if listener is not None:
        environment["VIC_GATEWAY_LISTEN_FD"] = str(listener.fileno())
        inherited.append(listener.fileno())
    output, log_end = os.pipe2(os.O_CLOEXEC)
    try:
        child = subprocess.Popen(
            service_command(instance, kind, [sys.executable, "-m", kind.module]),
            stdin=subprocess.DEVNULL,
            stdout=log_end,
            stderr=log_end,
            env=environment,
            pass_fds=inherited,
            start_new_session=True,
        )
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(log_end)
    return Launched(_name(child), child, output)


def launch_hostagent(instance: Instance, kind: ProcessKind, slot_descriptor: int) -> Launched:
    """Start the host agent, which outlives this process and shares its claim to the slot."""
    with instance.log_file(Role.HOSTAGENT).open("ab", buffering=0) as log:
        child = subprocess.Popen(
            [sys.executable, "-m", kind.module],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            umask=0o077,
            env=service_environment(instance),
            pass_fds=[slot_descriptor],
            start_new_session=True,
        )
    return Launched(_name(child), child, None)


def service_command(instance: Instance, kind: ProcessKind, command: list[str]) -> list[str]:
    """Return the command that runs `command` as a service of the suite."""
    # Those that the record says at this moment: `vic up` changes them while the watcher runs.
    stores = store_paths(instance.data_dir) if kind.role is Role.STORAGE else []
    plan = SpawnPlan(
        uid=uid_of(kind, instance.slot),
        group=first_uid(instance.slot),
        capabilities=kind.capabilities,
        windows=tuple(windows_for([*code_directories(), instance.data_dir, *stores])),
        shares_images=kind.role is Role.STORAGE and bool(instance.options.image_store),
    )
    return spawn_command(plan, command)


def service_environment(instance: Instance) -> dict[str, str]:
    """Return the whole environment of a process of the suite."""
    return {
        "PATH": SAFE_PATH,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "VIC_DATA_DIR": str(instance.data_dir),
    }


def _name(child: subprocess.Popen[bytes]) -> ProcessName:
    # Even one that has ended already is there until we wait for it, but then as a zombie.
    return name_of(child.pid) or ProcessName(child.pid, 0)
