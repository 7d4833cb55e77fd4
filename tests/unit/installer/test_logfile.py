"""Log files stay bounded."""

from pathlib import Path

from installer.logfile import RotatingLog, cut_back


def test_a_full_log_is_put_aside_with_its_lines_whole(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "exec.log", max_bytes=10, keep=2)
    for line in (b"first\n", b"second\n", b"third\n", b"fourth\n"):
        log.write(line)
    log.close()
    assert (tmp_path / "exec.log").read_bytes() == b"fourth\n"
    assert (tmp_path / "exec.log.1").read_bytes() == b"third\n"
    assert (tmp_path / "exec.log.2").read_bytes() == b"second\n"
    assert not (tmp_path / "exec.log.3").exists()


def test_a_chunk_longer_than_the_bound_is_kept_whole(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "exec.log", max_bytes=10)
    log.write(b"x" * 30)
    log.write(b"y")
    log.close()
    assert (tmp_path / "exec.log.1").read_bytes() == b"x" * 30
    assert (tmp_path / "exec.log").read_bytes() == b"y"


def test_a_log_goes_on_where_an_earlier_run_left_it(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        log = RotatingLog(tmp_path / "exec.log")
        log.write(line)
        log.close()
    assert (tmp_path / "exec.log").read_bytes() == b"one\ntwo\n"


def test_a_log_that_another_holds_open_is_cut_back_under_it(tmp_path: Path) -> None:
    path = tmp_path / "hostagent.log"
    with path.open("ab", buffering=0) as held:
        held.write(b"x" * 20)
        assert cut_back(path, max_bytes=10)
        held.write(b"after\n")
    assert path.read_bytes() == b"after\n"
    assert (tmp_path / "hostagent.log.1").read_bytes() == b"x" * 20


def test_a_short_or_missing_log_is_left(tmp_path: Path) -> None:
    (tmp_path / "short.log").write_bytes(b"x")
    assert not cut_back(tmp_path / "short.log", max_bytes=10)
    assert not cut_back(tmp_path / "missing.log", max_bytes=10)
