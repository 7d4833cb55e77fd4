"""Names of containers: what is allowed, and one for who gave none."""

import re
import secrets

from portlayer.errors import InvalidArgument, Reason

# Source: moby/daemon/names, RestrictedNameChars.
_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ID = re.compile(r"[0-9a-f]{64}")

_ADJECTIVES = (
    "able agile amber bold brave brisk calm clear clever coral cosy crisp curious dapper eager "
    "early fair fast fine fond frank fresh gentle glad golden grand happy hardy honest humble "
    "jolly keen kind lively lucid lucky mellow merry mild neat nimble noble patient plain polite "
    "proud quick quiet rapid ready royal serene sharp silent silver smart smooth solid steady "
    "still sunny swift tidy true vivid warm wise witty young zesty"
).split()
_SURNAMES = (
    "abel ampere babbage bell bohr boole bose brahe cantor carson cauchy cerf church clarke "
    "codd curie darwin dijkstra dirac euler faraday fermat fermi fourier franklin galileo gauss "
    "germain goedel hamilton hamming hilbert hooke hopper hoare hubble huygens joule kepler knuth "
    "lagrange lamarr lamport laplace leibniz liskov lovelace maxwell meitner mendel milner "
    "minsky napier newton noether ohm pascal pasteur perlman planck ritchie sagan shannon "
    "tesla thompson torvalds turing volta wiles wirth yalow"
).split()


def validate_name(name: str) -> None:
    """Return when a name is allowed. Raises InvalidArgument in Docker's words."""
    if not _ALLOWED.fullmatch(name):
        raise InvalidArgument(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            Reason.INVALID_SPEC,
        )


def random_name() -> str:
    """Return a name that is easy to say; whoever uses it makes sure that it is free."""
    name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_SURNAMES)}"
    return name if secrets.randbelow(4) else f"{name}{secrets.randbelow(10)}"


def is_container_id(text: str) -> bool:
    """Tell whether a text is a full container ID."""
    return _ID.fullmatch(text) is not None


def new_container_id() -> str:
    """Return a fresh ID of 64 hexadecimal digits.

    An ID whose first twelve digits are all decimal is avoided, as Docker does: it is cut to those
    for the host name, which must not look like a number.
    """
    while True:
        container_id = secrets.token_hex(32)
        if not container_id[:12].isdecimal():
            return container_id
