"""``python -m tether.bootstrap build``: builds the bootstrap image, or finds it in the cache."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.image import DEFAULT_CACHE, build


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tether.bootstrap", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build the image where the cache has none")
    command.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="default: %(default)s")
    command.add_argument(
        "--refresh", action="store_true", help="take newer Debian packages if apt lists any"
    )
    command.add_argument(
        "--print", action="store_true", dest="show", help="print the image's directory"
    )
    options = parser.parse_args(arguments)
    try:
        image = build(options.cache, refresh=options.refresh)
    except BootstrapError as error:
        print(f"bootstrap image: {error}", file=sys.stderr)
        return 1
    if options.show:
        print(image.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
