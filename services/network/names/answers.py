"""What the name server says to a question, or that somebody else has to be asked.

Source: RFC 1035, RFC 2308 (no data), RFC 6891 (EDNS)
"""

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from services.network.model import Kind, Network
from services.network.names.directory import Directory
from services.network.names.questions import HEADER, MOST_UDP_BYTES

SECONDS_TO_LIVE = 5
"""A renamed or restarted container is found anew within seconds, also by clients that keep
answers; Docker has 600."""

UDP_BYTES = 512
"""What a client without EDNS takes (RFC 1035, 4.2.1)."""

_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_NAME_IN_QUESTION = struct.pack("!H", 0xC000 | HEADER.size)
"""A reference to the name in question (RFC 1035, 4.1.4)."""

TRANSFERS = frozenset({dns.rdatatype.AXFR, dns.rdatatype.IXFR})

Address = IPv4Address | IPv6Address

NetworksOf = Callable[[Network, IPv4Address], Sequence[Network]]
LinksOf = Callable[[Network, IPv4Address], Mapping[str, Sequence[tuple[Network, str]]]]


class Elsewhere(Enum):
    """The question is not about our containers."""

    ASK = "ask"


ASK: Final = Elsewhere.ASK


class Outside(Protocol):
    """Who outside has names in networks."""

    def address(self, network_id: str, name: str) -> Address | None:
        """Return the address behind a name in lower case."""
        ...

    def name(self, network_id: str, address: Address) -> str | None:
        """Return the name of an address."""
        ...


class Answers:
    """Answers questions of containers about one another, and about who outside has a name.

    `networks_of` tells in which networks the asker is, given the one through which it asks: these
    and no others are looked into. `links_of` tells what the asker alone calls others, which comes
    before all other names.
    """

    def __init__(
        self,
        directory: Directory,
        networks_of: NetworksOf,
        outside: Outside | None = None,
        links_of: LinksOf | None = None,
    ) -> None:
        self._directory = directory
        self._networks_of = networks_of
        self._outside = outside
        self._links_of = links_of

    def answer(
        self, query: dns.message.Message, network: Network, asker: IPv4Address
    ) -> dns.message.Message | Elsewhere:
        """Return the answer to a message with one question, or ASK."""
        refusal = _refusal(query)
        if refusal is not None:
            return refused(query, refusal)
        (question,) = query.question
        networks = self._networks_of(network, asker)
        if question.rdtype == dns.rdatatype.PTR:
            found = self._reverse(query, question.name, networks)
        else:
            name = _spelled(question.name)
            addresses = self._linked(network, asker, name) or self.resolve(networks, name)
            found = _forward(query, question.name, addresses)
        if found is not None:
            return found
        if all(member.internal for member in networks):
            # No way out, not for questions either.
            return refused(query, dns.rcode.NXDOMAIN)
        return ASK

    def resolve(self, networks: Sequence[Network], name: str) -> list[Address]:
        """Return the addresses of a name in the first of the networks that has it.

        A name that an administrator gave is nobody else's: a container that calls itself `db` does
        not come in the place of the database.
        """
        name = name.lower().rstrip(".")
        for network in networks:
            own_domain = f".{network.name.lower()}"
            for called in (name, name.removesuffix(own_domain)):
                outside = self._outside and self._outside.address(network.id, called)
                if outside:
                    return [outside]
                addresses = self._directory.addresses(network.id, called)
                if addresses:
                    # So that clients that take the first one come to all of them.
                    random.shuffle(addresses)
                    return addresses
        return []

    def _linked(self, network: Network, asker: IPv4Address, name: str) -> list[Address]:
        """Return the addresses of what the asker alone calls by a name."""
        if self._links_of is None:
            return []
        for there, target in self._links_of(network, asker).get(name.lower(), ()):
            if addresses := self.resolve([there], target):
                return addresses
        return []

    def _reverse(
        self, query: dns.message.Message, name: dns.name.Name, networks: Sequence[Network]
    ) -> dns.message.Message | None:
        try:
            address = ip_address(dns.reversename.to_address(name))
        except (dns.exception.DNSException, ValueError):
            return None
        for network in networks:
            pools = network.pool, network.pool6
            found = self._outside and self._outside.name(network.id, address)
            if not found and any(address in pool.subnet for pool in pools if pool is not None):
                found = self._directory.name(network.id, address)
                if found is None:
                    # Nobody elsewhere knows our addresses.
                    return refused(query, dns.rcode.NXDOMAIN)
            if found:
                target = _target(found, network.name)
                if target is None:
                    return refused(query, dns.rcode.NXDOMAIN)
                response = _response(query)
                response.answer.append(
                    dns.rrset.from_text(name, SECONDS_TO_LIVE, "IN", "PTR", target.to_text())
                )
                return response
        return None


