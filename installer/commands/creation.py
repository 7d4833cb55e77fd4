"""`vic create`: what its words mean, here and on a vCenter."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from installer.checks import require_root
from installer.commands import say
from installer.commands.vch import make_target, needing_target, password_file_of
from installer.errors import InstallerError, UsageError
from installer.instance import check_data_dir
from installer.words import Words

if TYPE_CHECKING:
    from installer.networks import ExternalWish
    from installer.vsphere.wishes import Store, VchLimits, VchWishes
    from portlayer.vsphere.target import Target

# What only a VCH on a vCenter has.
_ON_VCENTER = (
    *("compute_resource", "image_store", "volume_store", "bridge_network", "switch", "vlans"),
    *("management_network", "public_network", "client_network", "anti_affinity", "host_group"),
    "bootstrap_iso",
)
_NEEDED = ("compute_resource", "image_store", "management_network")


def create(options: argparse.Namespace) -> int:
    """Make a VCH."""
    require_root("create")
    return _on_vcenter(options) if options.target else _here(options)


def _here(options: argparse.Namespace) -> int:
    from installer.container_networks import check_interfaces
    from installer.embedded import create
    from installer.endpoint import parse_endpoint
    from installer.vsphere.wishes import memory_problem, parse_name

    words = Words()
    given = [_option(name) for name in _ON_VCENTER if getattr(options, name)]
    for option in needing_target(options) + given:
        words.refuse(option, f"{option}: only with --target, on a vCenter")
    vch_name = words.read("--name", partial(parse_name, options.name), "")
    if options.host is not None:
        words.read("--host", lambda: str(parse_endpoint(options.host)), "")
    limits = _limits(options, words)
    if problem := memory_problem(limits):
        words.refuse("--memory", problem)
    networks = _networks(options, words)
    words.read("--container-network", partial(check_interfaces, networks), None)
    words.check()
    instance = create(options.data_dir, vch_name, options.host, limits, say, networks)
    print(f"vic {instance.id} is up at {instance.options.host}")
    return 0


def _on_vcenter(options: argparse.Namespace) -> int:
    from installer.vsphere.boot import medium
    from installer.vsphere.creation import create, problems_there

    words = Words()
    wishes = _wishes(options, words)
    if words.problems:
        # What is wrong there is said as well, as far as the words let it be looked up.
        if wishes is not None:
            try:
                words.add(problems_there(wishes, options.data_dir))
            except InstallerError as error:
                words.problems.append(str(error))
        words.check()
    assert wishes is not None, "nothing was wrong with its words"
    provide = partial(medium, options.bootstrap_iso, say)
    instance = create(wishes, options.data_dir, provide, say)
    print(f"VCH {instance.options.name} is made; start it by")
    print(f"  vic up --data-dir {instance.data_dir}")
    for name in ("public_network", "client_network"):
        if getattr(options, name):
            say(
                f"{_option(name)} is kept for the VCH's own VM, which isn't there yet: its "
                "services run here"
            )
    return 0


def _wishes(options: argparse.Namespace, words: Words) -> "VchWishes | None":
    """Return what is wished for; None where the vCenter can't be asked.

    In place of words that mean nothing are such as nobody finds a fault with.
    """
    from installer.vsphere.wishes import Store, VchWishes, check_vlans, parse_name, parse_store

    for name in _NEEDED:
        if not getattr(options, name):
            words.refuse(_option(name), f"{_option(name)}: needed with --target")
    if options.host:
        words.refuse("--host", "--host: say it to `vic up`, which starts the VCH")
    iso = options.bootstrap_iso
    if iso is not None and not iso.is_file():
        words.refuse("--bootstrap-iso", f"--bootstrap-iso: there is no file {iso}")
    words.read("--data-dir", partial(check_data_dir, options.data_dir), options.data_dir)
    vch_name = words.read("--name", partial(parse_name, options.name), "")
    store = Store("")
    if options.image_store:
        parse = partial(parse_store, "--image-store", options.image_store)
        store = words.read("--image-store", parse, store)
    volume_stores = _volume_stores(options, words)
    vlans = words.read("--vlans", partial(check_vlans, options.vlans or ""), "1-4094")
    limits, networks = _limits(options, words), _networks(options, words)
    target = _target(options, words)
    if target is None:
        return None
    return VchWishes(
        name=vch_name,
        target=target,
        compute_resource=options.compute_resource or "",
        image_store=store,
        volume_stores=volume_stores,
        bridge_networks=tuple(options.bridge_network or ()),
        switch=options.switch or "",
        vlans=vlans,
        management_network=options.management_network or "",
        public_network=options.public_network or "",
        client_network=options.client_network or "",
        container_networks=networks,
        anti_affinity=options.anti_affinity,
        host_group=options.host_group or "",
        limits=limits,
    )


def _target(options: argparse.Namespace, words: Words) -> "Target | None":
    """Return the vCenter; None where something is wrong with how it is reached."""
    from installer.vsphere.creation import check_credentials, check_server
    from installer.vsphere.wishes import parse_target

    before = len(words.problems)
    address = words.read("--target", partial(parse_target, options.target), ("", 0))
    if not options.user:
        words.refuse("--user", "--user: needed with --target")
    known = len(words.problems)
    password_file = words.read("--password-file", partial(password_file_of, options), None)
    told = len(words.problems) == known
    target = make_target(options, address, password_file)
    server = "--thumbprint" if options.thumbprint else "--ca-file"
    words.read(server, partial(check_server, target), None)
    if told:
        shown = "--certificate-file" if options.certificate_file else "--password-file"
        words.read(shown, partial(check_credentials, target), None)
    return None if len(words.problems) > before else target


def _volume_stores(options: argparse.Namespace, words: Words) -> "dict[str, Store]":
    from installer.vsphere.wishes import parse_volume_stores

    entries = options.volume_store or []
    stores = words.read("--volume-store", partial(parse_volume_stores, entries), None)
    if stores is not None:
        return stores
    good: dict[str, Store] = {}
    for entry in entries:
        with suppress(UsageError):
            good |= parse_volume_stores([entry])
    return good


def _limits(options: argparse.Namespace, words: Words) -> "VchLimits":
    from installer.configure import parse_count, parse_size
    from installer.vsphere.wishes import VchLimits

    def read(option: str, parse: Callable[[str], int], text: str | None) -> int:
        return words.read(option, partial(parse, text), 0) if text else 0

    return VchLimits(
        containers=read("--containers", parse_count, options.containers),
        memory_bytes=read("--memory", parse_size, options.memory),
        cpus=read("--cpu", parse_count, options.cpu),
    )


def _networks(options: argparse.Namespace, words: Words) -> "tuple[ExternalWish, ...]":
    from installer.container_networks import parse_container_networks

    def parse() -> "tuple[ExternalWish, ...]":
        return parse_container_networks(
            options.container_network,
            options.container_network_gateway,
            options.container_network_ip_range,
            options.container_network_dns,
            options.container_network_firewall,
        )

    return words.read("--container-network", parse, ())


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
