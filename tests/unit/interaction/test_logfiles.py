"""What was appended to a log is read back, whatever happened in between."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.interaction import logframes
from services.interaction.logfiles import LogFiles, LogLimits, log_numbers, log_path
from services.interaction.logreader import ALL, LogQuery, LogReader, LogRecord
from services.interaction.output import Chunk, Stream

NO_LIMITS = LogLimits()
OUT, ERR = Stream.STDOUT, Stream.STDERR


def chunks(*pieces: tuple[Stream, bytes], first: int = 1, time_ns: int = 1000) -> list[Chunk]:
    """Return chunks a nanosecond apart, numbered on."""
    return [
        Chunk(stream, first + index, time_ns + index, data)
        for index, (stream, data) in enumerate(pieces)
    ]


def read(directory: Path, files: LogFiles, query: LogQuery | None = None) -> list[LogRecord]:
    """Return all that a query finds."""
    reader = LogReader(directory, query or LogQuery())
    reader.seek(files.end)
    records: list[LogRecord] = []
    while batch := reader.read(files.end):
        records += batch
    reader.close()
    return records


def text(records: Sequence[LogRecord], stream: Stream | None = None) -> bytes:
    """Return the bytes of records, of one stream or both."""
    return b"".join(r.data for r in records if stream in (None, r.stream))


def test_streams_times_and_line_starts_are_kept(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    files.append("b", chunks((OUT, b"ab"), (ERR, b"x\n"), (OUT, b"c\nd\n"), (OUT, b"e")))
    assert [(r.stream, r.data, r.line_start, r.time_ns) for r in read(tmp_path, files)] == [
        (OUT, b"ab", True, 1000),
        (ERR, b"x\n", True, 1001),
        (OUT, b"c\nd\n", False, 1002),
        (OUT, b"e", True, 1003),
    ]


def test_a_new_run_begins_its_lines_anew(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    files.append("first", chunks((OUT, b"unfinished")))
    files.append("second", chunks((OUT, b"next\n")))
    assert [r.line_start for r in read(tmp_path, files)] == [True, True]


def test_the_position_is_known_after_a_restart(tmp_path: Path) -> None:
    LogFiles(tmp_path, NO_LIMITS).append("b", chunks((OUT, b"a"), (OUT, b"b"), first=41))
    files = LogFiles(tmp_path, NO_LIMITS)
    assert files.last_sequence("b") == 42
    assert files.last_sequence("another") == 0
    files.append("b", chunks((OUT, b"c\n"), first=43))
    assert text(read(tmp_path, files)) == b"abc\n"
    assert [r.line_start for r in read(tmp_path, files)] == [True, False, False]


def test_a_guest_with_a_wrong_clock_does_not_spoil_the_order(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    before = time.time_ns()
    for sequence, claimed in enumerate((2**63, 5, 0), start=1):
        files.append("b", [Chunk(OUT, sequence, claimed, b"x")])
    times = [r.time_ns for r in read(tmp_path, files)]
    assert before <= times[0] <= times[1] <= times[2] <= time.time_ns()


@pytest.mark.parametrize("max_files", [1, 3])
def test_rotation_keeps_the_newest_files(tmp_path: Path, max_files: int) -> None:
    limits = LogLimits(max_size=500, max_files=max_files)
    files = LogFiles(tmp_path, limits)
    lines = [b"line %d\n" % n for n in range(200)]
    for number, line in enumerate(lines):
        files.append("b", chunks((OUT, line), first=number + 1))
    assert len(log_numbers(tmp_path)) == max_files
    kept = text(read(tmp_path, files))
    assert b"".join(lines).endswith(kept)
    assert kept.count(b"\n") >= (max_files - 1) * 9
    assert LogFiles(tmp_path, limits).last_sequence("b") == 200


def test_one_append_spreads_over_files(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, LogLimits(max_size=500, max_files=1000))
    assert files.append("b", chunks(*[(OUT, b"0123456789\n")] * 2000)) == 2000
    assert len(log_numbers(tmp_path)) == 2000 // 10
    assert text(read(tmp_path, files)) == b"0123456789\n" * 2000


def test_a_reader_goes_on_where_files_are_rotated_away(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, LogLimits(max_size=500, max_files=2))
    files.append("b", chunks((OUT, b"first\n")))
    reader = LogReader(tmp_path, LogQuery())
    reader.seek(files.end)
    assert text(reader.read(files.end)) == b"first\n"
    for number in range(100):
        files.append("b", chunks((OUT, b"%d\n" % number), first=number + 2))
    rest = b""
    while batch := reader.read(files.end):
        rest += text(batch)
    reader.close()
    # What was in its open file and in the files that are left; never anything twice.
    assert rest.startswith(b"0\n1\n")
    assert rest.endswith(b"98\n99\n")
    assert len(set(rest.split())) == len(rest.split())


@pytest.mark.parametrize("cut", [1, 3, 20, 43])
def test_a_frame_that_was_cut_short_is_removed(tmp_path: Path, cut: int) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    files.append("b", chunks((OUT, b"whole\n"), (OUT, b"torn\n")))
    path = log_path(tmp_path, 1)
    os.truncate(path, path.stat().st_size - cut)
    files = LogFiles(tmp_path, NO_LIMITS)
    assert files.last_sequence("b") == 1
    files.append("b", chunks((OUT, b"again\n"), first=2))
    assert text(read(tmp_path, files)) == b"whole\nagain\n"


def test_zeros_after_a_power_loss_are_removed(tmp_path: Path) -> None:
    LogFiles(tmp_path, NO_LIMITS).append("b", chunks((OUT, b"whole\n")))
    with log_path(tmp_path, 1).open("ab") as file:
        file.write(bytes(10_000))
    files = LogFiles(tmp_path, NO_LIMITS)
    assert text(read(tmp_path, files)) == b"whole\n"
    assert log_path(tmp_path, 1).stat().st_size == logframes.OVERHEAD + 6


def test_a_full_disk_leaves_whole_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    files.append("b", chunks((OUT, b"before\n")))
    real = os.pwritev

    def short(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
        return real(descriptor, [b"".join(pieces)[:-2]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    with pytest.raises(OSError, match="No space"):
        files.append("b", chunks((OUT, b"lost\n"), first=2))
    assert text(read(tmp_path, files)) == b"before\n"
    monkeypatch.undo()
    assert files.append("b", chunks((OUT, b"after\n"), first=2)) == 1
    assert text(read(tmp_path, files)) == b"before\nafter\n"


def test_what_was_stored_before_the_disk_was_full_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    real, calls = os.pwritev, 0

    def once(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, pieces, offset)

    monkeypatch.setattr(os, "pwritev", once)
    stored = files.append("b", chunks(*[(OUT, b"x")] * 1000))
    assert 0 < stored < 1000
    assert files.last_sequence("b") == stored
    assert text(read(tmp_path, files)) == b"x" * stored


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(0, b""), (1, b"d"), (2, b"c\nd"), (3, b"x\nc\nd"), (4, b"ax\nb\nc\nd"), (9, b"ax\nb\nc\nd")],
)
def test_tail_counts_lines_over_both_streams(tmp_path: Path, tail: int, expected: bytes) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    # Line "ab" begins before "x", so that with three lines its second half is no whole line.
    files.append("b", chunks((OUT, b"a"), (ERR, b"x\n"), (OUT, b"b\nc\n"), (OUT, b"d")))
    assert text(read(tmp_path, files, LogQuery(tail=tail))) == expected


def test_times_choose_entries_among_the_last_lines(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    files.append("b", chunks(*[(OUT, b"%d" % n) for n in range(10)]))

    def found(**query: int) -> bytes:
        return text(read(tmp_path, files, LogQuery(**query)))  # type: ignore[arg-type]

    assert found(since_ns=1007) == b"789"
    assert found(until_ns=1002) == b"012"
    assert found(since_ns=1003, until_ns=1004) == b"34"
    assert found(since_ns=2000) == b""
    assert found(since_ns=5) == b"0123456789"


def test_one_stream_can_be_chosen(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    files.append("b", chunks((OUT, b"o\n"), (ERR, b"e\n")))
    assert text(read(tmp_path, files, LogQuery(streams=frozenset({ERR})))) == b"e\n"


def test_damage_in_the_middle_hides_no_later_file(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, LogLimits(max_size=100, max_files=10))
    for n in range(6):
        files.append("b", chunks((OUT, b"%d%d\n" % (n, n)), first=n + 1))
    with log_path(tmp_path, 1).open("r+b") as file:
        file.seek(logframes.HEAD_SIZE)
        file.write(b"!")
    assert text(read(tmp_path, files)) == b"33\n44\n55\n"


def test_binary_of_any_length_is_kept(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, NO_LIMITS)
    data = os.urandom(3 * 1024 * 1024)
    step = 256 * 1024
    pieces = [(OUT, data[i : i + step]) for i in range(0, len(data), step)]
    files.append("b", chunks(*pieces))
    assert text(read(tmp_path, files)) == data
    assert text(read(tmp_path, files, LogQuery(tail=10**9))) == data


def lines_of(pieces: Sequence[tuple[Stream, bytes]]) -> list[tuple[int, Stream, bytes]]:
    """Return the lines of an output: where each begins, its stream, its bytes."""
    open_lines: dict[Stream, int] = {}
    lines: list[tuple[int, Stream, bytes]] = []
    for order, (stream, data) in enumerate(pieces):
        for piece in data.splitlines(keepends=True) if data else []:
            if stream in open_lines:
                index = open_lines[stream]
                lines[index] = (*lines[index][:2], lines[index][2] + piece)
            else:
                lines.append((order, stream, piece))
                open_lines[stream] = len(lines) - 1
            if piece.endswith(b"\n"):
                del open_lines[stream]
    return lines


PIECES = st.lists(
    st.tuples(
        st.sampled_from(list(Stream)),
        st.text(alphabet="ab\n", max_size=12).map(str.encode),
    ),
    max_size=40,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=PIECES,
    tail=st.integers(min_value=ALL, max_value=15),
    max_size=st.sampled_from([0, 60, 150, 100_000]),
    batch=st.integers(min_value=1, max_value=7),
    restart=st.booleans(),
)
def test_the_last_lines_are_those_of_the_output(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[Stream, bytes]],
    tail: int,
    max_size: int,
    batch: int,
    restart: bool,
) -> None:
    directory = tmp_path_factory.mktemp("log")
    limits = LogLimits(max_size, 10_000)
    files = LogFiles(directory, limits)
    everything = chunks(*pieces)
    for start in range(0, len(everything), batch):
        if restart:
            files.close()
            files = LogFiles(directory, limits)
        assert files.last_sequence("b") == start
        files.append("b", everything[start : start + batch])
    records = read(directory, files, LogQuery(tail=tail))
    files.close()
    lines = lines_of(pieces)
    wanted = lines if tail < 0 else lines[len(lines) - min(tail, len(lines)) :]
    for stream in Stream:
        expected = b"".join(data for _, s, data in wanted if s is stream)
        assert text(records, stream) == expected
    starts = (r.line_start + r.data.count(b"\n") - r.data.endswith(b"\n") for r in records)
    assert sum(starts) == len(wanted)


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=200), noise=st.binary(max_size=100), sequence=st.integers(0, 2**64 - 1)
)
def test_a_frame_is_read_from_both_ends(data: bytes, noise: bytes, sequence: int) -> None:
    frame = logframes.Frame(ERR, True, frozenset({OUT}), 2**60, sequence, 7, data)
    encoded = b"".join(logframes.encode(frame))
    assert logframes.decode(noise + encoded, len(noise)) == frame
    assert logframes.decode_last(noise + encoded + noise, len(noise) + len(encoded)) == frame


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_no_frame(noise: bytes) -> None:
    assert logframes.decode(noise) is None
    assert logframes.decode(b"\xa7" + noise) is None
    assert logframes.decode_last(noise, len(noise)) is None
