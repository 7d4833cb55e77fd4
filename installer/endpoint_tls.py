"""TLS at the Docker endpoint: dockerd's options, and certificates where none were brought.

The endpoint has an authority of its own. That of the suite would let every holder of one of its
certificates, each container VM's tether among them, call the Docker API.
"""

import datetime
import fcntl
import ipaddress
import os
import socket
import ssl
import struct
from pathlib import Path

from cryptography import x509

from installer.endpoint import TcpEndpoint, parse_endpoint
from installer.errors import PreconditionError, UsageError
from installer.instance import Instance, Options
from installer.ownership import own_tree
from installer.pki import (
    AUTHORITY_KEY,
    CERTIFICATE,
    NAMES,
    Authority,
    Identity,
    Names,
    needs_renewal,
    read_certificate,
)
from installer.roles import kind_of, uid_of
from portlayer.identity import Role

# Docker's names of the three, in a directory that DOCKER_CERT_PATH may name.
SERVER = "endpoint-server"
"""Directory of the gateway's files; its settings know it by this name."""

PROBE = "probe"
"""Directory of the watcher's own client certificate."""

CLIENT = "client"
"""Directory of the first client's certificate."""

CLIENT_NAMES = Names(authority="ca.pem", key="key.pem", certificate="cert.pem")
_LIFETIME = datetime.timedelta(days=825)
_SIOCGIFADDR = 0x8915
_INTERFACE_NAME_BYTES = 256


def check_tls(options: Options, endpoint: object) -> None:
    """Return when an endpoint may be served as the options say. Raises UsageError."""
    paths = (options.tls_ca, options.tls_cert, options.tls_key)
    if not options.tls_verify:
        if any(paths):
            raise UsageError("--tlscacert, --tlscert and --tlskey need --tlsverify")
        if isinstance(endpoint, TcpEndpoint) and not endpoint.is_loopback:
            raise UsageError(
                f"refusing a plain TCP listener on {endpoint.address}: whoever reaches it is root "
                "on this endpoint; add --tlsverify, or use a loopback address "
                "(tcp://127.0.0.1:PORT) or a Unix socket"
            )
        return
    if not isinstance(endpoint, TcpEndpoint):
        raise UsageError(f"--tlsverify needs --host tcp://ADDRESS:2376, not {endpoint}")
    if any(paths) and not all(paths):
        raise UsageError("--tlscacert, --tlscert and --tlskey are brought together or not at all")


def lay_out_tls(instance: Instance) -> None:
    """Put in place what the gateway, the watcher's probe and a first client need.

    Raises PreconditionError for brought files that can't be used.
    """
    options = instance.options
    instance.endpoint_pki.mkdir(mode=0o711, parents=True, exist_ok=True)
    authority = _authority(instance)
    _write_probe(instance, authority)
    server = instance.pki_dir / SERVER
    identity: Identity | None
    if options.tls_cert:
        identity = _brought(options, authority)
    else:
        identity = _own(instance, authority, server)
        _write_client(instance, authority)
    uid = uid_of(kind_of(Role.GATEWAY), instance.slot)
    if identity is None:
        own_tree(server, uid, uid)
    else:
        identity.write(server, owner=(uid, uid))


def renew_tls(instance: Instance) -> set[str]:
    """Renew what `vic` made, and expires soon, of a suite that runs; brought files are left alone.

    Returns what is new: `SERVER` or `PROBE`, for which the gateway is restarted, or `CLIENT`.
    """
    authority = _authority(instance)
    server = instance.pki_dir / SERVER
    renewed = set()
    if _write_probe(instance, authority):
        renewed.add(PROBE)
    if instance.options.tls_cert:
        return renewed
    if _write_client(instance, authority):
        renewed.add(CLIENT)
    # That it has all of the host's addresses is for `vic up` to see to: they may change often.
    if needs_renewal(server, authority):
        uid = uid_of(kind_of(Role.GATEWAY), instance.slot)
        _server(instance, authority, *_reached_at(instance)).write(server, owner=(uid, uid))
        renewed.add(SERVER)
    return renewed


