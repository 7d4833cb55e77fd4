"""In which order files of tests are run side by side."""

from pathlib import Path

import pytest

from tests.longest import keep_seconds, longest_first, read_seconds

SLOW, QUICK = "tests/e2e/test_run.py", "tests/unit/exec/test_names.py"


def test_what_took_longest_is_first() -> None:
    known = {SLOW: 12.0, QUICK: 40.0}
    assert longest_first([f"{SLOW}::test_a", f"{QUICK}::test_b"], known) == [QUICK, SLOW]


def test_a_new_file_is_reckoned_by_its_tests_and_suite() -> None:
    nodeids = [f"{SLOW}::test_a", *(f"{QUICK}::test_b[{n}]" for n in range(30))]
    assert longest_first(nodeids, {}) == [SLOW, QUICK]
    nodeids += [f"{QUICK}::test_c[{n}]" for n in range(60)]
    assert longest_first(nodeids, {}) == [QUICK, SLOW]


def test_what_files_took_is_added_to_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seconds.json"
    keep_seconds({SLOW: 12.0, QUICK: 1.0}, path)
    keep_seconds({QUICK: 2.0}, path)
    assert read_seconds(path) == {SLOW: 12.0, QUICK: 2.0}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": []}', '{"a": "b"}'])
def test_a_file_that_makes_no_sense_tells_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seconds.json"
    path.write_text(text)
    assert read_seconds(path) == {}


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keep_seconds({SLOW: 1.0}, tmp_path / "file" / "seconds.json")
