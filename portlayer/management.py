"""The management networks of instances, by which the VMs of containers are spoken to."""

from ipaddress import IPv4Network

MANAGEMENT_RANGE = IPv4Network("100.112.0.0/12")
"""A sixteenth of the shared address space (RFC 6598), which is routed nowhere on the Internet."""

MANAGEMENT_PREFIX_LENGTH = 20
"""Gives each of 256 instances an address for 4,093 container VMs."""


def management_subnet(slot: int) -> IPv4Network:
    """Return the subnet of an instance's management network."""
    step = 1 << (32 - MANAGEMENT_PREFIX_LENGTH)
    first = int(MANAGEMENT_RANGE.network_address) + slot * step
    return IPv4Network((first, MANAGEMENT_PREFIX_LENGTH))
