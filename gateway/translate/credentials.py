"""Registry credentials as clients send them."""

import base64
import binascii
import json
from typing import Any

from vic.storage.v1.image_pb2 import RegistryCredentials


def from_header(header: str) -> RegistryCredentials:
    """Read ``X-Registry-Auth``. What can't be read counts as none given, as with dockerd."""
    padded = header + "=" * (-len(header) % 4)
    try:
        decoded = json.loads(base64.urlsafe_b64decode(padded.replace("+", "-").replace("/", "_")))
    except (ValueError, binascii.Error, RecursionError):
        return RegistryCredentials()
    return from_json(decoded) if isinstance(decoded, dict) else RegistryCredentials()


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
