"""The life of a VCH: `vic create`, `vic inspect`, `vic role`."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from installer.commands import Commands, say, take_data_dir
from installer.errors import UsageError

if TYPE_CHECKING:
    from installer.networks import ExternalWish
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
            "closed, outbound, peers, published (the default) or open, the only one on a vCenter",
        ),
    ):
        command.add_argument(
            f"--container-network{suffix}",
            action="append",
            default=[],
            metavar=value,
            help=f"{what}; can be repeated",
        )


def _container_networks(options: argparse.Namespace) -> "tuple[ExternalWish, ...]":
    from installer.container_networks import parse_container_networks

    return parse_container_networks(
        options.container_network,
        options.container_network_gateway,
        options.container_network_ip_range,
        options.container_network_dns,
        options.container_network_firewall,
    )


def _check_words(*parses: Callable[[], object]) -> None:
    """Read words of a command line. Raises UsageError with all that is wrong with them."""
    problems = []
    for parse in parses:
        try:
            parse()
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))


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


# What only a VCH on a vCenter has.
_ON_VCENTER = (
    *("compute_resource", "image_store", "volume_store", "bridge_network", "switch", "vlans"),
    *("management_network", "public_network", "client_network", "anti_affinity", "host_group"),
    "bootstrap_iso",
)


def _create(options: argparse.Namespace) -> int:
    return _create_on_vcenter(options) if options.target else _create_here(options)


def _create_here(options: argparse.Namespace) -> int:
    from installer.embedded import create
    from installer.vsphere.wishes import parse_limits, parse_name

    strange = [f"--{name.replace('_', '-')}" for name in _ON_VCENTER if getattr(options, name)]
    if strange:
        raise UsageError(f"{', '.join(strange)}: only with --target, on a vCenter")
    name = partial(parse_name, options.name)
    limits = partial(parse_limits, options.containers, options.memory, options.cpu)
    networks = partial(_container_networks, options)
    _check_words(name, limits, networks)
    instance = create(options.data_dir, name(), options.host, limits(), say, networks())
    print(f"vic {instance.id} is up at {instance.options.host}")
    return 0


def _create_on_vcenter(options: argparse.Namespace) -> int:
    from installer.vsphere.boot import medium
    from installer.vsphere.creation import create
    from installer.vsphere.wishes import (
        VchWishes,
        check_vlans,
        parse_limits,
        parse_name,
        parse_store,
        parse_volume_stores,
    )

    needed = ("user", "compute_resource", "image_store", "management_network")
    absent = [f"--{name.replace('_', '-')}" for name in needed if not getattr(options, name)]
    if absent:
        raise UsageError(f"{', '.join(absent)}: needed with --target")
    if options.host:
        raise UsageError("--host: say it to `vic up`, which starts the VCH")
    vch_name = partial(parse_name, options.name)
    target = partial(target_of, options)
    store = partial(parse_store, "--image-store", options.image_store)
    volume_stores = partial(parse_volume_stores, options.volume_store or ())
    vlans = partial(check_vlans, options.vlans or "")
    limits = partial(parse_limits, options.containers, options.memory, options.cpu)
    networks = partial(_container_networks, options)
    _check_words(vch_name, target, store, volume_stores, vlans, limits, networks)
    wishes = VchWishes(
        name=vch_name(),
        target=target(),
        compute_resource=options.compute_resource,
        image_store=store(),
        volume_stores=volume_stores(),
        bridge_networks=tuple(options.bridge_network or ()),
        switch=options.switch or "",
        vlans=vlans(),
        management_network=options.management_network,
        public_network=options.public_network or "",
        client_network=options.client_network or "",
        container_networks=networks(),
        anti_affinity=options.anti_affinity,
        host_group=options.host_group or "",
        limits=limits(),
    )
    instance = create(wishes, options.data_dir, medium(options.bootstrap_iso, say), say)
    print(f"VCH {instance.options.name} is made; start it by")
    print(f"  vic up --data-dir {instance.data_dir}")
    for option in ("public_network", "client_network"):
        if getattr(options, option):
            name = f"--{option.replace('_', '-')}"
            say(
                f"{name} is kept for the VCH's own VM, which isn't there yet: its services run here"
            )
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from installer.inspection import inspect

    print(inspect(options.data_dir))
    return 0


def _role(options: argparse.Namespace) -> int:
    from installer.vsphere.verbs import make_role, role_text

    print(make_role(target_of(options), options.role_name) if options.target else role_text())
    return 0


def target_of(options: argparse.Namespace) -> "Target":
    """Return the vCenter that a command line names."""
    from installer.vsphere.wishes import parse_target
    from portlayer.vsphere.target import Target

    if not options.user:
        raise UsageError("--user: needed with --target")
    host, port = parse_target(options.target)
    return Target(
        host=host,
        user=options.user,
        password_file=_password_file(options),
        port=port,
        thumbprint=options.thumbprint,
        ca_file=options.ca_file,
        certificate_file=options.certificate_file,
    )


def _password_file(options: argparse.Namespace) -> Path | None:
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
