"""A Dockerfile's text as instructions: directives, comments, continued lines, flags.

Source: the Dockerfile reference, "Format" and "Parser directives".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import ApiError, bad_parameter

MAX_DOCKERFILE = 4 * 1024 * 1024
"""Bytes of a Dockerfile."""

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_KNOWN_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"[0-9]*<<-?['\"]?[A-Za-z_][A-Za-z0-9_]*['\"]?")
_TAKES_HEREDOCS = ("RUN", "COPY", "ADD")
NEEDS_BUILDKIT = (
    "requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build "
    "images with BuildKit enabled"
)


@dataclass(frozen=True)
class Instruction:
    """One instruction, as it is written."""

    name: str
    """In capitals."""

    rest: str
    """What follows name and flags."""

    flags: tuple[str, ...] = ()
    """Without their dashes: `chown=1:2`."""

    line: int = 0
    """Where it begins, from 1."""

    original: str = ""
    """All of it on one line, as the output tells it."""


@dataclass
class Dockerfile:
    """A whole file's instructions."""

    instructions: list[Instruction] = field(default_factory=list)
    escape: str = "\\"


def parse_error(line: int, why: str) -> ApiError:
    """A refusal of a line of the Dockerfile."""
    where = f" on line {line}" if line else ""
    return bad_parameter(f"dockerfile parse error{where}: {why}")


def lex(content: bytes) -> Dockerfile:
    """Read a Dockerfile. Raises a 400 that names the line."""
    if len(content) > MAX_DOCKERFILE:
        raise bad_parameter(f"the Dockerfile has more than {MAX_DOCKERFILE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad_parameter("the Dockerfile is not UTF-8") from None
    lines = text.replace("\r\n", "\n").split("\n")
    escape, first = _directives(lines)
    found = Dockerfile(escape=escape)
    for number, whole in _joined(lines, first, escape):
        found.instructions.append(instruction_of(whole, number, escape))
    if not found.instructions:
        raise bad_parameter("the Dockerfile (Dockerfile) cannot be empty")
    return found


def _directives(lines: list[str]) -> tuple[str, int]:
    """The escape character, and the first line behind the directives.

    `syntax` names a frontend of BuildKit's, which the classic builder doesn't ask, and `check` its
    linter.
    """
    escape, seen = "\\", set()
    for at, line in enumerate(lines):
        directive = _DIRECTIVE.fullmatch(line.strip())
        name = directive[1].lower() if directive else ""
        if directive is None or name not in _KNOWN_DIRECTIVES:
            return escape, at
        if name in seen:
            raise parse_error(at + 1, f"only one {name} parser directive can be used")
        seen.add(name)
        if name == "escape":
            escape = directive[2]
            if escape not in ("\\", "`"):
                raise parse_error(at + 1, f"invalid ESCAPE '{escape[:20]}' does not match ` or \\")
    return escape, len(lines)


def _joined(lines: list[str], first: int, escape: str) -> Iterator[tuple[int, str]]:
    """Whole instructions with the numbers of their first lines."""
    continued = re.compile(rf"{re.escape(escape)}[ \t]*$")
    pending, began = "", 0
    for number, line in enumerate(lines[first:], first + 1):
        if line.lstrip().startswith("#") or (began and not line.strip()):
            continue
        if not began:
            line = line.lstrip()
            began = number
        cut = continued.sub("", line)
        pending += cut
        if cut == line:
            if pending.strip():
                yield began, pending.strip()
            pending, began = "", 0
    if pending.strip():
        yield began, pending.strip()


def instruction_of(whole: str, line: int, escape: str) -> Instruction:
    """One instruction of its text. Raises a 400 that names the line."""
    parts = re.split(r"[\t\v\f\r ]+", whole, maxsplit=1)
    name, rest = parts[0].upper(), parts[1].strip() if len(parts) > 1 else ""
    flags: tuple[str, ...] = ()
    if name != "HEALTHCHECK":  # whose own reader takes its options
        flags, rest = _flags(rest, escape)
    if name in _TAKES_HEREDOCS and any(_HEREDOC.fullmatch(word) for word in rest.split()):
        raise parse_error(line, f"a heredoc (<<) {NEEDS_BUILDKIT}")
    return Instruction(name, rest, flags, line, whole)


def _flags(rest: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Leading words that begin with two dashes, quotes and escapes taken away, and the rest."""
    flags = []
    while rest.startswith("--"):
        word, at, quote = "", 0, ""
        while at < len(rest) and (quote or not rest[at].isspace()):
            char = rest[at]
            if char == escape and at + 1 < len(rest):
                at += 1
                word += rest[at]
            elif char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            else:
                word += char
            at += 1
        rest = rest[at:].lstrip()
        if word == "--":
            break
        flags.append(word[2:])
    return tuple(flags), rest
