"""Build arguments: which of them a stage knows, and what commands get of them."""

from collections.abc import Iterable, Mapping, Sequence

PREDEFINED = frozenset(
    name
    for word in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (word, word.lower())
)
"""Those that need no ARG, and are part of no image's history unless they have one."""


class Arguments:
    """The arguments of one stage, by what the request gives and what the Dockerfile declares."""

    def __init__(self, given: Mapping[str, str | None], known: Mapping[str, str]) -> None:
        """`known` are those of ARGs before the first FROM."""
        self._given = given
        self._known = known
        self._declared: dict[str, str | None] = {}

    def declare(self, name: str, default: str | None) -> None:
        """Know an argument from now on, by an ARG."""
        self._declared[name] = default

    @property
    def values(self) -> dict[str, str]:
        """What `$NAME` stands for in what follows."""
        found = {name: self._given.get(name) for name in PREDEFINED}
        for name, default in self._declared.items():
            given = self._given.get(name)
            if given is None:
                given = default if default is not None else self._known.get(name)
            found[name] = given
        return {name: value for name, value in found.items() if value is not None}

    def environment(self, of_image: Iterable[str]) -> list[str]:
        """What a command has in its environment: the arguments, which the image's own go before."""
        names = {entry.partition("=")[0] for entry in of_image}
        return [f"{name}={value}" for name, value in self.values.items() if name not in names]

    def recorded(self, command: Sequence[str], of_image: Iterable[str]) -> tuple[str, ...]:
        """A command as the history and the cache know it: `|2 a=1 b=2 /bin/sh -c …`."""
        told = [
            entry
            for entry in self.environment(of_image)
            if (name := entry.partition("=")[0]) not in PREDEFINED or name in self._declared
        ]
        return (f"|{len(told)}", *sorted(told), *command) if told else tuple(command)

    @property
    def declared(self) -> set[str]:
        """The names that an ARG has declared."""
        return set(self._declared)
