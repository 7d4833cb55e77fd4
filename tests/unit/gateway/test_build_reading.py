"""Dockerfiles as a build reads them: lines, stages, arguments, patterns."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.build.arguments import Arguments
from gateway.build.copying import destination_of
from gateway.build.lexing import lex
from gateway.build.matching import IgnorePatterns, expression_of, has_wildcards
from gateway.build.stages import Plan, flag_of, plan_of, with_labels
from gateway.errors import ApiError
from portlayer.dockerfile.changes import Changed
from portlayer.dockerfile.defaults import ContainerDefaults


def plan(text: str, target: str = "", **arguments: str) -> Plan:
    return plan_of(lex(text.encode()), arguments, target)


def refusal(text: str, target: str = "") -> str:
    with pytest.raises(ApiError) as refused:
        plan(text, target)
    assert refused.value.status == 400
    return refused.value.message


def test_lines_are_joined_without_comments_and_empty_ones() -> None:
    read = lex(b"\xef\xbb\xbf# a\nFROM x\nRUN a && \\  \n  # within\n\n  b # no comment\n\tcmd c")
    assert [(i.name, i.rest, i.line) for i in read.instructions] == [
        ("FROM", "x", 2),
        ("RUN", "a &&   b # no comment", 3),
        ("CMD", "c", 7),
    ]


def test_directives_count_only_before_all_else() -> None:
    read = lex(b"#syntax = docker/dockerfile:1\r\n# escape=`\r\nFROM x\r\nRUN a `\r\n b\\\r\n")
    assert read.instructions[1].rest == "a  b\\"
    late = lex(b"FROM x\n# escape=`\nRUN a \\\n b")
    assert late.instructions[1].rest == "a  b"
    assert "does not match" in refusal("# escape=x\nFROM y")
    assert "only one escape" in refusal("# escape=`\n# escape=`\nFROM y")


def test_flags_are_taken_off() -> None:
    copy = plan('FROM x\nCOPY --from=a --chown="b c":1 -- --d /e').stages[0].instructions[0]
    assert copy.flags == ("from=a", "chown=b c:1")
    assert copy.rest == "--d /e"
    assert flag_of(copy, "chown") == "b c:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM x\nRUN --mount=type=cache a", "the --mount option requires BuildKit"),
        ("FROM x\nRUN --network=none a", "the --network option requires BuildKit"),
        ("FROM x\nCOPY --link a b", "the --link option requires BuildKit"),
        ("FROM x\nADD --checksum=1 a b", "the --checksum option requires BuildKit"),
        ("FROM x\nRUN <<EOF\na\nEOF", "on line 2: a heredoc (<<) requires BuildKit"),
        ("FROM x\nCOPY <<-'E' /a\nb\nE", "a heredoc"),
        ("FROM x\n\nRUM a", "on line 3: unknown instruction: RUM"),
        ("FROM x\nWORKDIR --a b", "unknown flag: --a"),
        ("FROM x\nCOPY --from a b", "missing a value on flag: from"),
        ("FROM x\nENV", "ENV requires at least one argument"),
        ("RUN a", "no build stage in current context"),
        ("# nothing", "cannot be empty"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", "invalid name for build stage"),
        ("FROM $NONE", "should not be blank"),
        ("ARG A=${B\nFROM x", "on line 1: "),
        ("FROM x\nRUN a\nLABEL a", "on line 3: LABEL must have two arguments"),
        ("FROM x\nENV a=b c", "on line 2: Syntax error - can't find = in"),
        ("FROM x\nHEALTHCHECK --interval=1 CMD a", "on line 2: time: invalid duration"),
        ("FROM x\nSHELL sh", "SHELL requires the arguments to be in JSON form"),
        ("FROM x\nONBUILD FROM y", "FROM isn't allowed as an ONBUILD trigger"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    assert message in refusal(text)


def test_no_shell_word_is_taken_for_a_heredoc() -> None:
    assert plan("FROM x\nRUN echo $((1<<2)) && cat <<< y").stages[0].instructions


def test_stages_end_with_the_target() -> None:
    text = "ARG V=1\nARG W=$V.2\nFROM a:$W AS One\nRUN x\nFROM --platform=linux/$V one\nRUN y"
    whole = plan(text)
    assert [(s.image, s.name, s.platform) for s in whole.stages] == [
        ("a:1.2", "one", ""),
        ("one", "", "linux/1"),
    ]
    assert whole.steps == 6
    assert plan(text, "ONE", V="3").stages[0].image == "a:3.2"
    assert len(plan(text, "0").stages) == 1
    assert 'target stage "two" could not be found' in refusal(text, "two")


def test_arguments_are_known_from_their_declaration_on() -> None:
    arguments = Arguments({"A": "1", "B": None, "http_proxy": "p", "X": "y"}, {"M": "meta"})
    assert arguments.values == {"http_proxy": "p"}
    for name, default in (("A", "0"), ("B", "b"), ("M", None), ("N", None)):
        arguments.declare(name, default)
    assert arguments.values == {"http_proxy": "p", "A": "1", "B": "b", "M": "meta"}
    assert sorted(arguments.environment(["B=image"])) == ["A=1", "M=meta", "http_proxy=p"]
    told = arguments.recorded(["/bin/sh", "-c", "x"], ["B=image"])
    assert told == ("|2", "A=1", "M=meta", "/bin/sh", "-c", "x")
    assert Arguments({"http_proxy": "p"}, {}).recorded(["x"], []) == ("x",)


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("${A:-b}", "1"),
        ("${E:-b}", "b"),
        ("${E-b}", ""),
        ("${N-b}", "b"),
        ("${A:+${N:-c}}", "c"),
        ("${E+c}", "c"),
        ("${E:+c}", ""),
        ("'$A' \\$A", "$A $A"),
        ("$A$N.", "1."),
    ],
)
def test_variables_have_modifiers(word: str, meaning: str) -> None:
    changed = Changed(ContainerDefaults(env=("A=1",)), {"A": "hidden", "E": ""})
    assert changed.word(word) == meaning


def test_variables_of_variables_are_bounded() -> None:
    lines = "".join(f"ARG A{n}={f'$A{n - 1}' * 10}\n" for n in range(1, 9))
    assert "a word of more than" in refusal(f"ARG A0=0123456789\n{lines}FROM $A8")


def test_a_variable_may_be_insisted_on() -> None:
    changed = Changed(ContainerDefaults())
    with pytest.raises(Exception, match="A: where is it"):
        changed.word("${A:?where is it}")


def test_labels_of_the_request_mean_themselves() -> None:
    one = plan("# escape=`\nFROM x")
    with_labels(one, {"a b": '$HOME `"\\'})
    changed = Changed(ContainerDefaults(), escape="`")
    label = one.stages[0].instructions[0]
    changed.carry_out(label.name, label.rest)
    assert changed.defaults.labels == {"a b": '$HOME `"\\'}


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("*.txt", "a.txt", "b/a.txt"),
        ("a/*/c", "a/b/c", "a/b/d/c"),
        ("[a-c]?[^x]", "bzy", "bzx"),
        ("\\*", "*", "a"),
        ("a[]-]", None, "a]"),
    ],
)
def test_patterns_are_gos(pattern: str, fits: str | None, fits_not: str) -> None:
    if fits is None:
        with pytest.raises(ApiError, match="syntax error in pattern"):
            expression_of(pattern)
        return
    expression = expression_of(pattern)
    assert expression.fits(fits)
    assert not expression.fits(fits_not)
    assert has_wildcards(pattern) == (pattern != "\\*")


@given(st.text("ab*?.", max_size=8), st.text("ab.", max_size=6))
def test_simple_patterns_are_those_of_the_shell(pattern: str, name: str) -> None:
    if pattern.count("*") > 8:
        return
    expected = fnmatch.fnmatchcase(name, pattern)
    assert bool(expression_of(pattern).fits(name)) == expected


@pytest.mark.parametrize("pattern", ["*a" * 9 + "*b", "**/a/" * 20 + "b", "*" + "?" * 90 + "*b"])
def test_patterns_take_linear_time(pattern: str) -> None:
    begun = time.process_time()
    assert not IgnorePatterns([pattern]).leaves_out("a" * 120)
    assert not expression_of(pattern).fits("a" * 120)
    assert time.process_time() - begun < 1


def test_names_that_are_no_utf_8_fit_patterns() -> None:
    name = b"a\xffb".decode("utf-8", "surrogateescape")
    assert expression_of("a?b").fits(name)
    assert expression_of("*").fits(name)
    assert expression_of(name).fits(name)
    assert expression_of(f"a[{name[1]}]b").fits(name)
    assert not expression_of("a[!-0]b").fits("a/b")
    assert expression_of("a[!-0]b").fits("a.b")


def test_what_is_ignored_goes_by_the_last_rule() -> None:
    patterns = IgnorePatterns(["# no", "", "*.md", "**/cache", "/sub/deep", "!README.md", "a/**/z"])
    out = ("x.md", "cache", "a/b/cache", "a/cache/inner", "sub/deep/file", "a/b/c/z", "a/z")
    kept = ("README.md", "x.txt", "b/x.md", "sub", "sub/deeper", "a")
    assert [path for path in out if not patterns.leaves_out(path)] == []
    assert [path for path in kept if patterns.leaves_out(path)] == []
    with pytest.raises(ApiError, match="illegal exclusion"):
        IgnorePatterns(["!"])


def test_a_destination_keeps_its_slash() -> None:
    cases = {".": "/w/", "x": "/w/x", "x/": "/w/x/", "/y/../z/": "/z/", "/": "/", "./a/.": "/w/a/"}
    assert {written: destination_of(written, "/w") for written in cases} == cases
