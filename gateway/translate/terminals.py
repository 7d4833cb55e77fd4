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


def window_size(rows: int | None, columns: int | None) -> WindowSize:
    """A size that a resize asks for. Raises a 400."""
    for name, size in (("height", rows), ("width", columns)):
        if size is None or not 0 <= size <= _MOST:
            raise bad_parameter(f"invalid resize {name}")
    return WindowSize(rows=rows, columns=columns)
