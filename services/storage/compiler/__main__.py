"""The compiler as a command: `python -m services.storage.compiler`.

Runs as any user that can read the input and write to the directory of the output.

    python -m services.storage.compiler --base base.vmdk [--size BYTES]
    python -m services.storage.compiler --parent base.vmdk --tar layer.tar --out layer.vmdk
    python -m services.storage.compiler --list layer.vmdk

Exit status: 0 done, 1 refused (the reason is on standard error), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.storage.compiler import (
    DEFAULT_SIZE,
    CompilerError,
    LayerInfo,
    Limits,
    compile_layer,
    create_base,
)
from services.storage.compiler.reader import FileSystem


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.storage.compiler")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--base", type=Path, metavar="VMDK", help="make an empty base disk")
    what.add_argument("--parent", type=Path, metavar="VMDK", help="compile a layer onto this disk")
    what.add_argument("--list", type=Path, metavar="VMDK", help="list the files of a disk")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="bytes of the base disk")
    parser.add_argument("--tar", type=Path, help="uncompressed tar; standard input without it")
    parser.add_argument("--out", type=Path, metavar="VMDK", help="the layer to make")
    parser.add_argument("--chain-id", help="chain ID of the layer; by default the output's name")
    parser.add_argument("--max-bytes", type=int, default=Limits.bytes)
    parser.add_argument("--max-entries", type=int, default=Limits.entries)
    arguments = parser.parse_args()
    if arguments.parent and not arguments.out:
        parser.error("--parent needs --out")
    return arguments


@contextlib.contextmanager
def _input(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdin.buffer
        return
    with path.open("rb", buffering=0) as stream:
        yield stream


def _run(arguments: argparse.Namespace) -> LayerInfo | None:
    if arguments.list:
        _list(arguments.list)
        return None
    if arguments.base:
        return create_base(arguments.base, arguments.size)
    with _input(arguments.tar) as stream:
        return compile_layer(
            stream,
            arguments.parent,
            arguments.out,
            chain_id=arguments.chain_id or arguments.out.name,
            limits=Limits(bytes=arguments.max_bytes, entries=arguments.max_entries),
        )


def _list(path: Path) -> None:
    with FileSystem.open(path) as files:
        for name, found in files.walk():
            shown = "/" + name.decode("utf-8", "backslashreplace")
            print(stat.filemode(found.mode), found.links, found.uid, found.gid, found.size, shown)


def main() -> int:
    """Run the command."""
    arguments = _arguments()
    try:
        info = _run(arguments)
    except (CompilerError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if info is not None:
        print(json.dumps(dataclasses.asdict(info)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
