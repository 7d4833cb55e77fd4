"""Challenges of a 401 response.

Source: RFC 9110, section 11; Docker Registry v2 token authentication.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word for a name
_SCHEME = re.compile(rf"\s*,*\s*({_TOKEN})(?:\s+|\s*$|\s*(?=,))")
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_MAX_LENGTH = 8192


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate that a registry offers; scheme and names in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read the values of WWW-Authenticate; what can't be read ends its header's list."""
    found: list[Challenge] = []
    for text in headers:
        position = 0
        if len(text) > _MAX_LENGTH:
            continue
        while (scheme := _SCHEME.match(text, position)) and scheme.end() > position:
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(text, position):
                position = parameter.end()
                name, quoted, bare = parameter.groups()
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
                parameters[name.lower()] = value
            found.append(Challenge(scheme.group(1).lower(), parameters))
    return found
