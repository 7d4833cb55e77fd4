"""The `vic` command."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from installer.errors import InstallerError, UsageError
from installer.instance import DEFAULT_DATA_DIR
from installer.roles import CLIENT_ROLES, PROCESSES
from portlayer.identity import Role

Command = Callable[[argparse.Namespace], int]

READY_CLONES: dict[str, Any] = {
    "metavar": "N",
    "help": "virtual machines kept ready for the next containers; 0 is none, auto as many as suit "
    "the host's memory",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except InstallerError as error:
        print(f"vic: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vic: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vic", description="A Docker endpoint where every container is a virtual machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the suite, or change the settings of a running one")
    up.add_argument(
        "--host",
        metavar="ADDRESS",
        help="the Docker endpoint: unix:///PATH (default: docker.sock in DATA/run) or "
        "tcp://ADDRESS:PORT, which off loopback needs --tlsverify",
    )
    up.add_argument(
        "--tlsverify",
        action="store_true",
        default=None,
        help="speak TLS at a tcp:// endpoint, and only to clients with a certificate; the "
        "certificates are made where none are brought",
    )
    for option, what in (
        ("--tlscacert", "authority of the clients' certificates"),
        ("--tlscert", "the endpoint's certificate"),
        ("--tlskey", "its key"),
    ):
        up.add_argument(option, type=Path, metavar="FILE", help=f"{what}, PEM")
    up.add_argument(
        "--insecure-registry",
        action="append",
        metavar="HOST:PORT",
        help="registry to speak plain HTTP to, or to trust with any certificate; can be repeated; "
        "loopback always is one",
    )
    up.add_argument(
        "--registry-mirror",
        action="append",
        metavar="URL",
        help="registry to ask first for images named without one; can be repeated",
    )
    up.add_argument(
        "--allowed-registry",
        action="append",
        metavar="HOST",
        help="the only registries to use: HOST, HOST:PORT, *.DOMAIN or a network, docker.io for "
        'Docker Hub; can be repeated; "" for all',
    )
    up.add_argument(
        "--registry-ca",
        action="append",
        metavar="FILE",
        help="certificate (PEM) of an authority that signs registries' certificates; can be "
        'repeated; "" for the system\'s alone',
    )
    for scheme in ("http", "https"):
        up.add_argument(
            f"--{scheme}-proxy",
            metavar="URL",
            help=f'proxy for registries spoken to by {scheme.upper()}; "" for none',
        )
    up.add_argument(
        "--no-proxy",
        action="append",
        metavar="HOST",
        help='registry to ask without a proxy: HOST or .DOMAIN; can be repeated; "" for none',
    )
    up.add_argument(
        "--bootstrap", type=Path, metavar="DIR", help="bootstrap image of the container VMs"
    )
    up.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    up.add_argument("--otlp-endpoint", metavar="URL", help="OpenTelemetry collector")
    up.add_argument("--ready-clones", **READY_CLONES)
    up.add_argument(
        "--volume-store",
        action="append",
        metavar="NAME=URL",
        help="place for volumes beside the data directory: /PATH, file:///PATH, or "
        'nfs://SERVER/PATH that this host has mounted; can be repeated; "" for none',
    )
    up.set_defaults(command=_up)

    down = commands.add_parser("down", help="stop all containers, then the suite")
    down.set_defaults(command=_down)

    restart = commands.add_parser(
        "restart", help="restart the suite's processes; touches no container"
    )
    restart.add_argument(
        "facet", nargs="?", choices=[kind.role.value for kind in PROCESSES], help="only this one"
    )
    restart.set_defaults(command=_restart)

    status = commands.add_parser("status", help="show what runs, where and on which hypervisor")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="wait at most so long until every process serves",
    )
    status.set_defaults(command=_status)

    listing = commands.add_parser("ls", help="list the instances of this machine")
    listing.set_defaults(command=_ls)

    delete = commands.add_parser("delete", help="stop an instance and delete all its data")
    delete.add_argument(
        "--force", action="store_true", help="although it has containers or volumes"
    )
    delete.set_defaults(command=_delete)

    configure = commands.add_parser(
        "configure",
        help="change the limits of a running suite and how its containers start, effective at once",
    )
    configure.add_argument("--container-limit", metavar="N", help="containers, or none")
    configure.add_argument(
        "--memory-limit", metavar="SIZE", help="memory of the VMs that run, such as 4g, or none"
    )
    configure.add_argument(
        "--cpu-limit", metavar="N", help="virtual CPUs of the VMs that run, or none"
    )
    configure.add_argument("--ready-clones", **READY_CLONES)
    configure.add_argument(
        "--start",
        choices=("clone", "cold"),
        help="whether virtual machines are cloned, or boot by themselves and share no memory",
    )
    configure.add_argument(
        "--kernel", metavar="NAME", help="kernel of VMs whose containers name none, or none"
    )
    configure.add_argument(
        "--storage-limit",
        metavar="SIZE",
        help="disks of the containers at their full size, or none",
    )
    configure.add_argument(
        "--memory-overcommit",
        metavar="FACTOR",
        help="how many times its memory the host may give to VMs, such as 1.5 (default: 4)",
    )
    configure.set_defaults(command=_configure)

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

    for command in (up, down, restart, status, delete, configure, add, kernels, drop, issue):
        command.add_argument(
            "--data-dir",
            type=Path,
            default=DEFAULT_DATA_DIR,
            metavar="DIR",
            help="the instance's directory (default: %(default)s)",
        )
    return parser


def _up(options: argparse.Namespace) -> int:
    from installer.configure import configure, wish
    from installer.endpoint_tls import client_directory
    from installer.registries import RegistryWishes
    from installer.up import Wishes, bring_up

    wished = None if options.ready_clones is None else wish(ready_clones=options.ready_clones)
    wishes = Wishes(
        data_dir=options.data_dir,
        host=options.host,
        insecure_registries=_tuple(options.insecure_registry),
        registry_mirrors=_tuple(options.registry_mirror),
        registries=RegistryWishes(
            allowed=_tuple(options.allowed_registry),
            authorities=_tuple(options.registry_ca),
            http_proxy=options.http_proxy,
            https_proxy=options.https_proxy,
            no_proxy=_tuple(options.no_proxy),
        ),
        log_level=options.log_level,
        otlp_endpoint=options.otlp_endpoint,
        volume_stores=_tuple(options.volume_store),
        tls_verify=options.tlsverify,
        tls_ca=options.tlscacert,
        tls_cert=options.tlscert,
        tls_key=options.tlskey,
        bootstrap=options.bootstrap,
    )
    instance = bring_up(wishes, say)
    if wished is not None:
        configure(options.data_dir, wished)
    print(f"vic {instance.id} is up at {instance.options.host}")
    print(f"  export DOCKER_HOST={instance.options.host}")
    if instance.options.tls_verify:
        print("  export DOCKER_TLS_VERIFY=1")
        if not instance.options.tls_cert:
            print(f"  export DOCKER_CERT_PATH={client_directory(instance)}")
    return 0


def _down(options: argparse.Namespace) -> int:
    from installer.down import take_down

    take_down(options.data_dir, say)
    print("down: nothing of it is left on this host but its data")
    return 0


def _restart(options: argparse.Namespace) -> int:
    from installer.restart import restart

    restart(options.data_dir, options.facet)
    return 0


def _status(options: argparse.Namespace) -> int:
    from installer.status import read_status

    status = read_status(options.data_dir, options.wait)
    print(status.to_json() if options.json else status.to_text())
    return status.exit_code


def _ls(options: argparse.Namespace) -> int:
    from installer.listing import list_instances, to_text

    print(to_text(list_instances()))
    return 0


def _delete(options: argparse.Namespace) -> int:
    from installer.deletion import delete

    rest = delete(options.data_dir, say, force=options.force)
    print("deleted")
    for path in rest:
        print(f"not ours, and still there: {path}")
    return 0


def _configure(options: argparse.Namespace) -> int:
    from installer.configure import configure, tell, wish

    wished = wish(
        containers=options.container_limit,
        memory=options.memory_limit,
        cpus=options.cpu_limit,
        storage=options.storage_limit,
        overcommit=options.memory_overcommit,
        ready_clones=options.ready_clones,
        start=options.start,
        kernel=options.kernel,
    )
    print(tell(configure(options.data_dir, wished)))
    return 0


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


def say(sentence: str) -> None:
    """Tell the user how the work goes on."""
    print(sentence, file=sys.stderr, flush=True)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


if __name__ == "__main__":
    sys.exit(main())