def _spelled(name: dns.name.Name) -> str:
    """Return a name as users write it: aliases have spaces in them, or letters of any alphabet."""
    return b".".join(label for label in name.labels if label).decode("utf-8", "replace")


def _target(name: str, network: str) -> dns.name.Name | None:
    """Return the name of an address: with its network's, where that can be a part of one.

    None where even the container's is no name for DNS: one of 64 letters, or with empty parts.
    """
    own = [label.encode() for label in name.split(".")]
    for labels in ([*own, *(label.encode() for label in network.split("."))], own):
        try:
            return dns.name.Name([*labels, b""])
        except (dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.NameTooLong):
            continue
    return None


def _forward(
    query: dns.message.Message, name: dns.name.Name, addresses: Sequence[Address]
) -> dns.message.Message | None:
    if not addresses:
        return None
    response = _response(query)
    wanted = query.question[0].rdtype
    for kind, version in ((dns.rdatatype.A, 4), (dns.rdatatype.AAAA, 6)):
        texts = [str(address) for address in addresses if address.version == version]
        if texts and wanted in (kind, dns.rdatatype.ANY):
            response.answer.append(dns.rrset.from_text(name, SECONDS_TO_LIVE, "IN", kind, *texts))
    # Any other type: the name is known, and has no such data.
    return response


def serves(network: Network) -> bool:
    """Tell whether a network has a name server: those that users made, as with Docker."""
    return network.kind is Kind.BRIDGE and not network.predefined and not network.management


def refused(query: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    """Return an answer that says no more than a code."""
    response = _response(query)
    response.set_rcode(code)
    return response


def most_udp_bytes(query: dns.message.Message) -> int:
    """Return how long an answer by UDP may be."""
    if query.edns < 0:
        return UDP_BYTES
    return min(max(query.payload, UDP_BYTES), MOST_UDP_BYTES)


def wire(response: dns.message.Message, most_bytes: int) -> bytes:
    """Return an answer as it is sent; what is too long is cut, and says so.

    Every record is about the name in question, so all of them refer to it there. dnspython looks
    for what each part of a name could refer to, which takes 5 ms for a name of 127 parts.
    """
    (question,) = response.question
    asked = b"".join(bytes([len(label)]) + label for label in question.name.labels)
    asked += _QUESTION.pack(question.rdtype, question.rdclass)
    found = b"".join(
        _NAME_IN_QUESTION + _RECORD.pack(rrset.rdtype, rrset.rdclass, rrset.ttl, len(data)) + data
        for rrset in response.answer
        for data in (record.to_wire() for record in rrset)
    )
    records = sum(len(rrset) for rrset in response.answer)
    options = b""
    if response.opt is not None:
        opt, data = response.opt, response.opt[0].to_wire()
        options = b"\0" + _RECORD.pack(opt.rdtype, opt.rdclass, opt.ttl, len(data)) + data
    flags = response.flags
    if HEADER.size + len(asked) + len(found) + len(options) > most_bytes:
        flags, found, records = flags | dns.flags.TC, b"", 0
    header = HEADER.pack(response.id, flags, 1, records, 0, int(response.opt is not None))
    return header + asked + found + options


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.edns > 0:
        return dns.rcode.BADVERS
    (question,) = query.question
    if question.rdclass != dns.rdataclass.IN or question.rdtype in TRANSFERS:
        return dns.rcode.REFUSED
    return None


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(
        query, recursion_available=True, our_payload=MOST_UDP_BYTES
    )
    if response.edns > 0:
        response.use_edns(0, payload=MOST_UDP_BYTES)
    return response