def client_directory(instance: Instance) -> Path:
    """Where the first client's certificate lies: what DOCKER_CERT_PATH is to name."""
    return instance.endpoint_pki / CLIENT


def _authority(instance: Instance) -> Authority:
    directory = instance.endpoint_pki
    if (directory / AUTHORITY_KEY).exists():
        return Authority.load(directory)
    authority = Authority.create(f"{instance.id} endpoint")
    authority.write(directory)
    return authority


def _client(authority: Authority, name: str) -> Identity:
    return authority.issue(name, lifetime=_LIFETIME)


def _write_probe(instance: Instance, authority: Authority) -> bool:
    """Make the probe's certificate where that is due; tells whether it was."""
    return _write(authority, instance.endpoint_pki / PROBE, "vic probe", NAMES)


def _write_client(instance: Instance, authority: Authority) -> bool:
    name = f"vic {instance.id} client"
    return _write(authority, client_directory(instance), name, CLIENT_NAMES)


def _write(authority: Authority, directory: Path, name: str, names: Names) -> bool:
    if not needs_renewal(directory, authority, names):
        return False
    _client(authority, name).write(directory, owner=(os.getuid(), os.getgid()), names=names)
    return True


def _own(instance: Instance, authority: Authority, directory: Path) -> Identity | None:
    """Return a new server's certificate for the host's names and addresses.

    None where the one that is there will do. The files are the gateway's, which may have put links
    to others' in their places: their content is not written anywhere.
    """
    names, addresses = _reached_at(instance)
    if not needs_renewal(directory, authority) and _covers(directory, names, addresses):
        return None
    return _server(instance, authority, names, addresses)


def _server(
    instance: Instance, authority: Authority, names: list[str], addresses: list[str]
) -> Identity:
    return authority.issue(
        f"vic {instance.id}", dns_names=names, addresses=addresses, lifetime=_LIFETIME
    )


def _reached_at(instance: Instance) -> tuple[list[str], list[str]]:
    """Return the names and addresses under which clients may come."""
    endpoint = parse_endpoint(instance.options.host)
    addresses = _addresses(endpoint.address) if isinstance(endpoint, TcpEndpoint) else []
    return _host_names(), addresses


def _covers(directory: Path, names: list[str], addresses: list[str]) -> bool:
    certificate = read_certificate(directory / CERTIFICATE)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return {*names} <= {*found.get_values_for_type(x509.DNSName)} and {*addresses} <= known


def _host_names() -> list[str]:
    return list(dict.fromkeys(["localhost", socket.gethostname(), socket.getfqdn()]))


def _addresses(listening: str) -> list[str]:
    """Addresses under which clients may come: the one, or all of the host's."""
    found = ["127.0.0.1", "::1"]
    if not ipaddress.ip_address(listening).is_unspecified:
        return list(dict.fromkeys([*found, listening]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack(f"{_INTERFACE_NAME_BYTES}s", os.fsencode(name)[:15])
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
            except OSError:
                continue  # it has none
            found.append(socket.inet_ntoa(answer[20:24]))
    return list(dict.fromkeys(found))


def _brought(options: Options, authority: Authority) -> Identity:
    """Return what was brought; the watcher's probe comes with a certificate of our authority."""
    contents = {}
    for option, path in (
        ("--tlscacert", options.tls_ca),
        ("--tlscert", options.tls_cert),
        ("--tlskey", options.tls_key),
    ):
        try:
            contents[option] = Path(path).read_bytes()
        except OSError as error:
            raise PreconditionError(f"cannot read {option} {path}: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
        context.load_verify_locations(options.tls_ca)
    except (ssl.SSLError, OSError) as error:
        why = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
        raise PreconditionError(
            f"the endpoint's certificates can't be used: {why} (--tlscacert {options.tls_ca}, "
            f"--tlscert {options.tls_cert}, --tlskey {options.tls_key})"
        ) from error
    trusted = contents["--tlscacert"].rstrip() + b"\n" + authority.pem
    return Identity(contents["--tlscert"], contents["--tlskey"], trusted)
