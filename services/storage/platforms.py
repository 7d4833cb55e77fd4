"""Platforms as users write them."""

from __future__ import annotations

import re

from portlayer.errors import InvalidArgument, NotFound, Reason
from services.storage.imagec.manifest import Platform
from services.storage.imagec.pull import HOST_PLATFORM

_COMPONENT = re.compile(r"[a-z0-9_-]+")

_PARTS = 3
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
_PROCESSORS = ("amd64", "386", "arm", "arm64", "ppc64le", "riscv64", "s390x", "loong64", "mips64le")
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
"""Other names of architectures, as Docker takes them."""


def parse_platform(text: str) -> Platform | None:
    """A platform as users write it, "linux/arm64/v8" or "arm64"; None for none.

    Source of what is refused in which words: Parse in containerd's platforms.

    Raises:
        InvalidArgument: it isn't one.
    """
    if not text:
        return None
    shown = f'"{text[:100]}"'
    parts = text.lower().split("/")
    if len(parts) > _PARTS:
        raise InvalidArgument(f"{shown}: cannot parse platform specifier: invalid argument")
    for part in parts:
        if not _COMPONENT.fullmatch(part):
            raise InvalidArgument(
                f'"{part[:100]}" is an invalid platform component of {shown}: platform specifier '
                'component must match "^[A-Za-z0-9_-]+$": invalid argument'
            )
    if len(parts) == 1:
        parts = _of_one_word(parts[0])
        if not parts:
            raise InvalidArgument(
                f"{shown}: unknown operating system or architecture: invalid argument"
            )
    parts[1] = _ARCHITECTURES.get(parts[1], parts[1])
    return Platform(*parts)


def check_platform(reference: str, has: Platform, wanted: Platform) -> None:
    """Refuse an image for another platform than is wanted, in dockerd's words.

    An image that says no variant is for any.

    Raises:
        NotFound: it is for another one; a pull may find it.
    """
    same = (has.os, has.architecture) == (wanted.os, wanted.architecture)
    if same and (not has.variant or not wanted.variant or has.variant == wanted.variant):
        return
    raise NotFound(
        f"image with reference {reference} was found but its platform ({has}) does not match "
        f"the specified platform ({wanted})",
        Reason.IMAGE_NOT_FOUND,
    )


def _of_one_word(word: str) -> list[str]:
    """An operating system for this host's processor, or a processor with its own system."""
    if word in _SYSTEMS:
        return [word, HOST_PLATFORM.architecture]
    if word in _ARCHITECTURES or word in _PROCESSORS:
        return [HOST_PLATFORM.os, word]
    return []
