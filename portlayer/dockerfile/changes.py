"""Dockerfile instructions that change what an image says about its containers.

`docker import -c` and `docker commit -c` take them, and `docker build` reads its own with them.
Source: the Dockerfile reference.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from portlayer.dockerfile.defaults import ContainerDefaults
from portlayer.dockerfile.health import health_check
from portlayer.dockerfile.words import expand, split
from portlayer.errors import InvalidArgument
from portlayer.signals import parse_signal

MAX_CHANGES = 1 << 20
"""Characters of all instructions of a call."""

_MAX_PORTS = 4096
_MAX_SIGNAL_NAME = 100
DEFAULT_SHELL = ("/bin/sh", "-c")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([a-z]+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_NOT_TRIGGERS = ("FROM", "MAINTAINER")


def apply_changes(defaults: ContainerDefaults, changes: Iterable[str]) -> ContainerDefaults:
    """What an image says of its containers once the instructions are carried out in order.

    Raises:
        InvalidArgument: an instruction isn't one, or isn't one that can be used here; in Docker's
            words.
    """
    text = "\n".join(changes)
    if len(text) > MAX_CHANGES:
        raise InvalidArgument(f"changes of more than {MAX_CHANGES} characters")
    state = Changed(defaults)
    for name, rest in _instructions(text):
        state.carry_out(name, rest)
    return state.defaults


def _instructions(text: str) -> Iterable[tuple[str, str]]:
    """Name in capitals, and the rest, of each instruction; lines joined where they end in "\\"."""
    pending = ""
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        if stripped.startswith("#") or (pending and not stripped and line):
            continue
        if stripped.endswith("\\"):
            pending += stripped[:-1]
            continue
        whole, pending = (pending + stripped).strip(), ""
        if whole:
            name, _, rest = whole.replace("\t", " ", 1).partition(" ")
            yield name.upper(), rest.strip()


@dataclass
class Changed:
    """What the instructions so far have made."""

    defaults: ContainerDefaults
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Variables that are known besides the environment, which goes before them: a build's."""

    escape: str = "\\"
    """The character that takes another one's meaning away."""

    command_given: bool = False
    """Whether CMD was among them: ENTRYPOINT drops one that was inherited."""

    def carry_out(self, name: str, rest: str) -> None:
        """Carry out one instruction: its name in capitals, and what follows it.

        Raises:
            InvalidArgument: it isn't one that can be used here, or can't be right; Docker's words.
        """
        instruction = _INSTRUCTIONS.get(name)
        if instruction is None:
            raise InvalidArgument(f"{name} is not a valid change command")
        if not rest:
            raise InvalidArgument(f"{name} requires at least one argument")
        instruction(self, rest)

    @property
    def variables(self) -> dict[str, str]:
        """What `$NAME` stands for."""
        return {**self.arguments, **dict(_pair(entry) for entry in self.defaults.env)}

    def word(self, text: str) -> str:
        """One word without its quotes, its variables replaced."""
        return expand(text, self.variables, self.escape)

    def words(self, text: str) -> list[str]:
        """A list in JSON, or words."""
        listed = json_list(text)
        parts = split(text, self.escape) if listed is None else listed
        return [self.word(word) for word in parts]

    def pairs(self, text: str, name: str) -> dict[str, str]:
        """Read `a=b c=d`, or `a b` for one whose value is the whole rest."""
        found: dict[str, str] = {}
        for written, value in _written_pairs(text, name, self.escape):
            key = self.word(written)
            if not key:
                raise InvalidArgument(f"{name} names can not be blank")
            found[key] = self.word(value)
        return found

    def command(self, text: str) -> tuple[str, ...]:
        """A command in JSON, or one for the shell."""
        listed = json_list(text)
        if listed is not None:
            return tuple(listed)
        return (*(self.defaults.shell or DEFAULT_SHELL), text)


def check_form(name: str, rest: str, escape: str) -> None:
    """See whether an instruction is one, as far as that can be told without its variables.

    Raises:
        InvalidArgument: in Docker's words.
    """
    match name:
        case "ENV" | "LABEL":
            _written_pairs(rest, name, escape)
        case "HEALTHCHECK" | "ONBUILD" | "SHELL":
            Changed(ContainerDefaults(), escape=escape).carry_out(name, rest)
        case _:
            pass  # what it says can't be known yet


