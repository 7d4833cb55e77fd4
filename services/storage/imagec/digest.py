"""Content digests and chain IDs.

Source: OCI image specification, "Digests" and "Layer ChainID".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """A checked "sha256:" digest: whoever holds one may use it in a path.

    Raises ValueError on anything else; sha512 is registered too, but no registry uses it.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        """Check and wrap."""
        if not _SHA256.fullmatch(text):
            raise ValueError(f"not a sha256 digest: {text[:100]!r}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Digest of `data`."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 digits, as Docker prints IDs."""
        return self[7:19]


def chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """Chain ID of each layer, lowest first."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
