"""One request to the Docker API: its version, its query as Docker reads it, its JSON body."""

import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway import API_VERSION
from gateway.decoding import decode_json
from gateway.errors import ApiError, bad_parameter

# The largest body of JSON: a create request with many labels and environment variables.
MAX_JSON_BODY = 4 * 1024 * 1024

_NUMBER = re.compile("[+-]?[0-9]{1,18}")
# Source: httputils.BoolValue of moby.
_FALSE = frozenset({"", "0", "no", "false", "none"})


class Call:
    """A request, read with Docker's conventions. Errors are :class:`~gateway.errors.ApiError`."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.version: tuple[int, int] = request.scope.get("vic.api_version", API_VERSION)
        query = request.scope.get("query_string", b"")
        self._query: dict[str, list[str]] = {}
        if query:
            self._read_query(query)

    def _read_query(self, query: bytes) -> None:
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000
            )
        except ValueError as error:
            raise bad_parameter(f"invalid query: {error}") from None
        for name, value in pairs:
            self._query.setdefault(name, []).append(value)

    def path(self, name: str) -> str:
        """A part of the path."""
        value: str = self.request.path_params[name]
        return value

    def text(self, name: str, default: str = "") -> str:
        """A query parameter; the first where it is repeated."""
        values = self._query.get(name)
        return values[0] if values else default

    def texts(self, name: str) -> list[str]:
        """All values of a query parameter."""
        return self._query.get(name, [])

    def only(self, known: Collection[str], what: str) -> None:
        """Refuse by name a query parameter that isn't one of these and says something."""
        for name, values in self._query.items():
            if name not in known and any(values):
                raise ApiError(501, f"{what} {name} is not implemented yet")

    def has(self, name: str) -> bool:
        """Whether a query parameter was given at all."""
        return name in self._query

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean query parameter: everything is true but a few words and nothing."""
        if name not in self._query:
            return default
        return self.text(name).strip().lower() not in _FALSE

    def optional_number(self, name: str) -> int | None:
        """A whole number, None where it is absent or empty."""
        value = self.text(name)
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            raise bad_parameter(f'invalid value for "{name}": {json.dumps(value)} is not a number')
        return int(value)

    def header(self, name: str) -> str:
        """A header's value, empty where it is absent."""
        return self.request.headers.get(name, "")

    async def json(self) -> Any:
        """The body as JSON; None where there is none."""
        body = await self._body()
        if not body.strip():
            return None
        kind = self.header("content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise bad_parameter(
                f"unsupported Content-Type header ({kind}): must be 'application/json'"
            )
        try:
            return decode_json(body)
        except ValueError as error:
            raise bad_parameter(f"invalid JSON: {error}") from None

    async def _body(self) -> bytes:
        length = self.header("content-length")
        if length and int(length) > MAX_JSON_BODY:
            raise ApiError(413, "the request's body is too large")
        body = bytearray()
        try:
            async for piece in self.request.stream():
                body += piece
                if len(body) > MAX_JSON_BODY:
                    raise ApiError(413, "the request's body is too large")
        except ClientDisconnect:
            raise bad_parameter("the client went away before it had sent its request") from None
        return bytes(body)


def json_response(value: object, status: int = 200) -> Response:
    """An answer in Docker's form: compact JSON and a newline."""
    return Response(json_line(value), status, media_type="application/json")


def json_line(value: object) -> bytes:
    """One JSON value on a line of its own."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Numbers beyond 64 bits and lone surrogates, which may be in an image that was pulled.
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def no_content() -> Response:
    """204."""
    return Response(status_code=204)
