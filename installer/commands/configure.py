"""`vic configure`."""

import argparse

from installer.commands import READY_CLONES, Commands, take_data_dir


def add(commands: Commands) -> None:
    """Add the verb to the command line."""
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
    configure.add_argument(
        "--cpu-reservation",
        metavar="N",
        help="CPUs that its VMs can always have, such as 1.5, or none",
    )
    configure.add_argument(
        "--memory-reservation",
        metavar="SIZE",
        help="memory that its VMs can always have, such as 4g, or none",
    )
    for what, resource in (("cpu", "CPUs"), ("memory", "memory")):
        configure.add_argument(
            f"--{what}-shares",
            metavar="N",
            help=f"its part of the {resource} that nobody has reserved, beside other virtual "
            "container hosts: low, normal, high, 1 to 10000, or default (100)",
        )
    configure.add_argument(
        "--log-syslog",
        metavar="ADDRESS",
        help="syslog server (udp://, tcp://, unix://) that logs go to as well, of containers made "
        "from now on that name no log driver; or none",
    )
    configure.set_defaults(command=_configure)
    take_data_dir(configure)


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
        cpu_reservation=options.cpu_reservation,
        memory_reservation=options.memory_reservation,
        cpu_shares=options.cpu_shares,
        memory_shares=options.memory_shares,
        log_syslog=options.log_syslog,
    )
    print(tell(configure(options.data_dir, wished)))
    return 0
