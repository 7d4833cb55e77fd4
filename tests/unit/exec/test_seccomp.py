"""Seccomp profiles, run by a small interpreter of classic BPF as the kernel runs them."""

import errno
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlayer.errors import InvalidArgument, NotImplementedYet
from services.exec.seccomp.compiler import compile_profile
from services.exec.seccomp.profile import read_profile
from services.exec.seccomp.syscalls import SYSCALLS

ALLOW, LOG, TRAP, KILL, KILL_PROCESS = 0x7FFF0000, 0x7FFC0000, 0x30000, 0, 0x80000000
ERRNO = 0x50000
EPERM = ERRNO | errno.EPERM
X86_64, I386 = 0xC000003E, 0x40000003
WORDS = st.integers(0, 2**64 - 1)


def compiled(
    profile: dict[str, Any], capabilities: tuple[str, ...] = (), kernel: str = "6.1.0-56"
) -> bytes:
    text = json.dumps(profile)
    return compile_profile(read_profile(text, capabilities=capabilities, kernel_release=kernel))


def run(program: bytes, call: int | str, *arguments: int, arch: int = X86_64) -> int:
    """What the filter returns for a call. Source: linux/filter.h, struct seccomp_data."""
    number = SYSCALLS[call] if isinstance(call, str) else call
    six = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, arch, 0, *six)
    instructions = list(struct.iter_unpack("<HBBI", program))
    position = accumulator = 0
    while True:
        code, when, otherwise, value = instructions[position]
        position += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x05:
                position += value
            case 0x15:
                position += when if accumulator == value else otherwise
            case 0x25:
                position += when if accumulator > value else otherwise
            case 0x35:
                position += when if accumulator >= value else otherwise
            case 0x06:
                return int(value)
            case other:
                raise AssertionError(f"instruction {other:#x}")


def test_numbers_of_calls() -> None:
    some = {"read": 0, "open": 2, "clone": 56, "mkdir": 83, "rseq": 334, "io_uring_setup": 425}
    assert {name: SYSCALLS[name] for name in some} == some


def test_a_list_of_what_is_denied() -> None:
    denied = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                denied,
                {"name": "ptrace", "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["kcmp"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["getcpu"], "action": "SCMP_ACT_TRAP"},
                {"names": ["sync"], "action": "SCMP_ACT_LOG"},
                {"names": ["no_such_call"], "action": "SCMP_ACT_KILL"},
            ],
        }
    )
    results = {"mkdir": ERRNO | 38, "mkdirat": ERRNO | 38, "ptrace": KILL_PROCESS, "kcmp": EPERM}
    results |= {"getcpu": TRAP, "sync": LOG}
    assert {name: run(program, name) for name in results} == results
    for name in SYSCALLS.keys() - results.keys():
        assert run(program, name) == ALLOW
    assert run(program, 100_000) == ALLOW


def test_a_list_of_what_is_allowed() -> None:
    names = ["read", "write", "exit_group", "execve"]
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        }
    )
    assert {name for name in SYSCALLS if run(program, name) == ALLOW} == set(names)
    assert run(program, "mkdir") == EPERM
    assert run(program, 100_000) == EPERM


def test_calls_of_another_kind_end_the_process() -> None:
    """Under other numbers they would pass rules that were written for ours."""
    program = compiled({"defaultAction": "SCMP_ACT_ALLOW"})
    assert run(program, 39, arch=I386) == KILL_PROCESS
    assert run(program, 0x40000000 | 39) == KILL_PROCESS
    assert run(program, 39) == ALLOW


@pytest.mark.parametrize("operator", ["NE", "LT", "LE", "EQ", "GE", "GT"])
@given(wanted=WORDS, other=WORDS, index=st.integers(0, 5))
def test_arguments_are_compared_with_all_their_bits(
    operator: str, wanted: int, other: int, index: int
) -> None:
    truths = {
        "NE": lambda given: given != wanted,
        "LT": lambda given: given < wanted,
        "LE": lambda given: given <= wanted,
        "EQ": lambda given: given == wanted,
        "GE": lambda given: given >= wanted,
        "GT": lambda given: given > wanted,
    }
    arg = {"index": index, "value": wanted, "op": f"SCMP_CMP_{operator}"}
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [arg]}
    program = compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    near = {wanted, max(0, wanted - 1), min(2**64 - 1, wanted + 1), wanted ^ 1 << 32, other}
    for value in near:
        arguments = [0] * 6
        arguments[index] = value
        expected = EPERM if truths[operator](value) else ALLOW
        assert run(program, "personality", *arguments) == expected


