"""The `vic` command's verbs: what each takes, and what it prints.

What a verb does is imported when it is asked for: `vic --help` is to be quick.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, TypeAlias

from installer.instance import DEFAULT_DATA_DIR

# argparse has no public name for it.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

READY_CLONES: dict[str, Any] = {
    "metavar": "N",
    "help": "virtual machines kept ready for the next containers; 0 is none, auto as many as suit "
    "the host's memory",
}


def take_data_dir(*commands: argparse.ArgumentParser) -> None:
    """Let verbs be told which instance they are about."""
    for command in commands:
        command.add_argument(
            "--data-dir",
            type=_directory,
            default=DEFAULT_DATA_DIR,
            metavar="DIR",
            help="the instance's directory (default: %(default)s)",
        )


def _directory(text: str) -> Path:
    if not text:  # A variable of a shell's that isn't set; Path takes it for the present directory.
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text)


def say(sentence: str) -> None:
    """Tell the user how the work goes on."""
    print(sentence, file=sys.stderr, flush=True)
