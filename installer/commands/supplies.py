"""What an instance and its callers are supplied with: bootstrap images, certificates."""

import argparse
from pathlib import Path

from installer.commands import Commands, take_data_dir
from installer.roles import CLIENT_ROLES
from portlayer.identity import Role


def add(commands: Commands) -> None:
    """Add the verbs to the command line."""
    bootstrap = commands.add_parser(
        "bootstrap", help="build the container VMs' kernel and bootstrap image"
    )
    bootstrap.add_argument(
        "--refresh", action="store_true", help="take newer Debian packages if apt lists any"
    )
    bootstrap.set_defaults(command=_bootstrap)

    client = commands.add_parser("client", help="certificates for callers of the gRPC services")
    actions = client.add_subparsers(required=True, metavar="ACTION")
    issue = actions.add_parser("issue", help="make a certificate")
    issue.add_argument("name")
    issue.add_argument("--role", required=True, choices=[role.value for role in CLIENT_ROLES])
    issue.add_argument("--out", type=Path, metavar="DIR", help="default: ./NAME")
    issue.set_defaults(command=_issue)
    take_data_dir(issue)


def _bootstrap(options: argparse.Namespace) -> int:
    from installer.bootstrap import build_bootstrap
    from installer.checks import require_root

    require_root("bootstrap")
    print(build_bootstrap(refresh=options.refresh))
    return 0


def _issue(options: argparse.Namespace) -> int:
    from installer.clients import issue_client

    out = options.out if options.out is not None else Path(options.name)
    directory = issue_client(options.data_dir, options.name, Role(options.role), out)
    print(f"{directory}: ca.crt, tls.crt, tls.key")
    return 0
