"""`vic create` on this machine: a data directory with pool, networks and endpoint of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vic.exec.v1 import exec_pb2

from installer.checks import require_root
from installer.configure import configure
from installer.container_networks import check_interfaces, map_recorded, recorded
from installer.deletion import delete
from installer.errors import InstallerError, PreconditionError
from installer.instance import Instance, check_data_dir, load_instance, save_instance
from installer.networks import ExternalWish
from installer.stores import store_directories
from installer.up import bring_up
from installer.vsphere.wishes import VchLimits
from installer.wishes import Wishes
from portlayer.errors import VicError

Say = Callable[[str], None]


def create(
    data_dir: Path,
    name: str,
    host: str | None,
    limits: VchLimits,
    say: Say,
    networks: Sequence[ExternalWish] = (),
) -> Instance:
    """Make an instance and start it; one that is there is refused.

    Raises InstallerError; where its limits are refused nothing of it is left.
    """
    require_root("create")
    data_dir = check_data_dir(data_dir)
    known = load_instance(data_dir)
    if known is not None:
        raise PreconditionError(
            f"{data_dir} holds an instance already ({known.options.name or known.id}); give "
            "another directory by --data-dir, or change that one by `vic configure`"
        )
    check_interfaces(networks)
    instance = bring_up(Wishes(data_dir=data_dir, host=host), say)
    named = replace(
        instance,
        options=replace(instance.options, name=name, container_networks=recorded(networks)),
    )
    save_instance(named, store_directories(named)[0])
    asked = exec_pb2.ConfigureRequest(
        containers=limits.containers or None,
        memory_bytes=limits.memory_bytes or None,
        cpus=limits.cpus or None,
    )
    if asked.ListFields():
        try:
            configure(data_dir, asked)
        except BaseException:
            # Without its limits it is not what was asked for.
            _take_back(data_dir, say)
            raise
    map_recorded(named, say)
    return named


def _take_back(data_dir: Path, say: Say) -> None:
    """Remove an instance whose making has failed, for a reason that is told after this."""
    try:
        delete(data_dir, say, force=True)
    except (InstallerError, VicError, OSError) as error:
        say(f"what was made of it stays ({error}): vic delete --force --data-dir {data_dir}")
