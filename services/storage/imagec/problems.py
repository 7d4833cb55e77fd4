"""Error bodies of registries.

Source: OCI distribution specification, "Error Codes".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from portlayer.web.transport import Response

MAX_BODY = 64 * 1024
MAX_TEXT = 500


@dataclass(frozen=True)
class Problem:
    """First error of an error response."""

    code: str
    text: str
    """As Docker prints it, "manifest unknown: manifest unknown"."""


async def problem_of(response: Response, default: str) -> Problem:
    """Read an error response; `default` is the text where the body says nothing of use."""
    body = bytearray()
    async for chunk in response.chunks():
        body += chunk
        if len(body) > MAX_BODY:
            break
    return parse_problem(bytes(body[:MAX_BODY]), default)


def parse_problem(body: bytes, default: str) -> Problem:
    """Read the body of an error response."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return Problem("", default)
    if not isinstance(answer, dict):
        return Problem("", default)
    errors = answer.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        code = _text(errors[0].get("code"))
        message = _text(errors[0].get("message"))
        if code or message:
            words = code.replace("_", " ").lower()
            return Problem(code, ": ".join(part for part in (words, message) if part))
    # Token servers answer {"details": …}, OAuth2's {"error": …, "error_description": …}.
    for key in ("details", "error_description", "message", "error"):
        if text := _text(answer.get(key)):
            return Problem("", f"unauthorized: {text}" if "unauthorized" in default else text)
    return Problem("", default)


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value[:MAX_TEXT] if char.isprintable())