@given(mask=WORDS, wanted=WORDS, value=WORDS)
def test_masked_arguments(mask: int, wanted: int, value: int) -> None:
    arg = {"index": 0, "value": mask, "valueTwo": wanted & mask, "op": "SCMP_CMP_MASKED_EQ"}
    rule = {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [arg]}
    program = compiled({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})
    for given_ in (value, wanted, value & ~mask | wanted & mask):
        expected = ALLOW if given_ & mask == wanted & mask else EPERM
        assert run(program, "clone", given_) == expected


def test_all_of_several_arguments_or_any_of_those_on_one() -> None:
    def rule(name: str, *args: tuple[int, int]) -> dict[str, Any]:
        equal = [{"index": i, "value": v, "op": "SCMP_CMP_EQ"} for i, v in args]
        return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": equal}

    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [rule("socket", (0, 1), (1, 2)), rule("personality", (0, 0), (0, 8))],
        }
    )
    asked = [(1, 2), (1, 3), (0, 2)]
    assert [run(program, "socket", *args) for args in asked] == [ALLOW, EPERM, EPERM]
    assert [run(program, "personality", n) for n in (0, 8, 1)] == [ALLOW, ALLOW, EPERM]


def test_a_rule_with_conditions_comes_before_one_without() -> None:
    equal = [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]
    rules = [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": equal},
    ]
    program = compiled({"defaultAction": "SCMP_ACT_KILL", "syscalls": rules})
    assert [run(program, "personality", n) for n in (0, 8)] == [ALLOW, EPERM]


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, False),
        ({"excludes": {"caps": ["CAP_BPF"]}}, True),
        ({"includes": {"arches": ["amd64", "arm64"]}}, True),
        ({"includes": {"arches": ["s390x"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.10"}}, False),
        ({"includes": {"minKernel": "4.8"}, "excludes": {"arches": ["amd64"]}}, False),
    ],
)
def test_rules_for_some_containers(condition: dict[str, Any], applies: bool) -> None:
    rule = {"names": ["mount"], "action": "SCMP_ACT_ALLOW", **condition}
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
    program = compiled(profile, ("SYS_ADMIN",))
    assert run(program, "mount") == (ALLOW if applies else EPERM)


def test_a_long_profile_takes_few_instructions_at_a_call() -> None:
    """Every other call denied, which is as bad as it gets."""
    names = [name for name, number in SYSCALLS.items() if number % 2]
    rules = [{"names": names, "action": "SCMP_ACT_ERRNO"}]
    program = compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
    for name, number in SYSCALLS.items():
        assert run(program, name) == (EPERM if number % 2 else ALLOW)
    assert len(program) // 8 < 2000


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "unknown action None"),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "unknown action 'SCMP_ACT_MAYBE'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "x": 1}, "the profile has an unknown field 'x'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "errnoRet can't be set for"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [1]}, "a rule is no object"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{}]}, "a rule names no system call"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}, "unknown field 'listenerPath'"),
    ],
)
def test_profiles_that_cannot_be(profile: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        compiled(profile)
    assert refusal.value.message.startswith("Decoding seccomp profile failed: ")
    assert words in refusal.value.message


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"name": "read", "names": ["write"]}, "use one"),
        ({"names": ["read"], "errnoRet": 5000}, "errnoRet is no number from 0 to 4095: 5000"),
        ({"names": ["read"], "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}, "index is no number"),
        ({"names": ["read"], "args": [{"index": 0, "op": "SCMP_CMP_X"}]}, "unknown operator"),
        ({"names": ["read"], "includes": {"minKernel": "new"}}, "no release of a kernel: 'new'"),
        ({"names": ["read"], "includes": {"x": 1}}, "includes has an unknown field 'x'"),
        ({"names": "read"}, "names is no array"),
    ],
)
def test_rules_that_cannot_be(rule: dict[str, Any], words: str) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"action": "SCMP_ACT_ERRNO", **rule}],
    }
    with pytest.raises(InvalidArgument) as refusal:
        compiled(profile)
    assert words in refusal.value.message


def test_what_is_not_implemented_is_named() -> None:
    with pytest.raises(NotImplementedYet, match="SCMP_ACT_NOTIFY"):
        compiled({"defaultAction": "SCMP_ACT_NOTIFY"})
    with pytest.raises(NotImplementedYet, match="SECCOMP_FILTER_FLAG_LOG"):
        compiled({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]})


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_profile(text, capabilities=(), kernel_release="6.1")
    except (InvalidArgument, NotImplementedYet):
        return
