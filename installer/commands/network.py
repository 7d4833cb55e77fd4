"""`vic network`: names of outside hosts."""

import argparse

from installer.commands import Commands, take_data_dir


def add(commands: Commands) -> None:
    """Add the verbs to the command line."""
    network = commands.add_parser("network", help="what containers find outside")
    subjects = network.add_subparsers(required=True, metavar="SUBJECT")
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
