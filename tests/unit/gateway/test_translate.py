"""The parts of the translation that are tables and grammars."""

import itertools

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from vic.exec.v1.exec_pb2 import InfoResponse
from vic.storage.v1.image_pb2 import ImageServiceInfoResponse

from gateway.errors import ApiError, describe
from gateway.hijack.protocol import _CAPTURED
from gateway.translate.detach import DetachKeys
from gateway.translate.progress import human_size, progress_bar
from gateway.translate.references import familiar, is_name_only, with_tag_or_digest
from gateway.translate.system import info_json
from gateway.translate.times import from_query, human_duration, log_timestamp, rfc3339
from portlayer.errors import FailedPrecondition, NotFound, Reason, Unavailable


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (600, "10 minutes"),
        (3700, "About an hour"),
        (47 * 3600, "47 hours"),
        (49 * 3600, "2 days"),
        (15 * 86400, "2 weeks"),
        (61 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_as_docker_words_them(seconds: float, words: str) -> None:
    assert human_duration(seconds) == words


def test_moments() -> None:
    assert rfc3339(Timestamp()) == "0001-01-01T00:00:00Z"
    moment = Timestamp(seconds=1_700_000_000, nanos=120_000_000)
    assert rfc3339(moment) == "2023-11-14T22:13:20.12Z"
    assert log_timestamp(moment) == b"2023-11-14T22:13:20.120000000Z"
    assert from_query("since", "1700000000.12") == moment
    assert from_query("since", "") is None
    assert from_query("until", "0") is None


@pytest.mark.parametrize("value", ["x", "1.2.3", "1e3", "99999999999999", "-99999999999"])
def test_moments_that_cannot_be(value: str) -> None:
    with pytest.raises(ApiError, match='invalid value for "since"'):
        from_query("since", value)


def test_references() -> None:
    assert familiar("docker.io/library/busybox:latest") == "busybox:latest"
    assert familiar("docker.io/team/app@sha256:0") == "team/app@sha256:0"
    assert familiar("localhost:5000/library/a") == "localhost:5000/library/a"
    assert is_name_only("localhost:5000/a")
    assert not is_name_only("localhost:5000/a:1")
    assert with_tag_or_digest("a", "sha256:0") == "a@sha256:0"


def test_progress_bars() -> None:
    assert human_size(0) == "0B"
    assert human_size(999) == "999B"
    assert human_size(4_261_550) == "4.262MB"
    assert progress_bar(5, 0) == "      5B"
    assert progress_bar(9, 3).startswith("[" + "=" * 50 + "]")


@pytest.mark.parametrize(
    ("text", "sequence"),
    [
        ("", b"\x10\x11"),
        ("ctrl-a", b"\x01"),
        ("ctrl-@,x", b"\x00x"),
        ("ctrl-[,ctrl-_", b"\x1b\x1f"),
    ],
)
def test_detach_keys(text: str, sequence: bytes) -> None:
    assert DetachKeys.parse(text).scan(b"before" + sequence + b"after") == (b"before", True)


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", ",", "ctrl-1"])
def test_detach_keys_that_cannot_be(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid detach keys"):
        DetachKeys.parse(text)


@given(
    data=st.lists(st.sampled_from(b"abc\x10\x11"), max_size=40).map(bytes),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    sequence=st.sampled_from([b"\x10\x11", b"a", b"aab", b"abab"]),
)
def test_detach_keys_are_found_however_input_is_cut(
    data: bytes, cuts: list[int], sequence: bytes
) -> None:
    keys = DetachKeys(sequence)
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    passed, detached = b"", False
    for start, end in itertools.pairwise(borders):
        piece, detached = keys.scan(data[start:end])
        passed += piece
        if detached:
            break
    if detached:
        assert data.startswith(passed + sequence)
    else:
        assert data.startswith(passed)
        assert sequence.startswith(data[len(passed) :])


@pytest.mark.parametrize(
    ("url", "captured"),
    [
        (b"/containers/a/attach", True),
        (b"/v1.41/containers/a/attach?stream=1", True),
        (b"/v1.51/exec/a/start", True),
        (b"/containers/a/attach/ws", False),
        (b"/containers/a/start", False),
        (b"/containers/create?name=/attach", False),
        (b"/containers/json?x=/exec/a/start", False),
    ],
)
def test_requests_that_may_be_hijacked(url: bytes, captured: bool) -> None:
    assert (_CAPTURED.match(url) is not None) == captured


def test_launch_failures_say_what_the_cli_reads() -> None:
    """``docker run`` takes its exit code from these words."""
    for code, words in ((126, "permission denied"), (127, "executable file not found")):
        error = FailedPrecondition("cannot", Reason.LAUNCH_FAILED, exit_code=str(code))
        assert words in describe(error, {}).message
    said = FailedPrecondition("x: is a directory", Reason.LAUNCH_FAILED, exit_code="126")
    assert describe(said, {}).message == "x: is a directory"


@pytest.mark.parametrize(
    "text", ["failed to connect to all addresses; unix:/var/lib/vic/x", "Stream removed (…)"]
)
def test_paths_of_the_host_stay_inside(text: str) -> None:
    message = describe(Unavailable(text), {}).message
    assert message == "a service of this endpoint is not running at the moment; please try again"
    assert describe(Unavailable("own words"), {}).message == "own words"


def test_sentence_falls_back_to_the_facets_own() -> None:
    error = NotFound("own words", Reason.NETWORK_NOT_FOUND)
    assert describe(error, {}).message == "own words"
    assert describe(error, {"network": "n"}).message == "network n not found"


def test_warnings_of_the_platform_are_those_of_docker_info() -> None:
    info = InfoResponse(warnings=["machines run without cgroup bounds on cpu"])
    warnings = info_json(info, ImageServiceInfoResponse())["Warnings"]
    assert warnings == ["WARNING: machines run without cgroup bounds on cpu"]
    assert info_json(InfoResponse(), ImageServiceInfoResponse())["Warnings"] is None
