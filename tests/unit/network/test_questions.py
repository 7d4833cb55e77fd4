"""Which messages the name server takes for questions, and how it writes its answers."""

import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.network.names import questions
from services.network.names.answers import refused, wire
from services.network.names.questions import MOST_OPTIONS, MOST_UDP_BYTES, parsed

LONGEST = b"".join(b"\x01a" for _ in range(127)) + b"\0"
"""A name of as many parts as fit."""
NAME = b"\3web\0"
IN_A = struct.pack("!HH", 1, 1)
RECORD = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + b"\x0a\0\0\1"
POINTING = b"\xc0\x0c" + struct.pack("!HHIH", 33, 1, 0, 8) + b"\0\0\0\0\0\0\xc0\x0c"
TSIG = b"\3key\0" + struct.pack("!HHIH", 250, 255, 0, 0)
COOKIE = struct.pack("!HH", 10, 8) + b"12345678"


def message(*counts: int, body: bytes = NAME + IN_A, flags: int = dns.flags.RD) -> bytes:
    return struct.pack("!6H", 7, flags, *counts) + body


def opt(options: bytes = b"", version: int = 0, owner: bytes = b"\0") -> bytes:
    return owner + struct.pack("!HHIH", 41, 1232, version << 16, len(options)) + options


def costly(size: int) -> bytes:
    """Return a message of a size, each of whose records has two long names."""
    records = (size - 12 - len(LONGEST + IN_A)) // len(POINTING)
    return message(1, 0, 0, records, body=LONGEST + IN_A + records * POINTING)


@pytest.mark.parametrize(
    "data",
    [
        costly(65_000),
        costly(1200),
        message(0, 0, 0, 0, body=b""),
        message(2, 0, 0, 0, body=2 * (NAME + IN_A)),
        message(1, 1, 0, 0, body=NAME + IN_A + RECORD),
        message(1, 0, 1, 0, body=NAME + IN_A + RECORD),
        message(1, 0, 0, 1, body=NAME + IN_A + RECORD),
        message(1, 0, 0, 1, body=NAME + IN_A + TSIG),
        message(1, 0, 0, 2, body=NAME + IN_A + opt() + TSIG),
        message(1, 0, 0, 2, body=NAME + IN_A + opt() + opt()),
        message(1, 0, 0, 1, body=NAME + IN_A + opt(owner=b"\xc0\x0c")),
        message(1, 0, 0, 1, body=NAME + IN_A + opt(COOKIE * (MOST_OPTIONS + 1))),
        message(1, 0, 0, 1, body=NAME + IN_A + opt(COOKIE[:-1])),
        message(1, 0, 0, 1, body=NAME + IN_A + opt(COOKIE) + b"more"),
        message(1, 0, 0, 1, body=NAME + IN_A + opt(b"\0" * MOST_UDP_BYTES)),
        message(1, 0, 0, 1, body=NAME + IN_A + opt()[:-1]),
        message(1, 0, 0, 0, body=NAME + IN_A + b"more"),
        message(1, 0, 0, 0, body=NAME + IN_A[:-1]),
        message(1, 0, 0, 0, body=b"\xc0\x04" + IN_A),
        message(1, 0, 0, 0, body=b"\x3fa"),
        message(1, 0, 0, 0, body=b"\1a" + LONGEST + IN_A),
    ],
)
def test_what_is_no_question_is_refused_before_it_is_parsed(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(dns.message, "from_wire")
    assert parsed(data, MOST_UDP_BYTES) == struct.pack("!6H", 7, 0x8181, 0, 0, 0, 0)


@pytest.mark.parametrize("name", [NAME, LONGEST, b"\0"])
@pytest.mark.parametrize(
    "others",
    [b"", opt(), opt(COOKIE * MOST_OPTIONS), opt(struct.pack("!HH", 12, 468) + b"\0" * 468)],
)
def test_a_question_is_taken_with_what_edns_says_about_it(name: bytes, others: bytes) -> None:
    data = message(1, 0, 0, int(bool(others)), body=name + IN_A + others)
    query = parsed(data, MOST_UDP_BYTES)
    assert isinstance(query, dns.message.Message)
    assert query == dns.message.from_wire(data)


def test_what_asks_for_something_else_is_told_so_and_an_answer_is_told_nothing() -> None:
    update = message(1, 0, 3, 0, flags=dns.opcode.to_flags(dns.opcode.UPDATE))
    assert parsed(update, MOST_UDP_BYTES) == struct.pack("!6H", 7, 0xA884, 0, 0, 0, 0)
    assert parsed(message(1, 0, 0, 0, flags=dns.flags.QR), MOST_UDP_BYTES) is None
    assert parsed(b"\0" * 11, MOST_UDP_BYTES) is None


def test_options_that_are_none_are_refused() -> None:
    subnet = struct.pack("!HH", 8, 4) + b"\0\1\xff\0"
    data = message(1, 0, 0, 1, body=NAME + IN_A + opt(subnet))
    assert parsed(data, MOST_UDP_BYTES) == struct.pack("!6H", 7, 0x8181, 0, 0, 0, 0)


@given(st.binary(max_size=80), st.integers(0, 3), st.booleans())
def test_any_bytes_are_read_in_peace(body: bytes, others: int, edns: bool) -> None:
    for data in (body, message(1, 0, 0, others, body=NAME + IN_A + edns * opt(body)[:-1] + body)):
        found = parsed(data, questions.MOST_BYTES)
        assert found is None or isinstance(found, dns.message.Message) or len(found) == 12


@pytest.mark.parametrize("name", ["web.", "a." * 126, "."])
@pytest.mark.parametrize("edns", [-1, 0])
def test_an_answer_is_written_as_it_is(name: str, edns: int) -> None:
    query = dns.message.make_query(name, "ANY", use_edns=edns)
    answer = dns.message.make_response(query, recursion_available=True, our_payload=1232)
    for kind, texts in (("A", ["10.0.0.1", "10.0.0.2"]), ("AAAA", ["fd00::1"]), ("PTR", ["a.b."])):
        answer.answer.append(dns.rrset.from_text(name, 5, "IN", kind, *texts))
    whole = wire(answer, 65_535)
    assert dns.message.from_wire(whole) == answer
    assert dns.message.from_wire(whole).payload == answer.payload
    assert wire(answer, len(whole)) == whole
    cut = dns.message.from_wire(wire(answer, len(whole) - 1))
    assert cut.flags & dns.flags.TC
    assert (cut.question, cut.answer, cut.edns) == (answer.question, [], edns)


def test_a_code_beyond_the_header_is_written() -> None:
    query = dns.message.make_query("web.", "A", use_edns=0)
    answer = refused(query, dns.rcode.BADVERS)
    assert dns.message.from_wire(wire(answer, 512)).rcode() == dns.rcode.BADVERS
