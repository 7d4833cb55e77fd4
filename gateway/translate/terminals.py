"""Sizes of terminals."""

from vic.tether.v1.process_pb2 import WindowSize

from gateway.errors import bad_parameter
from gateway.fields import Fields

_MOST = 65535


def read_console_size(fields: Fields) -> WindowSize:
    """Take Docker's ConsoleSize, rows before columns; zeros where it is absent. Raises a 400."""
    size = fields.raw("ConsoleSize")
    if size is None:
        return WindowSize()
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(item) is int and 0 <= item <= _MOST for item in size)
    ):
        raise bad_parameter(f"invalid JSON: {fields.name_of('ConsoleSize')} must be two numbers")
    return WindowSize(rows=size[0], columns=size[1])


def window_size(height: str, width: str) -> WindowSize:
    """A size that a resize asks for. Raises a 400 in dockerd's words."""
    return WindowSize(rows=_cells("height", height), columns=_cells("width", width))


def _cells(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise bad_parameter(f'invalid resize {name} "{text}": invalid syntax')
    if text.startswith("-") or len(digits) > 9 or int(digits) > _MOST:
        raise bad_parameter(f'invalid resize {name} "{text}": value out of range')
    return int(digits)
