"""The `vic` command."""

import argparse
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from installer.commands import configure, kernel, network, store, suite, supplies, up, vch, volume
from installer.errors import InstallerError

Command = Callable[[argparse.Namespace], int]


# What a shell tells of a program that the signal ended.
READER_LEFT = 128 + signal.SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Where nobody reads on, as in ``vic usage | head -1``, it ends quietly as other programs do.
    """
    try:
        try:
            return _run(arguments)
        finally:
            # A short output is still in the buffer: it must not fail after this.
            if sys.stdout is not None:  # As it is where the caller has closed it.
                sys.stdout.flush()
    except BrokenPipeError:
        streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
        left = [fd for fd in (stream.fileno() for stream in streams) if _reader_left(fd)]
        if not left:
            raise  # Another pipe or socket of ours.
        _discard(left)
        return READER_LEFT
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            raise
        # What it has to say, or a file of its data: the error doesn't tell which.
        with suppress(OSError):
            print(f"vic: could not write: {error.strerror}", file=sys.stderr)
        if sys.stdout is not None:
            _discard([sys.stdout.fileno()])
        return 1


def _discard(descriptors: Iterable[int]) -> None:
    """Let nothing more come of what is said there: the interpreter flushes once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _reader_left(fd: int) -> bool:
    """Tell whether nobody reads the pipe or socket any longer that a descriptor writes to."""
    poll = select.poll()
    poll.register(fd, 0)  # Errors and hang-ups are told without being asked for.
    return bool(poll.poll(0))


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except InstallerError as error:
        print(f"vic: {error}", file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        if os.geteuid() == 0:
            raise
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"vic: {why}; run it as root, with sudo", file=sys.stderr)
        return 1
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
