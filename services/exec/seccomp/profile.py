"""Reading a profile: JSON in the format of Docker's and of the OCI runtime specification.

A filter is only as good as it is understood, so that nothing is passed over: a field, an action or
an operator that isn't known is an error. Names of system calls are the exception, as in Docker: one
that x86-64 doesn't have can't be called, and so says nothing.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason
from services.exec.seccomp.syscalls import SYSCALLS

LONGEST_PROFILE = 1024 * 1024
_EPERM = 1
_HIGHEST_ERRNO = 4095
_WORD = 2**64
_ARGUMENTS = 6
# Action → value of a filter's return, linux/seccomp.h; those of the second group take a number.
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_NUMBERED = {"SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000}
_RELEASE = re.compile(r"([0-9]+)\.([0-9]+)")
_PROFILE_FIELDS = frozenset(
    {"defaultAction", "defaultErrnoRet", "archMap", "architectures", "flags", "syscalls"}
)
_RULE_FIELDS = frozenset(
    {"name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes"}
)


class Operator(Enum):
    """How an argument is compared."""

    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"


@dataclass(frozen=True)
class Condition:
    """What an argument must be. ``mask`` is of MASKED_EQ, all ones otherwise."""

    index: int
    operator: Operator
    value: int
    mask: int = _WORD - 1


@dataclass(frozen=True)
class Rule:
    """What is returned for a system call where all conditions hold."""

    number: int
    result: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A profile as it is for one container; ``default`` is returned where no rule fits."""

    default: int
    rules: tuple[Rule, ...]


def read_profile(text: str, *, capabilities: Iterable[str], kernel_release: str) -> Profile:
    """Read a profile for a container with such capabilities, named without "CAP_", on a kernel.

    Raises InvalidArgument (INVALID_SPEC), and NotImplementedYet that names an action or a flag.
    """
    if len(text) > LONGEST_PROFILE:
        raise _invalid(f"longer than {LONGEST_PROFILE} characters")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(str(error)) from error
    _check_fields(fields, _PROFILE_FIELDS, "the profile")
    if flags := set(_texts(fields.get("flags"), "flags")) - {"SECCOMP_FILTER_FLAG_TSYNC"}:
        # TSYNC reaches threads that there are not yet.
        raise NotImplementedYet(f"seccomp flag {min(flags)}: not implemented", option="seccomp")
    default = _result(fields.get("defaultAction"), fields.get("defaultErrnoRet"))
    place = _Place(frozenset(capabilities), _release(kernel_release))
    rules = [
        rule for item in _items(fields.get("syscalls"), "syscalls") for rule in _rules(item, place)
    ]
    return Profile(default, tuple(rules))


@dataclass(frozen=True)
class _Place:
    """What rules may depend on."""

    capabilities: frozenset[str]
    kernel: tuple[int, int]

    def applies(self, rule: dict[str, Any]) -> bool:
        """Whether a rule's "includes" hold, and none of its "excludes"."""
        includes, excludes = (_requirements(rule.get(key), key) for key in ("includes", "excludes"))
        return all(self._met(includes)) and not any(self._met(excludes))

    def _met(self, requirements: dict[str, Any]) -> list[bool]:
        met = []
        if caps := _texts(requirements.get("caps"), "caps"):
            met.append({cap.removeprefix("CAP_") for cap in caps} <= self.capabilities)
        if arches := _texts(requirements.get("arches"), "arches"):
            met.append("amd64" in arches)
        if least := requirements.get("minKernel"):
            met.append(self.kernel >= _release(least))
        return met


def _rules(item: dict[str, Any], place: _Place) -> list[Rule]:
    _check_fields(item, _RULE_FIELDS, "a rule")
    names = _texts(item.get("names"), "names")
    if single := item.get("name"):
        if names:
            raise _invalid("'name' and 'names' were specified in the seccomp profile, use one")
        names = _texts([single], "name")
    if not names:
        raise _invalid("a rule names no system call")
    result = _result(item.get("action"), item.get("errnoRet"))
    conditions = [_condition(one) for one in _items(item.get("args"), "args")]
    if not place.applies(item):
        return []
    numbers = [SYSCALLS[name] for name in names if name in SYSCALLS]
    alternatives = _alternatives(conditions)
    return [Rule(number, result, one) for number in numbers for one in alternatives]


def _alternatives(conditions: Sequence[Condition]) -> list[tuple[Condition, ...]]:
    """All must hold; of several on one argument any. Source: the OCI runtime specification."""
    if len({condition.index for condition in conditions}) == len(conditions):
        return [tuple(conditions)]
    return [(condition,) for condition in conditions]


def _condition(fields: dict[str, Any]) -> Condition:
    _check_fields(fields, {"index", "value", "valueTwo", "op"}, "an argument")
    index = _number(fields.get("index", 0), _ARGUMENTS - 1, "index")
    value = _number(fields.get("value", 0), _WORD - 1, "value")
    second = _number(fields.get("valueTwo", 0), _WORD - 1, "valueTwo")
    try:
        operator = Operator(fields.get("op"))
    except ValueError:
        raise _invalid(f"unknown operator {fields.get('op')!r}") from None
    if operator is Operator.MASKED_EQ:
        # The first value is the mask, the second what is compared with.
        return Condition(index, operator, second & value, value)
    return Condition(index, operator, value)


def _result(action: object, number: object) -> int:
    if action in _NUMBERED:
        asked = _EPERM if number is None else number
        return _NUMBERED[str(action)] | _number(asked, _HIGHEST_ERRNO, "errnoRet")
    if number is not None:
        raise _invalid(f"errnoRet can't be set for action {action}")
    if action == "SCMP_ACT_NOTIFY":
        raise NotImplementedYet("seccomp action SCMP_ACT_NOTIFY: not implemented", option="seccomp")
    if action not in _ACTIONS:
        raise _invalid(f"unknown action {action!r}")
    return _ACTIONS[str(action)]


def _requirements(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    _check_fields(value, {"caps", "arches", "minKernel"}, name)
    assert isinstance(value, dict)
    return value


def _release(text: object) -> tuple[int, int]:
    found = _RELEASE.match(text) if isinstance(text, str) else None
    if found is None:
        raise _invalid(f"no release of a kernel: {text!r}")
    return int(found[1]), int(found[2])


def _check_fields(value: object, known: Iterable[str], what: str) -> None:
    if not isinstance(value, dict):
        raise _invalid(f"{what} is no object")
    if unknown := set(value) - set(known):
        raise _invalid(f"{what} has an unknown field {min(unknown)!r}")


def _items(value: object, name: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(f"{name} is no array")
    return value


def _texts(value: object, name: str) -> list[str]:
    items: list[Any] = _items(value, name)
    if not all(isinstance(item, str) for item in items):
        raise _invalid(f"{name} must hold strings")
    return items


def _number(value: object, highest: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
        raise _invalid(f"{name} is no number from 0 to {highest}: {value!r}")
    return value


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument(f"Decoding seccomp profile failed: {why}", Reason.INVALID_SPEC)
