"""JSON that clients send: in bodies, and as text in queries and options."""

import json
from typing import Any

MAX_JSON_DEPTH = 64


def decode_json(text: str | bytes) -> Any:
    """Return JSON's value. Raises a ValueError that says what is wrong, also of deep nesting.

    Lone surrogates, which JSON can spell and nothing else can carry, are refused as well.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(_why(error)) from None
    _check_text(value)
    return value


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at offset {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _check_text(value: Any, depth: int = 0) -> None:
    if depth > MAX_JSON_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("a string is not valid Unicode") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, depth + 1)
            _check_text(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_text(item, depth + 1)
