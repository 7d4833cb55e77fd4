"""Which messages are questions, told from their bytes before anything is made of them.

Parsing costs what the sender likes: a datagram of 64 KiB whose records refer to one long name takes
a minute. What passes here is one question and at most what EDNS says about it, and a few hundred
microseconds' work.

Source: RFC 1035, 4.1; RFC 6891, 6.1
"""

import struct
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype

MOST_BYTES = 4096
"""Of a question by TCP. Without options it has 271 at most; padding (RFC 8467) makes it 384."""

MOST_UDP_BYTES = 1232
"""What passes everywhere in one packet (DNS flag day 2020), question or answer."""

MOST_OPTIONS = 16
"""Of EDNS. Resolvers send up to four; each costs 10 μs."""

HEADER: Final = struct.Struct("!6H")
_FIXED: Final = struct.Struct("!HH")
_OPT: Final = struct.Struct("!HHIH")
_OPTION: Final = struct.Struct("!HH")

_MOST_NAME_BYTES = 255
_MOST_LABEL_BYTES = 63
_OPCODE_BITS = 0x7800


def parsed(data: bytes, most_bytes: int) -> dns.message.Message | bytes | None:
    """Return the question in a message, or how to refuse it; None: it gets no answer.

    Only what has a header and is no answer itself is refused, so that two servers never talk.
    """
    if len(data) < HEADER.size:
        return None
    number, flags, *counts = HEADER.unpack_from(data)
    if flags & dns.flags.QR:
        return None
    if dns.opcode.from_flags(flags) != dns.opcode.QUERY:
        return _refusal(number, flags, dns.rcode.NOTIMP)
    if len(data) > most_bytes or not _sound(data, counts):
        return _refusal(number, flags, dns.rcode.FORMERR)
    try:
        return dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return _refusal(number, flags, dns.rcode.FORMERR)


def _sound(data: bytes, counts: list[int]) -> bool:
    """Tell whether a message has one question, and besides that no more than options of EDNS."""
    questions, answers, authorities, others = counts
    if (questions, answers, authorities) != (1, 0, 0) or others > 1:
        return False
    place = HEADER.size
    while place < len(data) and data[place]:
        # Nothing is there yet that a name could point to.
        if data[place] > _MOST_LABEL_BYTES:
            return False
        place += 1 + data[place]
    end = place + 1 + _FIXED.size
    if place + 1 - HEADER.size > _MOST_NAME_BYTES or end > len(data):
        return False
    return _sound_options(data[end:]) if others else end == len(data)


def _sound_options(record: bytes) -> bool:
    """Tell whether a record is one of EDNS with few options, and ends where it says."""
    place = 1 + _OPT.size
    if len(record) < place or record[0]:
        return False
    kind, _payload, _flags, length = _OPT.unpack_from(record, 1)
    if kind != dns.rdatatype.OPT or place + length != len(record):
        return False
    for _ in range(MOST_OPTIONS):
        if place + _OPTION.size > len(record):
            break
        place += _OPTION.size + _OPTION.unpack_from(record, place)[1]
    return place == len(record)


def _refusal(number: int, flags: int, code: dns.rcode.Rcode) -> bytes:
    """Return an answer that is no more than a header, whatever came after the question's own."""
    kept = flags & (_OPCODE_BITS | dns.flags.RD)
    return HEADER.pack(number, dns.flags.QR | dns.flags.RA | kept | code, 0, 0, 0, 0)
