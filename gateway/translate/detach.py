"""Detach keys: the key sequence by which a terminal leaves a container running."""

import re

from gateway.errors import bad_parameter

_DEFAULT = b"\x10\x11"  # ctrl-p, ctrl-q
_CONTROL = re.compile(r"ctrl-([a-z@\[\\\]^_])")


class DetachKeys:
    """Finds the sequence in a stream of input, however it is cut.

    Bytes that may begin the sequence are held back until it is clear whether they do.
    """

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = 0

    @classmethod
    def parse(cls, text: str) -> "DetachKeys":
        """Read Docker's form, ``ctrl-p,ctrl-q``; the default where it is empty. Raises a 400."""
        if not text:
            return cls(_DEFAULT)
        sequence = bytearray()
        for key in text.split(","):
            control = _CONTROL.fullmatch(key)
            if control is not None:
                sequence.append(ord(control[1].upper()) - 64)
            elif len(key) == 1 and key.isascii():
                sequence.append(ord(key))
            else:
                raise bad_parameter(f"Invalid detach keys ({text}) provided")
        return cls(bytes(sequence))

    @property
    def sequence(self) -> bytes:
        """The bytes that it is."""
        return self._sequence

    def scan(self, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be passed on, and whether the sequence has come."""
        passed = bytearray()
        for byte in data:
            if byte == self._sequence[self._held]:
                self._held += 1
                if self._held == len(self._sequence):
                    return bytes(passed), True
                continue
            passed += self._sequence[: self._held]
            self._held = 0
            if byte == self._sequence[0] and len(self._sequence) > 1:
                self._held = 1
            else:
                passed.append(byte)
        return bytes(passed), False
