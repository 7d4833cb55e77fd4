"""`vic up`."""

import argparse
from pathlib import Path

from installer.commands import READY_CLONES, Commands, say, take_data_dir


def add(commands: Commands) -> None:
    """Add the verb to the command line."""
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
    up.add_argument(
        "--image-store",
        metavar="URL",
        help="place for images that other instances may share: /PATH, file:///PATH, or "
        'nfs://SERVER/PATH that this host has mounted; "" for the data directory',
    )
    up.add_argument(
        "--image-quota", metavar="SIZE", help="what images may take, such as 20g; none for no limit"
    )
    up.add_argument(
        "--base-size",
        metavar="SIZE",
        help="size of new containers' disks as they see them (default: 8g); images must be "
        "pulled or loaded again after a change",
    )
    up.add_argument(
        "--facets",
        choices=("processes", "containers"),
        help="whether the five services run as processes (the default), or as containers of "
        "docker-compose.yml: then only what they need is laid out, and the host agent started",
    )
    up.set_defaults(command=_up)
    take_data_dir(up)


def _up(options: argparse.Namespace) -> int:
    from installer.configure import configure, wish
    from installer.containers import compose_command
    from installer.endpoint_tls import client_directory
    from installer.images import ImageWishes
    from installer.registries import RegistryWishes
    from installer.up import bring_up
    from installer.wishes import Wishes

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
        images=ImageWishes(options.image_store, options.image_quota, options.base_size),
        tls_verify=options.tlsverify,
        tls_ca=options.tlscacert,
        tls_cert=options.tlscert,
        tls_key=options.tlskey,
        bootstrap=options.bootstrap,
        facets=options.facets,
        configures=wished is not None,
    )
    instance = bring_up(wishes, say)
    if wished is not None:
        configure(options.data_dir, wished)
    if instance.in_containers:
        print(f"vic {instance.id} is ready for its facets:")
        print(f"  {compose_command(instance)} up --detach --wait")
    else:
        print(f"vic {instance.id} is up at {instance.options.host}")
    print(f"  export DOCKER_HOST={instance.options.host}")
    if instance.options.tls_verify:
        print("  export DOCKER_TLS_VERIFY=1")
        if not instance.options.tls_cert:
            print(f"  export DOCKER_CERT_PATH={client_directory(instance)}")
    return 0


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
