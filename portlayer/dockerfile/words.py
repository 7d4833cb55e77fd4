"""Words of Dockerfile instructions: quotes, escapes, variables.

Source: the Dockerfile reference, "Environment replacement".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlayer.errors import InvalidArgument

_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _NAME_START | frozenset("0123456789")
# No program is given a longer one (MAX_ARG_STRLEN, execve(2)); variables of variables grow fast.
_MAX_LENGTH = 128 << 10
_MAX_DEPTH = 20
_MODIFIERS = "-+?"


def split(text: str, escape: str = "\\") -> list[str]:
    """Words at white space that is neither quoted nor escaped; quotes stay in them.

    Raises:
        InvalidArgument: a quote isn't closed.
    """
    words: list[str] = []
    word: list[str] = []
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            word.append(text[at : at + 2])
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            if word:
                words.append("".join(word))
                word = []
            at += 1
            continue
        word.append(char)
        at += 1
    if quote:
        raise InvalidArgument(f"unexpected end of statement while looking for matching {quote}")
    if word:
        words.append("".join(word))
    return words


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """One word without its quotes and escapes, its variables replaced.

    Raises:
        InvalidArgument: a quote or a brace isn't closed, a modifier isn't known, or it
            becomes too long.
    """
    return "".join(_Expansion(text, variables, escape, 0).run())


class _Expansion:
    """A walk along one word."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise InvalidArgument("variables are nested too deeply")
        self._text = text
        self._variables = variables
        self._escape = escape
        self._depth = depth
        self._at = 0

    def run(self) -> Iterator[str]:
        """Give the pieces. Raises InvalidArgument as `expand` does."""
        length = 0
        for piece in self._pieces():
            length += len(piece)
            if length > _MAX_LENGTH:
                raise InvalidArgument(f"a word of more than {_MAX_LENGTH} characters")
            yield piece

    def _pieces(self) -> Iterator[str]:
        quote = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "'" and quote != '"':
                yield self._single_quoted()
            elif char == '"':
                quote = "" if quote else '"'
                self._at += 1
            elif char == self._escape:
                yield self._escaped(quoted=bool(quote))
            elif char == "$":
                yield self._variable()
            else:
                yield char
                self._at += 1
        if quote:
            raise InvalidArgument('unexpected end of statement while looking for matching "')

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise InvalidArgument("unexpected end of statement while looking for matching '")
        found = self._text[self._at + 1 : end]
        self._at = end + 1
        return found

    def _escaped(self, *, quoted: bool) -> str:
        following = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        # Within double quotes only what has a meaning there is escaped.
        plain = not quoted or following in f'"${self._escape}'
        return following if plain else self._escape + following

    def _variable(self) -> str:
        self._at += 1
        if self._text[self._at : self._at + 1] == "{":
            return self._braced()
        name = self._name()
        return self._variables.get(name, "") if name else "$"

    def _name(self) -> str:
        start = self._at
        if self._text[start : start + 1] in _NAME_START and start < len(self._text):
            while self._at < len(self._text) and self._text[self._at] in _NAME:
                self._at += 1
        return self._text[start : self._at]

    def _braced(self) -> str:
        opened = self._at
        self._at += 1
        name = self._name()
        end = self._closing_brace(opened)
        written = self._text[self._at : end]
        self._at = end + 1
        if not name:
            raise InvalidArgument(f"bad substitution: {self._text}")
        return self._substituted(name, written) if written else self._variables.get(name, "")

    def _substituted(self, name: str, written: str) -> str:
        """A variable with a modifier; a colon makes an empty one count as none."""
        colon = written[:1] == ":"
        modifier, rest = written[: 1 + colon], written[1 + colon :]
        if modifier[-1:] not in _MODIFIERS:
            raise InvalidArgument(f"unsupported modifier ({modifier}) in substitution")
        value = self._variables.get(name, "")
        there = bool(value) if colon else name in self._variables
        if modifier[-1] == "?" and not there:
            said = self._nested(rest) or "not allowed to be unset" + (" or empty" if colon else "")
            raise InvalidArgument(f"{name}: {said}")
        if there == (modifier[-1] == "+"):
            return self._nested(rest)
        return value if there else ""

    def _nested(self, text: str) -> str:
        inner = _Expansion(text, self._variables, self._escape, self._depth + 1)
        return "".join(inner.run())

    def _closing_brace(self, opened: int) -> int:
        depth = 0
        for at in range(opened, len(self._text)):
            depth += {"{": 1, "}": -1}.get(self._text[at], 0)
            if not depth:
                return at
        raise InvalidArgument(f"syntax error: missing '}}' in {self._text}")
