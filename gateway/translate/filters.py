"""The ``filters`` parameter of list, prune and events."""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import re2

from gateway.decoding import decode_json
from gateway.errors import bad_parameter

# What a pattern may take, in bytes; one that is larger is found nowhere, as one that is none.
_PATTERN_MEMORY = 1 << 20


class Filters:
    """Values by key: keys must all hold, of a key's values one must."""

    def __init__(self, values: Mapping[str, frozenset[str]]) -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str, known: Collection[str]) -> "Filters":
        """Read both of Docker's forms, ``{"a":["b"]}`` and ``{"a":{"b":true}}``.

        Raises a 400 for anything else, and for a key that isn't known.
        """
        if not text:
            return cls({})
        try:
            decoded = decode_json(text)
        except ValueError:
            raise bad_parameter("invalid filter") from None
        if not isinstance(decoded, dict):
            raise bad_parameter("invalid filter")
        values = {}
        for key, given in decoded.items():
            if key not in known:
                raise bad_parameter(f"invalid filter '{key}'")
            values[key] = frozenset(_values_of(key, given))
        filters = cls(values)
        # What is no boolean is refused also where there is nothing to filter.
        filters.flag("dangling")
        return filters

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> frozenset[str]:
        """All values of a key."""
        return self._values.get(key, frozenset())

    def flag(self, key: str, default: bool = False) -> bool:
        """A key whose one value is a boolean."""
        if key not in self._values:
            return default
        truths = {value in ("1", "true") for value in self._values[key]}
        if len(truths) != 1 or not self._values[key] <= {"0", "1", "true", "false"}:
            given = ", ".join(sorted(self._values[key]))
            raise bad_parameter(f"invalid filter '{key}=[{given}]'")
        return truths.pop()

    def exact(self, key: str, candidate: str) -> bool:
        """Whether the candidate is one of the values, or there are none."""
        return not self.get(key) or candidate in self.get(key)

    def prefix(self, key: str, candidate: str) -> bool:
        """Whether the candidate begins with one of the values, or there are none."""
        return not self.get(key) or any(candidate.startswith(value) for value in self.get(key))

    def pattern(self, key: str, *candidates: str) -> bool:
        """Whether a value is a candidate, or a regular expression found in one."""
        values = self.get(key)
        return not values or any(_found(value, text) for value in values for text in candidates)

    def labels(self, labels: Mapping[str, str]) -> bool:
        """Whether all of ``name`` and ``name=value`` hold."""
        return all(_holds(wanted, labels) for wanted in self.get("label"))

    def no_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether none of those holds that mustn't."""
        return not any(_holds(unwanted, labels) for unwanted in self.get("label!"))


def _holds(label: str, labels: Mapping[str, str]) -> bool:
    name, has_value, value = label.partition("=")
    return name in labels and (not has_value or labels[name] == value)


def _values_of(key: str, given: object) -> list[str]:
    if isinstance(given, dict):
        given = [value for value, wanted in given.items() if wanted]
    if not isinstance(given, list) or not all(isinstance(value, str) for value in given):
        raise bad_parameter(f"invalid filter '{key}'")
    return given


def _found(value: str, text: str) -> bool:
    if value == text:
        return True
    pattern = _compiled(value)
    return pattern is not None and pattern.search(text) is not None


@functools.lru_cache(maxsize=64)
def _compiled(value: str) -> Any:
    """A pattern, or None where it is none.

    Docker's are Go's, which take linear time: so do those of RE2, where Python's own would go back
    and forth. Source: pkg.go.dev/regexp/syntax.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        return re2.compile(value, options)
    except re2.error:
        return None
