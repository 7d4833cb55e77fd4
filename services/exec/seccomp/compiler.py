"""A profile as a program of classic BPF: what the kernel runs at each system call.

Source: linux/filter.h, linux/seccomp.h, seccomp(2). The program finds a call's number by binary
search, so that a long profile costs some ten instructions at each call.
"""

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from portlayer.errors import InvalidArgument, Reason
from services.exec.seccomp.profile import Condition, Operator, Profile, Rule

MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_INSTRUCTION = struct.Struct("<HBBI")
FILTER_STEP_BYTES = _INSTRUCTION.size
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_NOT_LESS = 0x15, 0x25, 0x35
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X86_64 = 0xC000003E
_X32 = 0x40000000
_KILL_PROCESS = 0x80000000
_LOW = 2**32 - 1


@dataclass(frozen=True)
class Step:
    """An instruction; jumps are counted from the next one, ``FAIL`` leads past the rule."""

    code: int
    value: int = 0
    when: int = 0
    otherwise: int = 0


FAIL = -1
Code = list[Step]


def compile_profile(profile: Profile) -> bytes:
    """Return the program. Raises InvalidArgument (INVALID_SPEC) when it is too long.

    A call by another architecture's convention (a program of 32 bits) has other numbers, to which
    no rule was compiled; it ends the process, as libseccomp has it by default.
    """
    code: Code = [
        Step(_LOAD, _ARCHITECTURE),
        Step(_JUMP_EQUAL, _X86_64, when=1),
        Step(_RETURN, _KILL_PROCESS),
        Step(_LOAD, _NUMBER),
        Step(_JUMP_NOT_LESS, _X32, when=0, otherwise=1),
        Step(_RETURN, _KILL_PROCESS),
        *_search(_runs(profile)),
    ]
    if len(code) > MOST_INSTRUCTIONS:
        raise InvalidArgument(
            f"the seccomp profile takes {len(code)} instructions, more than the "
            f"{MOST_INSTRUCTIONS} that the kernel allows",
            Reason.INVALID_SPEC,
        )
    return b"".join(_INSTRUCTION.pack(s.code, s.when, s.otherwise, s.value) for s in code)


def _runs(profile: Profile) -> list[tuple[int, Code]]:
    """First number of each run of calls that are treated alike, and what is done with them."""
    by_number: dict[int, list[Rule]] = {}
    for rule in profile.rules:
        by_number.setdefault(rule.number, []).append(rule)
    default: Code = [Step(_RETURN, profile.default)]
    places = sorted({0, *by_number, *(number + 1 for number in by_number)})
    treated = [
        (place, _decide(by_number[place], profile.default) if place in by_number else default)
        for place in places
    ]
    return [next(group) for _, group in itertools.groupby(treated, key=lambda run: run[1])]


def _search(runs: Sequence[tuple[int, Code]]) -> Code:
    """Find the run that the number, which is loaded, belongs to."""
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    below, above = _search(runs[:middle]), _search(runs[middle:])
    # A conditional jump reaches 255 instructions, the other one everything.
    return [
        Step(_JUMP_NOT_LESS, runs[middle][0], when=0, otherwise=1),
        Step(_JUMP, len(below)),
        *below,
        *above,
    ]


def _decide(rules: Sequence[Rule], default: int) -> Code:
    """Return what the first rule that fits says; those with conditions come first."""
    code: Code = []
    for rule in rules:
        if rule.conditions:
            body = [step for condition in rule.conditions for step in _compare(condition)]
            body.append(Step(_RETURN, rule.result))
            code += _resolved(body)
    plain = [rule.result for rule in rules if not rule.conditions]
    return [*code, Step(_RETURN, plain[0] if plain else default)]


def _resolved(body: Code) -> Code:
    """Have FAIL lead past the end."""

    def resolve(target: int, position: int) -> int:
        return len(body) - position - 1 if target == FAIL else target

    return [
        Step(step.code, step.value, resolve(step.when, at), resolve(step.otherwise, at))
        for at, step in enumerate(body)
    ]


def _compare(condition: Condition) -> Code:
    """Go on after the last step where a condition holds, to FAIL where it doesn't.

    Arguments have 64 bits, the machine 32: high words first, which decide unless they are equal.
    """
    low = Step(_LOAD, _FIRST_ARGUMENT + 8 * condition.index)
    high = Step(_LOAD, _FIRST_ARGUMENT + 8 * condition.index + 4)
    high_value, low_value = condition.value >> 32, condition.value & _LOW
    match condition.operator:
        case Operator.EQ:
            return [
                *(high, Step(_JUMP_EQUAL, high_value, 0, FAIL)),
                *(low, Step(_JUMP_EQUAL, low_value, 0, FAIL)),
            ]
        case Operator.NE:
            return [
                *(high, Step(_JUMP_EQUAL, high_value, 0, 2)),
                *(low, Step(_JUMP_EQUAL, low_value, FAIL, 0)),
            ]
        case Operator.MASKED_EQ:
            return [
                *(high, Step(_AND, condition.mask >> 32), Step(_JUMP_EQUAL, high_value, 0, FAIL)),
                *(low, Step(_AND, condition.mask & _LOW), Step(_JUMP_EQUAL, low_value, 0, FAIL)),
            ]
        case Operator.GT | Operator.GE:
            last = _JUMP_GREATER if condition.operator is Operator.GT else _JUMP_NOT_LESS
            return [
                high,
                Step(_JUMP_GREATER, high_value, 3, 0),
                Step(_JUMP_EQUAL, high_value, 0, FAIL),
                *(low, Step(last, low_value, 0, FAIL)),
            ]
        case Operator.LT | Operator.LE:
            last = _JUMP_NOT_LESS if condition.operator is Operator.LT else _JUMP_GREATER
            return [
                high,
                Step(_JUMP_GREATER, high_value, FAIL, 0),
                Step(_JUMP_EQUAL, high_value, 0, 2),
                *(low, Step(last, low_value, FAIL, 0)),
            ]
