"""Docker's options of bridge networks: which ones count here, and what their values mean.

Source: https://docs.docker.com/engine/network/drivers/bridge/#options
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason

MTU = "com.docker.network.driver.mtu"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
BRIDGE_NAME = "com.docker.network.bridge.name"
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"

ANY_ADDRESS = IPv4Address(0)

SMALLEST_MTU = 68
LARGEST_MTU = 65535

# https://pkg.go.dev/strconv#ParseBool
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
WHOLE_NUMBER = re.compile(r"[-+]?[0-9]{1,10}")


@dataclass(frozen=True)
class BridgeOptions:
    """What a bridge network's options say."""

    mtu: int
    icc: bool = True
    """Whether members may talk to one another."""
    masquerade: bool = True
    host_address: IPv4Address = ANY_ADDRESS
    """Where ports are published that name no address of the host."""


def parse_options(options: Mapping[str, str], default_mtu: int) -> BridgeOptions:
    """Read a network's options.

    Raises NotImplementedYet naming an option that isn't known here, and InvalidArgument
    (INVALID_NETWORK) for a value that makes no sense.
    """
    unknown = sorted(options.keys() - {MTU, ICC, MASQUERADE, HOST_BINDING})
    if unknown:
        raise NotImplementedYet(f"network option {unknown[0]} is not implemented")
    return BridgeOptions(
        mtu=_mtu(options[MTU]) if MTU in options else default_mtu,
        icc=_flag(options, ICC),
        masquerade=_flag(options, MASQUERADE),
        host_address=_host_address(options.get(HOST_BINDING, "")),
    )


def default_bridge_options(bridge: str, mtu: int) -> dict[str, str]:
    """Return the options that the default network shows, as Docker's does."""
    return {
        DEFAULT_BRIDGE: "true",
        ICC: "true",
        MASQUERADE: "true",
        HOST_BINDING: str(ANY_ADDRESS),
        BRIDGE_NAME: bridge,
        MTU: str(mtu),
    }


def _mtu(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text):
        raise _unreadable(MTU, text, f'strconv.Atoi: parsing "{text}": invalid syntax')
    # dockerd takes what is out of this range, and fails at the first start.
    if not SMALLEST_MTU <= int(text) <= LARGEST_MTU:
        raise InvalidArgument(f"invalid MTU number: {text}", Reason.INVALID_NETWORK)
    return int(text)


def _host_address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text) if text else ANY_ADDRESS
    except ValueError as error:
        raise _unreadable(HOST_BINDING, text, "nil ip") from error


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "true")
    if text not in TRUE | FALSE:
        raise _unreadable(name, text, f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in TRUE


def _unreadable(name: str, text: str, why: str) -> InvalidArgument:
    """Return the refusal in dockerd's words, which has them from Go's strconv."""
    return InvalidArgument(f"failed to parse {name} value: {text} ({why})", Reason.INVALID_NETWORK)
