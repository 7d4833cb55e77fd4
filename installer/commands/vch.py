"""The life of a VCH: `vic create`, `vic inspect`, `vic role`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from installer.commands import Commands, take_data_dir
from installer.errors import UsageError

# Of `take_target`, besides --target itself.
_OF_TARGET = ("user", "password_file", "certificate_file", "thumbprint", "ca_file")

if TYPE_CHECKING:
    from portlayer.vsphere.target import Target


def add(commands: Commands) -> None:
    """Add the verbs to the command line."""
    create = commands.add_parser(
        "create", help="make a VCH: on this machine, or on a vCenter with --target"
    )
    create.add_argument("--name", default="vch", help="of the VCH (default: %(default)s)")
    create.add_argument("--memory", metavar="SIZE", help="of all its VMs that run, such as 8g")
    create.add_argument("--cpu", metavar="N", help="virtual CPUs of all its VMs that run")
    create.add_argument("--containers", metavar="N", help="how many there may be")
    create.add_argument("--host", metavar="ADDRESS", help="the Docker endpoint, as of `vic up`")
    _take_container_networks(create)
    take_target(create)
    create.add_argument(
        "--compute-resource",
        metavar="PATH",
        help="cluster by name or inventory path, or a pool in one; another VCH's pool for a VCH "
        "within its limits",
    )
    create.add_argument(
        "--image-store", metavar="DATASTORE[/DIR]", help="where images and containers' disks are"
    )
    create.add_argument(
        "--volume-store",
        action="append",
        metavar="NAME=DATASTORE/DIR",
        help="where volumes are; can be repeated",
    )
    create.add_argument(
        "--bridge-network",
        action="append",
        metavar="PORTGROUP",
        help="for containers alone: the first for the default bridge network, others for those "
        "that are made later; can be repeated",
    )
    create.add_argument(
        "--switch", metavar="PATH", help="distributed switch to make such port groups on"
    )
    create.add_argument("--vlans", metavar="FIRST-LAST", help="their VLANs, one each")
    for option, what in (
        ("--management-network", "in which the containers' VMs reach the VCH"),
        ("--public-network", "by which the VCH reaches registries"),
        ("--client-network", "in which Docker clients reach the VCH"),
    ):
        create.add_argument(option, metavar="PORTGROUP", help=f"port group {what}")
    create.add_argument(
        "--anti-affinity", action="store_true", help="keep its VMs on different hosts if possible"
    )
    create.add_argument("--host-group", metavar="NAME", help="DRS host group to prefer")
    create.add_argument(
        "--bootstrap-iso",
        type=Path,
        metavar="FILE",
        help="what its VMs boot from (default: made of this version's bootstrap image)",
    )
    create.set_defaults(command=_create)

    inspect = commands.add_parser("inspect", help="show what a VCH is made of, as JSON")
    inspect.set_defaults(command=_inspect)

    role = commands.add_parser(
        "role", help="list the privileges that a VCH's user needs; with --target make a role"
    )
    role.add_argument("--role-name", default="vic-operator", metavar="NAME")
    take_target(role)
    role.set_defaults(command=_role)
    take_data_dir(create, inspect)


def _take_container_networks(command: argparse.ArgumentParser) -> None:
    for suffix, value, what in (
        (
            "",
            "NETWORK[:ALIAS]",
            "port group, or interface of this machine, that containers can be on by themselves, "
            "and what `docker run --network` calls it",
        ),
        ("-gateway", "NETWORK:ADDRESS/MASK", "its router, and its subnet"),
        ("-ip-range", "NETWORK:CIDR", "its addresses for containers (default: the whole subnet)"),
        ("-dns", "NETWORK:ADDRESS", "its name server"),
        (
            "-firewall",
            "NETWORK:LEVEL",
            "closed, outbound, peers, published (the default) or open; on a vCenter closed, peers "
            "or open",
        ),
    ):
        command.add_argument(
            f"--container-network{suffix}",
            action="append",
            default=[],
            metavar=value,
            help=f"{what}; can be repeated",
        )


def take_target(command: argparse.ArgumentParser) -> None:
    """Let a verb be told a vCenter."""
    command.add_argument("--target", metavar="HOST[:PORT]", help="the vCenter")
    command.add_argument(
        "--user", metavar="NAME", help="as whom to work there: a user, or an extension's key"
    )
    command.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="the user's password (default: what VIC_PASSWORD_FILE names, or VIC_PASSWORD itself)",
    )
    command.add_argument(
        "--certificate-file",
        type=Path,
        metavar="FILE",
        help="the extension's certificate and key, PEM, in place of a password",
    )
    command.add_argument(
        "--thumbprint", default="", metavar="SHA256", help="of the vCenter's certificate"
    )
    command.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="authority of the certificate, PEM"
    )


def _create(options: argparse.Namespace) -> int:
    from installer.commands.creation import create

    return create(options)


def _inspect(options: argparse.Namespace) -> int:
    from installer.inspection import inspect

    print(inspect(options.data_dir))
    return 0


def _role(options: argparse.Namespace) -> int:
    from installer.vsphere.verbs import make_role, role_text

    refuse_without_target(options)
    if not options.role_name.strip():
        raise UsageError("--role-name: a role needs a name")
    print(make_role(target_of(options), options.role_name) if options.target else role_text())
    return 0


def target_of(options: argparse.Namespace) -> "Target":
    """Return the vCenter that a command line names. Raises UsageError."""
    from installer.vsphere.wishes import parse_target

    if not options.user:
        raise UsageError("--user: needed with --target")
    return make_target(options, parse_target(options.target), password_file_of(options))


def make_target(
    options: argparse.Namespace, address: tuple[str, int], password_file: Path | None
) -> "Target":
    """Return the vCenter at an address, with the rest as the command line has it."""
    from portlayer.vsphere.target import Target

    return Target(
        host=address[0],
        user=options.user,
        password_file=password_file,
        port=address[1],
        thumbprint=options.thumbprint,
        ca_file=options.ca_file,
        certificate_file=options.certificate_file,
    )


def needing_target(options: argparse.Namespace) -> list[str]:
    """Return the options given that say how a vCenter is reached, where none is named."""
    if options.target:
        return []
    return [f"--{name.replace('_', '-')}" for name in _OF_TARGET if getattr(options, name)]


def refuse_without_target(options: argparse.Namespace) -> None:
    """Raise UsageError where options say how a vCenter is reached, and none is named."""
    needing = needing_target(options)
    if needing:
        raise UsageError("\n".join(f"{option}: only with --target" for option in needing))


def password_file_of(options: argparse.Namespace) -> Path | None:
    """Return where the password is; None where it is in the environment, or a certificate told."""
    from portlayer.vsphere.target import PASSWORD_VARIABLE

    if options.certificate_file:
        if options.password_file:
            raise UsageError("--password-file and --certificate-file: one of them")
        return None
    named = options.password_file or os.environ.get("VIC_PASSWORD_FILE")
    if not named and not os.environ.get(PASSWORD_VARIABLE):
        raise UsageError(
            "--password-file or --certificate-file: needed with --target, or VIC_PASSWORD_FILE "
            f"or {PASSWORD_VARIABLE}"
        )
    return Path(named) if named else None
