"""The `vic` command."""

import argparse
import sys
from collections.abc import Callable, Sequence

from installer.commands import configure, kernel, network, store, suite, supplies, up, vch, volume
from installer.errors import InstallerError

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except InstallerError as error:
        print(f"vic: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vic: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vic", description="A Docker endpoint where every container is a virtual machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for verbs in (up, vch, suite, configure, store, volume, kernel, network, supplies):
        verbs.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
