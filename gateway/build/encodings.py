"""Bodies that a server has packed for the way (RFC 9110, 8.4): they are stored as they were before.

We ask for none, yet servers that keep files packed send them so. dockerd asks for gzip.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator

from portlayer.threads import in_thread

_PIECE = 1 << 20
_PLAIN = ("", "identity")
_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""By which zlib reads gzip's header and trailer, and nothing else."""


class BadEncoding(ValueError):
    """A body that can't be unpacked, with its reason."""


def check_encoding(encoding: str) -> None:
    """Raise BadEncoding for a Content-Encoding that isn't unpacked here."""
    if _name(encoding) not in (*_PLAIN, *_GZIP):
        raise BadEncoding(f'unsupported Content-Encoding "{encoding[:200]}"')


def is_packed(encoding: str) -> bool:
    """Whether a body's length isn't that of what it holds."""
    return _name(encoding) not in _PLAIN


async def unpacked(pieces: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes, None]:
    """What a body holds, in pieces of at most 1 MiB where it is packed.

    Raises:
        BadEncoding: it is damaged or cut, or something else follows.
    """
    if not is_packed(encoding):
        async for piece in pieces:
            yield piece
        return
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    begun = False
    try:
        async for piece in pieces:
            rest = piece
            # What was found but had no room comes with the next call, be there bytes left or not.
            full = False
            while rest or full:
                if inflater.eof:  # members may follow one another
                    inflater = zlib.decompressobj(_GZIP_WINDOW)
                begun = True
                plain = await in_thread(inflater.decompress, rest, _PIECE)
                full = len(plain) == _PIECE and not inflater.eof
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                if plain:
                    yield plain
    except zlib.error as error:
        raise BadEncoding(f"its gzip is damaged: {error}") from error
    if begun and not inflater.eof:
        raise BadEncoding("its gzip ends in the middle")


def _name(encoding: str) -> str:
    return encoding.strip().lower()
