"""How a container finds addresses for names: name servers, and lines of its /etc/hosts."""

from dataclasses import dataclass, field
from ipaddress import ip_address

from vic.exec.v1.container_pb2 import DnsOptions

from gateway.errors import bad_parameter
from gateway.fields import Fields

# Docker's word for the address at which a container reaches its host.
_HOST_GATEWAY = "host-gateway"


@dataclass
class Resolving:
    """What a create request asks for."""

    dns: DnsOptions = field(default_factory=DnsOptions)
    # "name:address".
    extra_hosts: list[str] = field(default_factory=list)


def read_resolving(fields: Fields) -> Resolving:
    """Read HostConfig's part. Raises a 400 in Docker's words."""
    return Resolving(
        dns=DnsOptions(
            servers=[_server(text) for text in fields.texts("Dns")],
            search=fields.texts("DnsSearch"),
            options=fields.texts("DnsOptions"),
        ),
        extra_hosts=[_extra_host(text) for text in fields.texts("ExtraHosts")],
    )


def _server(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise bad_parameter(f"bad nameserver address: {text}") from None


def _extra_host(text: str) -> str:
    """Check a line, whose address may hold colons of its own, and brackets."""
    name, separator, address = text.partition(":")
    if not name or not separator:
        raise bad_parameter(f'bad format for add-host: "{text}"')
    if address == _HOST_GATEWAY:
        return text
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        return f"{name}:{ip_address(bare)}"
    except ValueError:
        raise bad_parameter(f'invalid IP address in add-host: "{address}"') from None
