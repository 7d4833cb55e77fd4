"""`vic volume`: volumes, beyond `docker volume`."""

import argparse

from installer.commands import Commands, take_data_dir


def add(commands: Commands) -> None:
    """Add the verb to the command line."""
    volume = commands.add_parser("volume", help="volumes, beyond what `docker volume` does")
    actions = volume.add_subparsers(required=True, metavar="ACTION")
    grow = actions.add_parser(
        "grow",
        help="make a volume larger",
        description="Make a volume larger that no running container has. Its file system follows "
        "when a container next writes to it.",
    )
    grow.add_argument("name")
    grow.add_argument("size", help="in all, as 20g")
    grow.set_defaults(command=_grow)
    take_data_dir(grow)


def _grow(options: argparse.Namespace) -> int:
    from installer.volumes import grow_volume

    print(grow_volume(options.data_dir, options.name, options.size))
    return 0
