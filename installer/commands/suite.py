"""What is done with a suite as a whole: down, restart, status, usage, ls, delete."""

import argparse

from installer.commands import Commands, say, take_data_dir
from installer.commands.vch import refuse_without_target, take_target, target_of
from installer.roles import PROCESSES


def add(commands: Commands) -> None:
    """Add the verbs to the command line."""
    down = commands.add_parser("down", help="stop all containers, then the suite")
    down.set_defaults(command=_down)

    restart = commands.add_parser(
        "restart", help="restart the suite's processes; touches no container"
    )
    restart.add_argument(
        "facet", nargs="?", choices=[kind.role.value for kind in PROCESSES], help="only this one"
    )
    restart.set_defaults(command=_restart)

    status = commands.add_parser("status", help="show what runs, where and on which hypervisor")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="wait at most so long until every process serves",
    )
    status.set_defaults(command=_status)

    usage = commands.add_parser(
        "usage", help="show what the containers' VMs take of their hosts, beside the limits"
    )
    usage.add_argument("--json", action="store_true", help="for programs")
    usage.add_argument(
        "--over",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="average over so long (default: %(default)g; a vCenter samples every 20)",
    )
    usage.set_defaults(command=_usage)

    listing = commands.add_parser(
        "ls", help="list the instances of this machine, or with --target the VCHs of a vCenter"
    )
    take_target(listing)
    listing.set_defaults(command=_ls)

    delete = commands.add_parser("delete", help="stop an instance and delete all its data")
    delete.add_argument(
        "--force", action="store_true", help="although it has containers or volumes"
    )
    delete.set_defaults(command=_delete)
    take_data_dir(down, restart, status, usage, delete)


def _down(options: argparse.Namespace) -> int:
    from installer.down import take_down

    take_down(options.data_dir, say)
    print("down: nothing of it is left on this host but its data")
    return 0


def _restart(options: argparse.Namespace) -> int:
    from installer.restart import restart

    restart(options.data_dir, options.facet)
    return 0


def _status(options: argparse.Namespace) -> int:
    from installer.status import read_status

    status = read_status(options.data_dir, options.wait)
    print(status.to_json() if options.json else status.to_text())
    return status.exit_code


def _usage(options: argparse.Namespace) -> int:
    from installer.usage import read_usage

    usage = read_usage(options.data_dir, options.over)
    print(usage.to_json() if options.json else usage.to_text())
    return 0


def _ls(options: argparse.Namespace) -> int:
    from installer.listing import list_instances, to_text
    from installer.vsphere.verbs import list_vchs

    refuse_without_target(options)
    if options.target:
        print(list_vchs(target_of(options)))
        return 0
    print(to_text(list_instances()))
    return 0


def _delete(options: argparse.Namespace) -> int:
    from installer.deletion import delete

    rest = delete(options.data_dir, say, force=options.force)
    print("deleted")
    for path in rest:
        print(f"not ours, and still there: {path}")
    return 0
