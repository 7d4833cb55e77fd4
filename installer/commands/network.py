"""`vic network`: external networks, and names of outside hosts."""

import argparse

from installer.commands import Commands, take_data_dir

LEVELS = ("closed", "outbound", "peers", "published", "open")


def add(commands: Commands) -> None:
    """Add the verbs to the command line."""
    network = commands.add_parser("network", help="the host's surroundings, for containers")
    subjects = network.add_subparsers(required=True, metavar="SUBJECT")
    _add_external(subjects)
    alias = subjects.add_parser("alias", help="names of outside hosts in a network")
    verbs = alias.add_subparsers(required=True, metavar="ACTION")
    set_alias = verbs.add_parser(
        "add", help="give an outside host a name, or another host the name"
    )
    set_alias.add_argument("network")
    set_alias.add_argument("name")
    set_alias.add_argument("address", help="of the host, IPv4 or IPv6")
    set_alias.set_defaults(command=_alias_add)
    aliases = verbs.add_parser("ls", help="list them")
    aliases.add_argument("network", nargs="?", help="of this network alone")
    aliases.set_defaults(command=_alias_ls)
    drop = verbs.add_parser("rm", help="take a name away")
    drop.add_argument("network")
    drop.add_argument("name")
    drop.set_defaults(command=_alias_rm)
    take_data_dir(set_alias, aliases, drop)


def _add_external(subjects: Commands) -> None:
    external = subjects.add_parser(
        "external", help="networks on which containers are by themselves"
    )
    verbs = external.add_subparsers(required=True, metavar="ACTION")
    add = verbs.add_parser("add", help="map a network, for `docker run --network NAME`")
    add.add_argument("name")
    add.add_argument(
        "--parent",
        required=True,
        metavar="IFACE",
        help="the host's interface there: a bridge, or one on which the host has no address",
    )
    add.add_argument(
        "--subnet",
        required=True,
        action="append",
        metavar="CIDR",
        help="of IPv4; repeated, with its gateway, for one of IPv6",
    )
    add.add_argument(
        "--gateway",
        required=True,
        action="append",
        metavar="ADDRESS",
        help="the network's router, of each version of IP",
    )
    add.add_argument(
        "--ip-range",
        action="append",
        default=[],
        metavar="CIDR",
        help="containers' addresses, which nobody else may have (default: the whole subnet)",
    )
    add.add_argument(
        "--dns",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="name server of its containers; may be repeated (default: the host's)",
    )
    add.add_argument(
        "--firewall",
        choices=LEVELS,
        default="published",
        metavar="LEVEL",
        help=f"{', '.join(LEVELS)} (default: %(default)s)",
    )
    add.add_argument(
        "--publish",
        action="store_true",
        help="publish ports of bridge networks at the host's address there, by default",
    )
    add.add_argument("--mtu", type=int, metavar="BYTES", help="default: the other networks'")
    add.set_defaults(command=_external_add)
    externals = verbs.add_parser("ls", help="list them")
    externals.set_defaults(command=_external_ls)
    drop = verbs.add_parser("rm", help="let go of one that no container uses")
    drop.add_argument("name")
    drop.set_defaults(command=_external_rm)
    take_data_dir(add, externals, drop)


def _external_add(options: argparse.Namespace) -> int:
    from installer.networks import ExternalWish, map_external

    wish = ExternalWish(
        *(options.name, options.parent, options.subnet, options.gateway, options.ip_range),
        *(options.dns, options.firewall, options.publish, options.mtu),
    )
    print(map_external(options.data_dir, wish).id)
    return 0


def _external_ls(options: argparse.Namespace) -> int:
    from installer.networks import firewall_of, list_networks

    head = ("NAME", "PARENT", "SUBNET", "GATEWAY", "RANGE", "FIREWALL")
    line = "{:<20} {:<15} {:<18} {:<15} {:<18} {}"
    print(line.format(*head))
    for network in list_networks(options.data_dir):
        if not network.HasField("external"):
            continue
        external = network.external
        level = firewall_of(network) + (", publishes" if external.publishes else "")
        # A line for each version of IP.
        for pool in network.pools:
            print(
                line.format(
                    *(network.name, external.parent, pool.subnet, pool.gateway),
                    *(pool.ip_range or pool.subnet, level),
                )
            )
    return 0


def _external_rm(options: argparse.Namespace) -> int:
    from installer.networks import unmap_external

    unmap_external(options.data_dir, options.name)
    return 0


def _alias_add(options: argparse.Namespace) -> int:
    from installer.networks import set_alias

    set_alias(options.data_dir, options.network, options.name, options.address)
    return 0


def _alias_ls(options: argparse.Namespace) -> int:
    from installer.errors import InstallerError
    from installer.networks import list_networks

    networks = [
        network
        for network in list_networks(options.data_dir)
        if options.network in (None, network.name, network.id)
    ]
    if options.network is not None and not networks:
        raise InstallerError(f"network {options.network} not found")
    print(f"{'NETWORK':<20} {'NAME':<30} ADDRESS")
    for network in networks:
        for known in network.outside_aliases:
            print(f"{network.name:<20} {known.name:<30} {known.address}")
    return 0


def _alias_rm(options: argparse.Namespace) -> int:
    from installer.networks import remove_alias

    remove_alias(options.data_dir, options.network, options.name)
    return 0
