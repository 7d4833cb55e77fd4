"""The HEALTHCHECK instruction. Source: the Dockerfile reference, "HEALTHCHECK"."""

from __future__ import annotations

import re
from collections.abc import Callable

from portlayer.dockerfile.defaults import HealthCheck
from portlayer.errors import InvalidArgument

_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s*")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_NUMBER = 9
_TIMES = ("interval", "timeout", "start-period", "start-interval")


def health_check(text: str, command: Callable[[str], tuple[str, ...]]) -> HealthCheck:
    """Read what follows the instruction's name; `command` reads a command in either form.

    Raises:
        InvalidArgument: in Docker's words.
    """
    options: dict[str, int] = {}
    while option := _OPTION.match(text):
        text = text[option.end() :]
        options[option[1]] = _option(option[1], option[2])
    if text.startswith("--"):
        raise InvalidArgument(f"Unknown flag: {text.split()[0][2:][:100]}")
    kind, _, rest = text.partition(" ")
    match kind.upper():
        case "NONE":
            if rest.strip():
                raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
            return HealthCheck(test=("NONE",))
        case "CMD":
            return _with_command(rest.strip(), command, options)
        case _:
            raise InvalidArgument(f'Unknown type "{kind.upper()[:100]}" in HEALTHCHECK (try CMD)')


def _with_command(
    text: str, command: Callable[[str], tuple[str, ...]], options: dict[str, int]
) -> HealthCheck:
    words = command(text) if text else ()
    if not words:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    # The form for the shell is kept as it is: the container's own shell takes it.
    test = ("CMD-SHELL", text) if words[-1] == text else ("CMD", *words)
    return HealthCheck(
        test=test,
        interval=options.get("interval", 0),
        timeout=options.get("timeout", 0),
        start_period=options.get("start-period", 0),
        start_interval=options.get("start-interval", 0),
        retries=options.get("retries", 0),
    )


def _option(name: str, value: str) -> int:
    if name == "retries":
        if not value.isdecimal() or len(value) > _MAX_NUMBER:
            raise InvalidArgument(f"--retries must be at least 0 (not {value[:100]})")
        return int(value)
    if name not in _TIMES:
        raise InvalidArgument(f"Unknown flag: {name[:100]}")
    spans = _SPAN.findall(value)
    if not spans or "".join(number + unit for number, unit in spans) != value:
        raise InvalidArgument(f'time: invalid duration "{value[:100]}"')
    nanoseconds = int(sum(float(number) * _NANOSECONDS[unit] for number, unit in spans))
    if 0 < nanoseconds < _NANOSECONDS["ms"]:
        raise InvalidArgument(f"Interval {name} cannot be less than 1ms")
    return nanoseconds
