"""Patterns: those of COPY's sources, and those of .dockerignore.

Source: Match in Go's path/filepath; the Dockerfile reference, ".dockerignore file".
"""

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

import re2

from gateway.errors import bad_parameter

_MAX_PATTERN = 4096
_PATTERN_MEMORY = 8 << 20
"""Bytes that a compiled pattern may take."""

_DEEP = "(?:.*/)?"
_NOTHING = r"[^\x00-\x{10FFFF}]"
# RE2 knows no surrogates, by which Python tells bytes that are no UTF-8: they are told by code
# points of a private plane.
_SURROGATES = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}


class Expression:
    """What paths fit. Matched by RE2, in linear time: patterns come from whoever builds."""

    def __init__(self, source: str) -> None:
        """Raises a 400 for one that takes too much memory."""
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _PATTERN_MEMORY
        try:
            self._compiled = re2.compile("(?s)" + source.translate(_SURROGATES), options)
        except re2.error:
            raise bad_parameter("a pattern that takes too much memory") from None

    def fits(self, path: str) -> bool:
        """Whether the whole of a path fits."""
        return self._compiled.fullmatch(path.translate(_SURROGATES)) is not None


def has_wildcards(pattern: str) -> bool:
    """Whether a source is a pattern and no plain path."""
    return re.search(r"(?<!\\)[*?\[]", pattern) is not None


@lru_cache(maxsize=256)
def expression_of(pattern: str) -> Expression:
    """A pattern of Go's filepath.Match, to be matched whole. Raises a 400 for a malformed one."""
    return _compiled(pattern, deep=False)


def _compiled(pattern: str, *, deep: bool) -> Expression:
    if len(pattern) > _MAX_PATTERN:
        raise bad_parameter(f"a pattern of more than {_MAX_PATTERN} characters")
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*" and deep and pattern.startswith("**", at):
            at += 2
            while pattern.startswith("*", at):
                at += 1
            if pattern.startswith("/", at):
                at += 1
                parts.append(_DEEP)
            else:
                parts.append(".*")
            continue
        if char == "*":
            # One star after another says nothing more.
            if not parts or parts[-1] != "[^/]*":
                parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            group, at = _group(pattern, at)
            parts.append(group)
            continue
        elif char == "\\":
            at += 1
            if at == len(pattern):
                raise _malformed(pattern)
            parts.append(re.escape(pattern[at]))
        else:
            parts.append(re.escape(char))
        at += 1
    return Expression("".join(parts))


def _group(pattern: str, at: int) -> tuple[str, int]:
    """A group of characters as a regular expression, and where it ends."""
    at += 1
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while at < len(pattern) and (pattern[at] != "]" or not ranges):
        low, at = _character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _character(pattern, at + 1)
        ranges.append(_range(low, high))
    if at >= len(pattern) or not ranges:
        raise _malformed(pattern)
    inner = "".join(ranges)
    if negated:
        return f"[^/{inner}]", at + 1
    return (f"[{inner}]" if inner else _NOTHING), at + 1


def _range(low: str, high: str) -> str:
    """A range of characters inside a group, without the slash, which no group matches."""
    if low > high or low == high == "/":
        return ""
    if low <= "/" <= high:
        return _range(low, ".") + _range("0", high)
    return f"{_point(low)}-{_point(high)}"


def _point(char: str) -> str:
    return f"\\x{{{_SURROGATES.get(ord(char), ord(char)):X}}}"


def _character(pattern: str, at: int) -> tuple[str, int]:
    if at < len(pattern) and pattern[at] == "\\":
        at += 1
    elif at < len(pattern) and pattern[at] in "-]":
        raise _malformed(pattern)
    if at >= len(pattern):
        raise _malformed(pattern)
    return pattern[at], at + 1


def _malformed(pattern: str) -> Exception:
    return bad_parameter(f"syntax error in pattern: {pattern[:100]}")


class IgnorePatterns:
    """What a .dockerignore leaves out."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises a 400 for a pattern that is none."""
        self._rules: list[tuple[bool, Expression]] = []
        for line in lines:
            if line.startswith("#") or not (pattern := line.strip()):
                continue
            kept = pattern.startswith("!")
            pattern = pattern[kept:].strip()
            if not pattern:
                raise bad_parameter('illegal exclusion pattern: "!"')
            pattern = posixpath.normpath(pattern).lstrip("/")
            self._rules.append((kept, _compiled(pattern, deep=True)))

    def leaves_out(self, path: str) -> bool:
        """Whether a path, or a directory that it is in, is left out: by the last rule that fits."""
        parts = path.split("/")
        heads = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        out = False
        for kept, expression in self._rules:
            if out == kept and any(expression.fits(head) for head in heads):
                out = not kept
        return out
