"""Where the lines of containers' logs go beside interaction's own store: log driver syslog.

The administrator may name a server for all containers whose driver nobody named. Words of errors
are dockerd's. Source: moby, daemon/logger/syslog/syslog.go, daemon/logger/loggerutils/log_tag.go.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from vic.exec.v1 import container_pb2
from vic.interaction.v1 import process_pb2

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason
from services.exec.facts import Facts
from services.exec.record import Record

# Name of the fact that holds the administrator's server.
LOG_SYSLOG: Final = "log_syslog"

# Of the log that is kept beside: dockerd's for drivers that can't be read themselves.
KEPT_BYTES: Final = 20 * 1024 * 1024
KEPT_FILES: Final = 5

_DEFAULT_PORT: Final = 514
_DEFAULT_TAG: Final = "{{.ID}}"
# Source: RFC 5424, 6.2.1, by syslog.h's names.
_FACILITIES: Final = {
    **dict(
        zip("kern user mail daemon auth syslog lpr news uucp cron".split(), range(10), strict=True)
    ),
    "authpriv": 10,
    "ftp": 11,
    **{f"local{number}": 16 + number for number in range(8)},
}
_PLACEHOLDER: Final = re.compile(r"\{\{\s*\.?(\w*)\s*\}\}")
_FORMATS: Final = {
    container_pb2.SYSLOG_FORMAT_UNSPECIFIED: process_pb2.SYSLOG_FORMAT_UNSPECIFIED,
    container_pb2.SYSLOG_FORMAT_RFC5424: process_pb2.SYSLOG_FORMAT_UNSPECIFIED,
    container_pb2.SYSLOG_FORMAT_RFC5424_MICRO: process_pb2.SYSLOG_FORMAT_RFC5424_MICRO,
    container_pb2.SYSLOG_FORMAT_RFC3164: process_pb2.SYSLOG_FORMAT_RFC3164,
}


class LogDrivers:
    """Knows the administrator's server."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    async def chosen(self) -> str:
        """Return the address of the administrator's server; empty for none."""
        return await self._facts.fact(LOG_SYSLOG) or ""

    async def choose(self, address: str) -> None:
        """Set it, for containers made from now on. Raises InvalidArgument (INVALID_SPEC)."""
        await self._facts.set_fact(LOG_SYSLOG, parse_address(address) if address else "")

    async def complete(self, spec: container_pb2.ContainerSpec) -> container_pb2.ContainerSpec:
        """Return a specification whose log driver and its server are settled.

        Raises InvalidArgument (INVALID_SPEC) and NotImplementedYet for what can't be.
        """
        options = spec.log
        if options.driver == container_pb2.LOG_DRIVER_UNSPECIFIED:
            if not (address := await self.chosen()):
                return spec
        elif options.driver == container_pb2.LOG_DRIVER_SYSLOG:
            address = await self._address(options.syslog.address)
        else:
            return spec
        facility_number(options.syslog.facility)
        check_tag(options.syslog.tag)
        full = container_pb2.ContainerSpec()
        full.CopyFrom(spec)
        full.log.driver = container_pb2.LOG_DRIVER_SYSLOG
        full.log.syslog.address = address
        return full

    async def _address(self, asked: str) -> str:
        chosen = await self.chosen()
        if not asked:
            if not chosen:
                raise _invalid(
                    "log driver syslog needs the option syslog-address: the administrator has "
                    "named no server"
                )
            return chosen
        address = parse_address(asked)
        if address.startswith("unix:") and address != chosen:
            raise _invalid(f"{asked}: a socket of the host is the administrator's to name")
        return address


def parse_address(text: str) -> str:
    """Return the address of a syslog server with its port. Raises InvalidArgument."""
    try:
        parts = urlsplit(text)
        port = parts.port or _DEFAULT_PORT
    except ValueError as error:
        raise _invalid(f"invalid syslog address {text!r}: {error}") from None
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise _invalid(f"invalid syslog address {text!r}: a path is needed")
        return f"unix://{parts.path}"
    if parts.scheme == "tcp+tls":
        raise NotImplementedYet("syslog-address tcp+tls: not implemented", option="syslog-address")
    if parts.scheme not in ("udp", "tcp"):
        raise _invalid(f"unsupported scheme: '{parts.scheme}'")
    if not parts.hostname or parts.path or parts.query or parts.username:
        raise _invalid(f"invalid syslog address {text!r}: {parts.scheme}://HOST[:PORT] is needed")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def facility_number(text: str) -> int:
    """Return the number of a facility. Raises InvalidArgument (INVALID_SPEC)."""
    if not text:
        return _FACILITIES["daemon"]
    if text in _FACILITIES:
        return _FACILITIES[text]
    if text.isascii() and text.isdigit() and int(text[:3]) <= 23:
        return int(text)
    raise _invalid("invalid syslog facility")


def check_tag(template: str) -> None:
    """Raise NotImplementedYet for what of Go's templates a tag can't have."""
    _tag(template, dict.fromkeys(_tag_values("", "", "", ""), ""))


def syslog_target(record: Record) -> process_pb2.SyslogTarget | None:
    """Return what interaction is told, or None where no log goes to a server."""
    spec = record.spec
    if spec.log.driver != container_pb2.LOG_DRIVER_SYSLOG:
        return None
    options = spec.log.syslog
    values = _tag_values(record.id, spec.name, spec.image_id, spec.image)
    return process_pb2.SyslogTarget(
        address=options.address,
        tag=_tag(options.tag or _DEFAULT_TAG, values),
        facility=facility_number(options.facility),
        format=_FORMATS.get(options.format, process_pb2.SYSLOG_FORMAT_UNSPECIFIED),
    )


def _tag_values(container_id: str, name: str, image_id: str, image: str) -> dict[str, str]:
    return {
        "ID": container_id[:12],
        "FullID": container_id,
        "Name": name,
        "ImageID": image_id.removeprefix("sha256:")[:12],
        "ImageFullID": image_id,
        "ImageName": image,
        "DaemonName": "docker",
    }


def _tag(template: str, values: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise NotImplementedYet(f"log option tag: {found[0]} is not implemented", option="tag")
        return values[found[1]]

    filled = _PLACEHOLDER.sub(value, template)
    if "{{" in filled:
        raise NotImplementedYet(f"log option tag: {template!r} is not implemented", option="tag")
    return filled


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)
