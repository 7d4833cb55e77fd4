"""Image references as people write them.

Grammar: https://pkg.go.dev/github.com/distribution/reference. The storage facet is the judge of
whether a reference is valid; here they are only taken apart and shortened.
"""

import re

from gateway.errors import bad_parameter

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DEFAULT_DOMAINS = ("docker.io/", "index.docker.io/")


def is_name_only(reference: str) -> bool:
    """Whether a reference has neither tag nor digest."""
    return "@" not in reference and ":" not in reference.rpartition("/")[2]


def with_tag_or_digest(name: str, tag: str) -> str:
    """Join a name with what Docker's ``tag`` parameters hold: a tag, or a digest."""
    if not tag:
        return name
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


def with_default_tag(reference: str) -> str:
    """Add ``:latest`` to a reference that has neither tag nor digest."""
    return f"{reference}:latest" if is_name_only(reference) else reference


def without_tag(reference: str) -> str:
    """A reference's repository."""
    directory, slash, name = reference.partition("@")[0].rpartition("/")
    return f"{directory}{slash}{name.partition(':')[0]}"


def familiar(reference: str) -> str:
    """Docker's short form: without docker.io, and without library/ there."""
    for domain in _DEFAULT_DOMAINS:
        if reference.startswith(domain):
            return reference.removeprefix(domain).removeprefix("library/")
    return reference


def tag_target(repository: str, tag: str) -> str:
    """Join the ``repo`` and ``tag`` of a request that names an image: the latter goes before a tag
    in the former.
    """
    if not repository:
        raise bad_parameter("invalid reference format")
    if "@" in repository:
        raise bad_parameter("cannot import digest reference")
    if not tag:
        return repository
    if not _TAG.fullmatch(tag):
        raise bad_parameter("invalid tag format")
    directory, slash, name = repository.rpartition("/")
    return f"{directory}{slash}{name.partition(':')[0]}:{tag}"
