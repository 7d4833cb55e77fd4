"""`vic down`: stop the containers in order, then the suite, and leave nothing on the host."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from installer.checks import require_root
from installer.containers import compose_command, states
from installer.control import ask
from installer.errors import InstallerError, LeftoverError, NotRunningError, PreconditionError
from installer.facets import kill_machines, stop_containers
from installer.instance import Instance, check_data_dir, load_instance
from installer.processes import stop_process
from installer.records import WATCHER, load_processes
from installer.supervisor import State
from installer.teardown import tear_down
from installer.up import lock_data_dir
from portlayer.errors import VicError
from portlayer.identity import Role

Say = Callable[[str], None]

QUIESCE_SECONDS = 60.0
SHUTDOWN_SECONDS = 120.0
PROCESS_SECONDS = 15.0


def take_down(data_dir: Path, say: Say) -> None:
    """Stop everything of an instance. One that isn't up, or is half up, is cleaned up as well.

    Raises NotRunningError where no instance is, LeftoverError naming what could not be removed, and
    PreconditionError where facets are left that are others' to stop.
    """
    require_root("down")
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance: nothing to stop")
    with lock_data_dir(data_dir):
        watched = _ask_watcher(instance, "quiesce", QUIESCE_SECONDS, say)
        facets = _in_containers(instance)
        if Role.EXEC in facets if instance.in_containers else instance.socket(Role.EXEC).exists():
            _attempt("stop the containers", stop_containers(instance, say), say)
        if facets:
            raise PreconditionError(
                f"the containers are stopped, and {', '.join(facets)} still there: run "
                f"`{compose_command(instance)} down`, and `vic down` again"
            )
        if watched:
            _ask_watcher(instance, "stop_services", SHUTDOWN_SECONDS, say)
        own = instance.options.driver == "qemu"
        if own and instance.socket(Role.HOSTAGENT).exists():
            _attempt("end the virtual machines", kill_machines(instance), say)
        if watched:
            _ask_watcher(instance, "shutdown", SHUTDOWN_SECONDS, say)
        _end_recorded(instance)
        left = tear_down(instance, say)
        if left:
            raise LeftoverError("could not be removed: " + "; ".join(left))


def _in_containers(instance: Instance) -> list[Role]:
    """Return the facets that run in containers of somebody's Docker."""
    if not instance.in_containers:
        return []
    return [role for role, state in states(instance).items() if state is State.HEALTHY]


def _ask_watcher(instance: Instance, verb: str, seconds: float, say: Say) -> bool:
    try:
        ask(instance.control_socket, verb, seconds)
    except NotRunningError:
        return False
    except InstallerError as error:
        say(str(error))
    return True


def _attempt(what: str, work: Coroutine[Any, Any, None], say: Say) -> None:
    try:
        asyncio.run(work)
    except (VicError, OSError) as error:
        say(f"could not {what} in order ({error}); they are killed")
    except BaseExceptionGroup as errors:
        say(f"could not {what} in order ({errors.exceptions[0]}); they are killed")


def _end_recorded(instance: Instance) -> None:
    """End the processes that a watcher recorded, itself first lest it start them again."""
    recorded = load_processes(instance.processes_file)
    for name in sorted(recorded, key=lambda name: name != WATCHER):
        stop_process(recorded[name], PROCESS_SECONDS)