def _written_pairs(text: str, name: str, escape: str) -> list[tuple[str, str]]:
    """Names and values of an ENV or a LABEL as they are written. Raises InvalidArgument."""
    words = split(text, escape)
    if words and "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidArgument(f"{name} must have two arguments")
        return [(key, value.strip())]
    for word in words:
        if "=" not in word:
            raise InvalidArgument(
                f"Syntax error - can't find = in {json.dumps(word)}. "
                "Must be of the form: name=value"
            )
    return [_pair(word) for word in words]


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


def json_list(text: str) -> list[str] | None:
    """The strings of a list in JSON; None for anything else."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return value


def _cmd(state: Changed, rest: str) -> None:
    state.defaults = replace(state.defaults, command=state.command(rest), args_escaped=False)
    state.command_given = True


def _entrypoint(state: Changed, rest: str) -> None:
    kept = state.defaults.command if state.command_given else ()
    state.defaults = replace(state.defaults, entrypoint=state.command(rest), command=kept)


def _env(state: Changed, rest: str) -> None:
    # All of one instruction see the variables from before it.
    given = state.pairs(rest, "ENV")
    merged = dict(_pair(entry) for entry in state.defaults.env) | given
    env = tuple(f"{name}={value}" for name, value in merged.items())
    state.defaults = replace(state.defaults, env=env)


def _expose(state: Changed, rest: str) -> None:
    ports = {port for word in split(rest, state.escape) for port in _ports(state.word(word))}
    exposed = sorted(ports | set(state.defaults.exposed_ports))
    state.defaults = replace(state.defaults, exposed_ports=tuple(exposed))


def _ports(text: str) -> list[str]:
    found = _PORTS.fullmatch(text.lower())
    first = int(found[1]) if found else 0
    last = int(found[2] or first) if found else 0
    protocol = (found[3] or "tcp") if found else ""
    if not 0 < first <= last <= 65535 or last - first >= _MAX_PORTS:
        raise InvalidArgument(f"invalid containerPort: {text[:100]}")
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol[:100]}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _label(state: Changed, rest: str) -> None:
    labels: Mapping[str, str] = {**state.defaults.labels, **state.pairs(rest, "LABEL")}
    state.defaults = replace(state.defaults, labels=labels)


def _user(state: Changed, rest: str) -> None:
    if len(split(rest, state.escape)) != 1:
        raise InvalidArgument("USER requires exactly one argument")
    state.defaults = replace(state.defaults, user=state.word(rest))


def _volume(state: Changed, rest: str) -> None:
    words = [word.strip() for word in state.words(rest)]
    if not all(words):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    volumes = sorted({*state.defaults.volumes, *words})
    state.defaults = replace(state.defaults, volumes=tuple(volumes))


def _workdir(state: Changed, rest: str) -> None:
    path = posixpath.join("/", state.defaults.working_directory, state.word(rest))
    state.defaults = replace(
        state.defaults, working_directory="/" + posixpath.normpath(path).lstrip("/")
    )


def _onbuild(state: Changed, rest: str) -> None:
    trigger = rest.split()[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in _NOT_TRIGGERS:
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    state.defaults = replace(state.defaults, on_build=(*state.defaults.on_build, rest))


def _stopsignal(state: Changed, rest: str) -> None:
    signal = state.word(rest)
    if not signal or len(signal) > _MAX_SIGNAL_NAME:
        raise InvalidArgument(f"invalid signal: {signal[:_MAX_SIGNAL_NAME]}")
    parse_signal(signal)
    state.defaults = replace(state.defaults, stop_signal=signal)


def _healthcheck(state: Changed, rest: str) -> None:
    state.defaults = replace(state.defaults, health_check=health_check(rest, state.command))


def _shell(state: Changed, rest: str) -> None:
    listed = json_list(rest)
    if not listed:
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")
    state.defaults = replace(state.defaults, shell=tuple(listed))


_INSTRUCTIONS: dict[str, Callable[[Changed, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
