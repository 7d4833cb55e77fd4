"""Names of what the instance has on the host, by which everything of ours can be found again."""

from dataclasses import dataclass

TAP_DIGITS = 6
"""With "vt255-" before them they make 12 of the 15 characters that an interface's name may have."""

LINKS_OF_ALL = "vic"
"""What the names of all instances' bridges on a host begin with."""


@dataclass(frozen=True)
class Names:
    """The names of one instance."""

    instance_id: str
    slot: int

    @property
    def management_bridge(self) -> str:
        """Bridge of the management network."""
        return f"{LINKS_OF_ALL}{self.slot}m"

    @property
    def bridge_prefix(self) -> str:
        """What the names of all bridges of container networks begin with, and no other's."""
        return f"{LINKS_OF_ALL}{self.slot}b"

    @property
    def tap_prefix(self) -> str:
        """What the names of all taps begin with, and no other's."""
        return f"vt{self.slot}-"

    @property
    def uplink_prefix(self) -> str:
        """What the names of our ends of cables to other bridges begin with, and no other's."""
        return f"{LINKS_OF_ALL}{self.slot}u"

    @property
    def table(self) -> str:
        """The nftables table for routed packets, of family inet."""
        return f"vic_{self.instance_id}"

    @property
    def frame_table(self) -> str:
        """The nftables table for frames, of family bridge."""
        return f"vic_{self.instance_id}_l2"

    @property
    def comment_prefix(self) -> str:
        """What the comment of each of our rules in other programs' chains begins with."""
        return f"vic {self.instance_id}:"

    def bridge(self, ordinal: int) -> str:
        """Return the name of a container network's bridge."""
        return f"{self.bridge_prefix}{ordinal}"

    def uplink(self, ordinal: int) -> str:
        """Return the name of our end of the cable to an external network's parent bridge."""
        return f"{self.uplink_prefix}{ordinal}"

    def uplink_peer(self, ordinal: int) -> str:
        """Return the name of that cable's other end, a port of the parent bridge."""
        return f"{LINKS_OF_ALL}{self.slot}p{ordinal}"

    def tap(self, endpoint_id: str) -> str:
        """Return the name of an endpoint's tap."""
        return f"{self.tap_prefix}{endpoint_id[:TAP_DIGITS]}"

    def owns_link(self, name: str) -> bool:
        """Tell whether a link is a bridge, a tap or a cable of this instance."""
        return name == self.management_bridge or name.startswith(
            (self.bridge_prefix, self.tap_prefix, self.uplink_prefix, f"{LINKS_OF_ALL}{self.slot}p")
        )
