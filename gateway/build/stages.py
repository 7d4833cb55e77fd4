"""A Dockerfile's stages: what stands before the first FROM, and each FROM with what follows."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from gateway.build.lexing import NEEDS_BUILDKIT, Dockerfile, Instruction, parse_error
from gateway.errors import ApiError, bad_parameter
from portlayer.dockerfile.changes import check_form
from portlayer.dockerfile.words import expand, split
from portlayer.errors import InvalidArgument

_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
INSTRUCTIONS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
        *("LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
        "WORKDIR",
    }
)
_FLAGS: Mapping[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "COPY": frozenset({"from", "chown"}),
    "ADD": frozenset({"chown"}),
}
_OF_BUILDKIT: Mapping[str, frozenset[str]] = {
    "RUN": frozenset({"mount", "network", "security", "device"}),
    "COPY": frozenset({"link", "chmod", "parents", "exclude"}),
    "ADD": frozenset({"link", "chmod", "checksum", "keep-git-dir", "exclude", "unpack"}),
}


@dataclass
class Stage:
    """One FROM and the instructions that follow it."""

    source: Instruction
    image: str
    """What it stands on: an image, an earlier stage, or `scratch`."""

    name: str = ""
    """Its own name in small letters; empty where it has none."""

    platform: str = ""
    instructions: list[Instruction] = field(default_factory=list)


@dataclass
class Plan:
    """What is to be built."""

    arguments: list[Instruction]
    """ARG instructions before the first FROM."""

    known: dict[str, str]
    """Their values, for stages that declare them without one."""

    stages: list[Stage]
    escape: str

    @property
    def steps(self) -> int:
        """How many there are in all, as they are counted out."""
        return len(self.arguments) + sum(1 + len(stage.instructions) for stage in self.stages)


def plan_of(dockerfile: Dockerfile, build_arguments: Mapping[str, str | None], target: str) -> Plan:
    """Divide a Dockerfile into its stages, up to the target. Raises a 400 for what is wrong."""
    plan = Plan([], {}, [], dockerfile.escape)
    for instruction in dockerfile.instructions:
        checked(instruction)
        with told_of(instruction):
            check_form(instruction.name, instruction.rest, plan.escape)
        if instruction.name == "FROM":
            plan.stages.append(_stage(instruction, plan))
        elif plan.stages:
            plan.stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            plan.arguments.append(instruction)
            for name, value in arguments_of(instruction, plan.known, plan.escape).items():
                given = build_arguments.get(name)
                known = given if given is not None else value
                if known is not None:
                    plan.known[name] = known
        else:
            raise parse_error(instruction.line, "no build stage in current context")
    if not plan.stages:
        raise bad_parameter("no build stage in current context")
    if target:
        plan.stages = plan.stages[: _target(plan.stages, target) + 1]
    return plan


def checked(instruction: Instruction) -> Instruction:
    """The same. Raises a 400 for a name or a flag that isn't one, or that is BuildKit's."""
    name = instruction.name
    if name not in INSTRUCTIONS:
        raise parse_error(instruction.line, f"unknown instruction: {name[:100]}")
    if not instruction.rest:
        raise parse_error(instruction.line, f"{name} requires at least one argument")
    for flag in instruction.flags:
        key, given, _ = flag.partition("=")
        if key in _OF_BUILDKIT.get(name, ()):
            raise bad_parameter(f"the --{key} option {NEEDS_BUILDKIT}")
        if key not in _FLAGS.get(name, ()):
            raise parse_error(instruction.line, f"unknown flag: --{key[:100]}")
        if not given:
            raise parse_error(instruction.line, f"missing a value on flag: {key}")
    return instruction


def flag_of(instruction: Instruction, key: str) -> str:
    """A flag's value, the last that is given; empty where it isn't."""
    found = [flag.partition("=")[2] for flag in instruction.flags if flag.startswith(f"{key}=")]
    return found[-1] if found else ""


def arguments_of(
    instruction: Instruction, variables: Mapping[str, str], escape: str
) -> dict[str, str | None]:
    """The names that an ARG declares, with their defaults where they have any. Raises a 400."""
    found: dict[str, str | None] = {}
    with told_of(instruction):
        for word in split(instruction.rest, escape):
            name, given, value = word.partition("=")
            if not _ARGUMENT.fullmatch(name := expand(name, variables, escape)):
                raise InvalidArgument(f"ARG names can not be blank or {name[:100]!r}")
            found[name] = expand(value, {**variables, **_values(found)}, escape) if given else None
    return found


def _values(found: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def told_of(instruction: Instruction) -> Iterator[None]:
    """What the readers of words refuse, as a refusal of an instruction's line."""
    try:
        yield
    except InvalidArgument as error:
        raise parse_error(instruction.line, error.message) from error


def _stage(instruction: Instruction, plan: Plan) -> Stage:
    words = instruction.rest.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise parse_error(instruction.line, "FROM requires either one or three arguments")
    name = words[2].lower() if len(words) == 3 else ""
    if name and not _NAME.fullmatch(name):
        raise parse_error(instruction.line, f"invalid name for build stage: {words[2][:100]!r}")
    with told_of(instruction):
        image = expand(words[0], plan.known, plan.escape)
        platform = expand(flag_of(instruction, "platform"), plan.known, plan.escape)
    if not image:
        raise parse_error(
            instruction.line,
            f"base name ({words[0][:100]}) should not be blank",
        )
    return Stage(instruction, image, name, platform)


def _target(stages: list[Stage], target: str) -> int:
    for at, stage in enumerate(stages):
        if stage.name and stage.name == target.lower():
            return at
    if target.isdecimal() and int(target) < len(stages):
        return int(target)
    raise _no_stage(target)


def _no_stage(target: str) -> ApiError:
    return bad_parameter(f'target stage "{target[:100]}" could not be found')


def with_labels(plan: Plan, labels: Mapping[str, str]) -> None:
    """Have the last stage end with labels that the request asks for."""
    if not labels:
        return
    pairs = [
        f"{_quoted(name, plan.escape)}={_quoted(value, plan.escape)}"
        for name, value in sorted(labels.items())
    ]
    words = " ".join(pairs)
    last = plan.stages[-1]
    shown = Instruction("LABEL", words, (), 0, f"LABEL {words}")
    plan.stages[-1] = replace(last, instructions=[*last.instructions, shown])


def _quoted(text: str, escape: str) -> str:
    """A word that means itself, whatever is in it."""
    return '"' + "".join(escape + char if char in f'"${escape}' else char for char in text) + '"'
