"""Runs a command that other users' code can start in, wherever the checkout lies.

A checkout below a closed directory (/root, or one that mktemp made) can't be entered by the users
that tests become. ``in_view`` prefixes a command so that it runs in a mount namespace where such
directories show what our code needs, as the installer does for services.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def in_view(command: Sequence[str | Path], *shown: Path) -> list[str]:
    """Return the command with the prefix; ``shown`` are directories that it needs besides."""
    paths = os.pathsep.join(str(path) for path in shown)
    return [sys.executable, __file__, paths, *(str(word) for word in command)]


def main() -> None:
    """Open the windows and become the command."""
    sys.path.insert(0, str(REPOSITORY))
    from installer.view import code_directories, open_windows, windows_for

    shown = [Path(path) for path in sys.argv[1].split(os.pathsep) if path]
    windows = windows_for([*code_directories(), *shown])
    if windows:
        open_windows(windows)
    os.chdir("/")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
