"""`vic store`: what an instance keeps."""

import argparse

from installer.commands import Commands, take_data_dir


def add(commands: Commands) -> None:
    """Add the verb to the command line."""
    store = commands.add_parser("store", help="what an instance keeps: images, disks, volumes")
    actions = store.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="verify chains, digests and records; the suite may be up or down",
        description="Verify chains, digests and records, with the suite up or down. Exit code: 0 "
        "nothing is wrong, 3 all that was wrong is repaired, 4 something is wrong still.",
    )
    check.add_argument(
        "--repair",
        action="store_true",
        help="mend what can be, and delete what is left over",
    )
    check.add_argument(
        "--deep", action="store_true", help="make each layer once more from its blob, and compare"
    )
    check.add_argument("--json", action="store_true", help="one finding a line, as JSON")
    check.set_defaults(command=_check)
    take_data_dir(check)


def _check(options: argparse.Namespace) -> int:
    from installer.storecheck import check_store

    wishes = [f"--{name}" for name in ("repair", "deep", "json") if getattr(options, name)]
    return check_store(options.data_dir, wishes)
