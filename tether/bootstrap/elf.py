"""Reads what the builder needs from 64-bit little-endian ELF files.

A fresh Debian machine has neither binutils nor kmod's ``depmod``, so the libraries that a program
needs (``DT_NEEDED``) and what a kernel module says of itself (``.modinfo``) are read here.
Format: System V ABI, chapters 4 and 5; ``elf(5)``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from tether.bootstrap.errors import BootstrapError, MissingLibraryError

_MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")
_SHT_DYNAMIC = 6
_DT_NEEDED = 1


@dataclass(frozen=True)
class _Section:
    name_offset: int
    kind: int
    offset: int
    size: int
    link: int


class ElfFile:
    """One ELF file, read whole."""

    def __init__(self, data: bytes, name: str = "file") -> None:
        """Parse the section table of ``data``; ``name`` is for error messages."""
        if not data.startswith(_MAGIC):
            raise BootstrapError(f"{name} is not a 64-bit little-endian ELF file")
        self._data = data
        self._name = name
        try:
            fields = _HEADER.unpack_from(data)
            section_offset, entry_size, count, names_index = fields[5], *fields[10:13]
            self._sections = [
                self._section(section_offset + index * entry_size) for index in range(count)
            ]
            self._names = self._sections[names_index] if self._sections else None
        except (struct.error, IndexError) as error:
            raise BootstrapError(f"{name} is truncated or damaged: {error}") from error

    def _section(self, offset: int) -> _Section:
        name, kind, _flags, _addr, start, size, link, *_ = _SECTION.unpack_from(self._data, offset)
        return _Section(name, kind, start, size, link)

    def _text(self, table: _Section, offset: int) -> str:
        start = table.offset + offset
        return self._data[start : self._data.index(b"\0", start)].decode()

    def section(self, name: str) -> bytes:
        """The bytes of the section called ``name``; empty if there is none."""
        if self._names is None:
            return b""
        for section in self._sections:
            if self._text(self._names, section.name_offset) == name:
                return self._data[section.offset : section.offset + section.size]
        return b""

    def needed(self) -> tuple[str, ...]:
        """The sonames of the shared libraries that the dynamic linker has to load for this file."""
        names: list[str] = []
        for section in self._sections:
            if section.kind != _SHT_DYNAMIC:
                continue
            strings = self._sections[section.link]
            body = self._data[section.offset : section.offset + section.size]
            body = body[: len(body) // _DYNAMIC.size * _DYNAMIC.size]
            for tag, value in _DYNAMIC.iter_unpack(body):
                if tag == _DT_NEEDED:
                    names.append(self._text(strings, value))
        return tuple(names)

    def modinfo(self) -> dict[str, list[str]]:
        """A kernel module's ``key=value`` pairs; a key may come more than once."""
        pairs: dict[str, list[str]] = {}
        for entry in self.section(".modinfo").split(b"\0"):
            key, equals, value = entry.partition(b"=")
            if equals:
                pairs.setdefault(key.decode(), []).append(value.decode(errors="replace"))
        return pairs


def library_closure(programs: list[Path], directories: list[Path]) -> dict[str, Path]:
    """All shared libraries that ``programs`` need, directly or not, by soname.

    Raises MissingLibraryError when one of them is in none of ``directories``.
    """
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        program = waiting.pop()
        for soname in ElfFile(program.read_bytes(), str(program)).needed():
            if soname in found:
                continue
            library = next((d / soname for d in directories if (d / soname).exists()), None)
            if library is None:
                raise MissingLibraryError(
                    f"{program.name} needs {soname}, which none of the image's packages has"
                )
            found[soname] = library.resolve()
            waiting.append(found[soname])
    return found
