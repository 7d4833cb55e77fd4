"""`vic down`: stop the containers in order, then the suite, and leave nothing on the host."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from installer.checks import require_root
from installer.containers import compose_command
from installer.control import ask
from installer.errors import InstallerError, LeftoverError, NotRunningError, PreconditionError
from installer.facet_processes import facet_processes, in_containers_of, kinds
from installer.facets import count, count_machines, kill_machines, stop_containers
from installer.instance import Instance, check_data_dir, load_instance
from installer.processes import stop_process
from installer.records import WATCHER, load_processes
from installer.slots import holds_slot
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
        if instance.in_containers:
            _await_compose(instance, say)
        elif instance.socket(Role.EXEC).exists():
            _attempt("stop the containers", stop_containers(instance, say), say)
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


def _await_compose(instance: Instance, say: Say) -> None:
    """Stop the containers, and raise PreconditionError while facets are there that Docker keeps.

    Neither their machines nor they themselves may be killed then. A facet that is slow is there.
    """
    has_slot = holds_slot(instance.id, instance.data_dir, instance.slot)
    processes = facet_processes(instance.slot)
    if not has_slot:
        # Docker has started them, when the machine came up, or they are another instance's.
        processes = in_containers_of(instance.data_dir, processes)
    facets = kinds(processes, instance.slot)
    stopped = False
    if Role.EXEC in facets:
        stopped = _attempt("stop the containers", stop_containers(instance, say), say, kills=False)
    elif has_slot:
        _warn_of_machines(instance, say)
    if facets:
        raise PreconditionError(
            ("the containers are stopped, and " if stopped else "")
            + f"{', '.join(facets)} still there: run `{compose_command(instance)} down`, and "
            "`vic down` again"
        )


def _warn_of_machines(instance: Instance, say: Say) -> None:
    """Tell how many machines nobody could stop in order, where exec is away."""
    if not instance.socket(Role.HOSTAGENT).exists():
        return
    try:
        machines = asyncio.run(count_machines(instance))
    except (VicError, OSError):
        return  # which is said when they are to be ended
    if machines:
        running = count(machines, "virtual machine")
        say(f"exec, which could stop containers in order, is away: {running} of theirs still run")


def _ask_watcher(instance: Instance, verb: str, seconds: float, say: Say) -> bool:
    try:
        ask(instance.control_socket, verb, seconds)
    except NotRunningError:
        return False
    except InstallerError as error:
        say(str(error))
    return True


def _attempt(what: str, work: Coroutine[Any, Any, bool], say: Say, *, kills: bool = True) -> bool:
    """Do it, or tell why not; tells whether it went well. With `kills` they are killed then."""
    failed: BaseException
    try:
        return asyncio.run(work)
    except (VicError, OSError) as error:
        failed = error
    except BaseExceptionGroup as errors:
        failed = errors.exceptions[0]
    say(f"could not {what} in order ({failed})" + ("; they are killed" if kills else ""))
    return False


def _end_recorded(instance: Instance) -> None:
    """End the processes that a watcher recorded, itself first lest it start them again."""
    recorded = load_processes(instance.processes_file)
    for name in sorted(recorded, key=lambda name: name != WATCHER):
        stop_process(recorded[name], PROCESS_SECONDS)
