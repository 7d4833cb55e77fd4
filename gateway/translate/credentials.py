"""Registry credentials as clients send them."""

import base64
from typing import Any

from vic.storage.v1.image_pb2 import RegistryCredentials

from gateway.decoding import decode_json


def from_header(header: str) -> RegistryCredentials:
    """Read ``X-Registry-Auth``. What can't be read counts as none given, as with dockerd."""
    return from_json(decoded_header(header))


def decoded_header(header: str) -> dict[str, Any]:
    """Read a header of base64 with JSON in it; empty where that can't be read, or is no object."""
    padded = header + "=" * (-len(header) % 4)
    try:
        value = decode_json(base64.urlsafe_b64decode(padded.replace("+", "-").replace("/", "_")))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def from_json(value: dict[str, Any]) -> RegistryCredentials:
    """Read Docker's AuthConfig."""
    fields = {name.lower(): item for name, item in value.items() if isinstance(item, str)}
    username, password = fields.get("username", ""), fields.get("password", "")
    if not username and fields.get("auth"):
        username, password = _basic(fields["auth"])
    return RegistryCredentials(
        username=username,
        password=password,
        identity_token=fields.get("identitytoken", ""),
        registry_token=fields.get("registrytoken", ""),
        server_address=fields.get("serveraddress", ""),
    )


def _basic(auth: str) -> tuple[str, str]:
    try:
        username, _, password = base64.b64decode(auth).decode().partition(":")
    except ValueError:
        return "", ""
    return username, password.rstrip("\0")
