"""`vic kernel`: add, ls, rm."""

import argparse
from pathlib import Path

from installer.commands import Commands, say, take_data_dir
from installer.errors import UsageError


def add(commands: Commands) -> None:
    """Add the verbs to the command line."""
    kernel = commands.add_parser("kernel", help="kernels that containers can choose")
    verbs = kernel.add_subparsers(required=True, metavar="ACTION")
    add = verbs.add_parser("add", help="add one, when a VM has booted it")
    add.add_argument("name")
    add.add_argument("--package", metavar="NAME", help="Debian package, as linux-image-rt-amd64")
    add.add_argument("--deb", type=Path, metavar="FILE", help="a package's file")
    add.set_defaults(command=_kernel_add)
    kernels = verbs.add_parser("ls", help="list them")
    kernels.set_defaults(command=_kernel_ls)
    drop = verbs.add_parser("rm", help="remove one that nothing chooses")
    drop.add_argument("name")
    drop.set_defaults(command=_kernel_rm)
    take_data_dir(add, kernels, drop)


def _kernel_add(options: argparse.Namespace) -> int:
    from installer.kernels import add_kernel

    if options.package and options.deb:
        raise UsageError("a kernel is from --package or from --deb, not from both")
    kernel = add_kernel(options.data_dir, options.name, options.package, options.deb, say)
    print(f"{options.name}: {kernel.release}")
    return 0


def _kernel_ls(options: argparse.Namespace) -> int:
    from installer.kernels import list_kernels

    kernels, chosen = list_kernels(options.data_dir)
    print(f"{'NAME':<20} {'RELEASE':<30} FROM")
    for name, kernel in sorted(kernels.items()):
        whence = kernel.package or "a file"
        state = "" if kernel.digest else ", not there: `vic up` tells why"
        ours = ", this host's choice" if name == chosen else ""
        print(f"{name:<20} {kernel.release:<30} {whence}{state}{ours}")
    return 0


def _kernel_rm(options: argparse.Namespace) -> int:
    from installer.kernels import remove_kernel

    remove_kernel(options.data_dir, options.name)
    return 0
