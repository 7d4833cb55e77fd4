"""Reading Docker's JSON bodies field by field, so that no option is ignored in silence.

What nobody has read by the end and isn't empty is refused by its name. Names are compared without
regard to case, as Go's decoder does, and type errors are 400 with the field's full name.
"""

from typing import Any

from gateway.errors import bad_parameter, not_implemented

_KINDS = {str: "a string", bool: "a boolean", int: "a number", list: "an array", dict: "an object"}


def is_empty(value: object) -> bool:
    """Whether a value says nothing: null, false, zero, or an empty string, array or object."""
    return value is None or value in (False, 0, "", [], {})


class Fields:
    """A JSON object that is read once; ``path`` is its name in messages ("HostConfig")."""

    def __init__(self, value: object, path: str = "") -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise bad_parameter(f"invalid JSON: {path or 'the body'} must be an object")
        self._path = path
        self._values: dict[str, tuple[str, Any]] = {
            name.lower(): (name, item) for name, item in value.items()
        }

    def name_of(self, name: str) -> str:
        """A field's full name, for messages."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether a field is there and not null; takes nothing."""
        return self._values.get(name.lower(), (name, None))[1] is not None

    def raw(self, name: str) -> Any:
        """Take a field's value as it came; None where it is absent."""
        return self._values.pop(name.lower(), (name, None))[1]

    def text(self, name: str) -> str:
        """Take a string; empty where it is absent."""
        return self._typed(name, str) or ""

    def flag(self, name: str) -> bool:
        """Take a boolean; false where it is absent."""
        return self._typed(name, bool) or False

    def number(self, name: str, bits: int = 64) -> int:
        """Take a whole number of so many bits; zero where it is absent."""
        return self.optional_number(name, bits) or 0

    def optional_number(self, name: str, bits: int = 64) -> int | None:
        """Take a whole number of so many bits that may be absent."""
        value: int | None = self._typed(name, int)
        if value is not None and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise bad_parameter(f"invalid JSON: {self.name_of(name)} is out of range")
        return value

    def texts(self, name: str) -> list[str]:
        """Take an array of strings; empty where it is absent."""
        return self._strings(name, self._typed(name, list) or [])

    def arrays(self, name: str) -> list[list[str]]:
        """Take an array of arrays of strings; empty where it is absent."""
        arrays = self._typed(name, list) or []
        for value in arrays:
            if not isinstance(value, list | None):
                raise bad_parameter(f"invalid JSON: {self.name_of(name)} must hold arrays")
        return [self._strings(name, value or []) for value in arrays]

    def optional_texts(self, name: str) -> list[str] | None:
        """Take an array of strings, or one string in its place; None where it is absent."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise self._mistyped(name, list)
        return self._strings(name, value)

    def mapping(self, name: str) -> dict[str, Any]:
        """Take an object with names of the client's own choice."""
        return self._typed(name, dict) or {}

    def text_mapping(self, name: str) -> dict[str, str]:
        """Take an object of strings; null is an empty one, as it is to Go."""
        value = self.mapping(name)
        for key, item in value.items():
            if not isinstance(item, str | None):
                raise bad_parameter(f"invalid JSON: {self.name_of(name)}.{key} must be a string")
        return {key: item or "" for key, item in value.items()}

    def child(self, name: str) -> "Fields":
        """Take an object whose fields are Docker's."""
        return Fields(self.raw(name), self.name_of(name))

    def objects(self, name: str) -> list["Fields"]:
        """Take an array of objects whose fields are Docker's."""
        values = self._typed(name, list) or []
        return [Fields(value, self.name_of(name)) for value in values]

    def accept(self, name: str, *values: object) -> None:
        """Take a field of which only the empty value and these are implemented."""
        value = self.raw(name)
        if is_empty(value) or any(value == other for other in values):
            return
        raise not_implemented(self.name_of(name))

    def drop(self, *names: str) -> None:
        """Take fields that mean nothing to the server."""
        for name in names:
            self.raw(name)

    def finish(self) -> None:
        """Refuse by name what is left, unless it says nothing."""
        for name, value in self._values.values():
            if not is_empty(value):
                raise not_implemented(self.name_of(name))

    def _strings(self, name: str, values: list[Any]) -> list[str]:
        for value in values:
            if not isinstance(value, str | None):
                raise bad_parameter(f"invalid JSON: {self.name_of(name)} must hold strings")
        return [value or "" for value in values]

    def _typed(self, name: str, kind: type) -> Any:
        value = self.raw(name)
        # bool is an int to Python and none to JSON
        if value is None or (isinstance(value, kind) and (kind is bool) == isinstance(value, bool)):
            return value
        raise self._mistyped(name, kind)

    def _mistyped(self, name: str, kind: type) -> Exception:
        return bad_parameter(f"invalid JSON: {self.name_of(name)} must be {_KINDS[kind]}")
