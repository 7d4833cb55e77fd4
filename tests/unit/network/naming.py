"""Containers with names, and questions for them."""

from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from dns.name import Name

from services.network.model import Network, Wish
from services.network.names.answers import ASK, Answers
from services.network.names.askers import Askers
from tests.unit.network.conftest import Facet

ID = "c0ffee" + "0" * 58


async def run(facet: Facet, container_id: str, name: str, *wishes: Wish, hostname: str = "") -> str:
    """Run a container; returns its address in its first network."""
    reservation = await facet.endpoints.reserve(container_id, name, hostname, wishes)
    await facet.endpoints.bind(container_id)
    return str(reservation.endpoints[1].ipv4)


def asked(
    facet: Facet, network: str, asker: str, name: str | Name, kind: str = "A", *, edns: int = 0
) -> tuple[str, list[str]] | None:
    """Ask as a container would; returns code and sorted answers, or None for "ask elsewhere"."""
    askers = Askers(facet.networks, facet.endpoints)
    directory = facet.endpoints.directory
    rules = Answers(directory, askers.networks_of, links_of=askers.links_of)
    return questioned(rules, facet.networks.find(network), asker, name, kind, edns=edns)


def questioned(
    rules: Answers,
    network: Network,
    asker: str,
    name: str | Name,
    kind: str = "A",
    *,
    edns: int = 0,
) -> tuple[str, list[str]] | None:
    """Ask somebody who answers; returns code and sorted answers, or None for "ask elsewhere"."""
    query = dns.message.make_query(name, kind, use_edns=edns)
    answer = rules.answer(query, network, IPv4Address(asker))
    if answer is ASK:
        return None
    texts = sorted(item.to_text() for rrset in answer.answer for item in rrset)
    return dns.rcode.to_text(answer.rcode()), texts
