"""Names of images as people write them.

Source: the grammar of distribution's reference package and Docker's "familiar" short forms:
`busybox` means `docker.io/library/busybox:latest`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import InvalidReference

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
MAX_PORT = 65535

_OFFICIAL = "library/"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::([0-9]{{1,5}}))?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """A repository in a registry, with a tag or a digest or neither."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The repository in full, "docker.io/library/busybox"."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as Docker prints it, "busybox"."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in rest else rest

    @property
    def suffix(self) -> str:
        """ ":tag" or "@digest" or both, as far as given."""
        tag = f":{self.tag}" if self.tag is not None else ""
        return tag + (f"@{self.digest}" if self.digest is not None else "")

    @property
    def familiar(self) -> str:
        """The reference as Docker prints it, "busybox:latest"."""
        return self.familiar_name + self.suffix

    def __str__(self) -> str:
        """The reference in full, "docker.io/library/busybox:latest"."""
        return self.name + self.suffix

    @property
    def target(self) -> str:
        """What to ask a registry for: the digest where there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_default_tag(self) -> Reference:
        """The same with ":latest" where there is neither tag nor digest."""
        if self.tag is None and self.digest is None:
            return replace(self, tag=DEFAULT_TAG)
        return self

    def with_tag(self, tag: str) -> Reference:
        """The repository with this tag. Raises InvalidReference."""
        if not _TAG.fullmatch(tag):
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        """The repository with this digest and no tag."""
        return replace(self, tag=None, digest=digest)


def parse_reference(text: str) -> Reference:
    """Read a reference in short or in full form; no tag is added.

    Raises:
        InvalidReference: with Docker's sentence.
    """
    if _HEX_ID.fullmatch(text):
        raise InvalidReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    rest, at, digest_text = text.partition("@")
    digest = _digest(digest_text) if at else None
    domain, rest = _split_domain(rest)
    path, colon, tag_text = rest.partition(":")
    tag = tag_text if colon else None
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if path != path.lower():
        raise InvalidReference(
            f"invalid reference format: repository name ({path}) must be lowercase"
        )
    if not _is_domain(domain) or not _PATH.fullmatch(path):
        raise InvalidReference("invalid reference format")
    if tag is not None and not _TAG.fullmatch(tag):
        raise InvalidReference("invalid reference format")
    if len(domain) + 1 + len(path) > MAX_NAME:
        raise InvalidReference(f"repository name must not be more than {MAX_NAME} characters")
    return Reference(domain, path, tag, digest)


def _is_domain(text: str) -> bool:
    found = _DOMAIN.fullmatch(text)
    return found is not None and int(found[1] or 0) <= MAX_PORT


def _split_domain(text: str) -> tuple[str, str]:
    """A first component is a host when it has a dot, a port or a capital, or is localhost."""
    first, slash, rest = text.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        return DEFAULT_DOMAIN, text
    return (DEFAULT_DOMAIN if first == "index.docker.io" else first), rest


def _digest(text: str) -> Digest:
    algorithm, _, _ = text.partition(":")
    try:
        return Digest(text)
    except ValueError as error:
        if re.fullmatch(r"sha(384|512)", algorithm):
            raise InvalidReference("unsupported digest algorithm") from error
        raise InvalidReference("invalid reference format") from error
