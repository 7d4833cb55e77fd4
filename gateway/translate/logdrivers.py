"""Docker's log drivers and their options, to the contract and back."""

from typing import Any, Final

from vic.exec.v1.container_pb2 import LogDriver, LogOptions, SyslogFormat, SyslogOptions

from gateway.errors import bad_parameter, not_implemented
from gateway.fields import Fields

_DRIVERS: Final = {
    "": LogDriver.LOG_DRIVER_UNSPECIFIED,
    "json-file": LogDriver.LOG_DRIVER_JSON_FILE,
    "local": LogDriver.LOG_DRIVER_LOCAL,
    "none": LogDriver.LOG_DRIVER_NONE,
    "syslog": LogDriver.LOG_DRIVER_SYSLOG,
}
_NAMES: Final = {driver: name or "json-file" for name, driver in _DRIVERS.items()}
# Those that dockerd brings besides ours.
_OF_DOCKER: Final = frozenset(
    {"awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "splunk"}
)

_FORMATS: Final = {
    "": SyslogFormat.SYSLOG_FORMAT_UNSPECIFIED,
    "rfc5424": SyslogFormat.SYSLOG_FORMAT_RFC5424,
    "rfc5424micro": SyslogFormat.SYSLOG_FORMAT_RFC5424_MICRO,
    "rfc3164": SyslogFormat.SYSLOG_FORMAT_RFC3164,
}
_FORMAT_NAMES: Final = {number: name for name, number in _FORMATS.items()}

_STORED: Final = frozenset({"max-size", "max-file"})
_SYSLOG: Final = frozenset({"syslog-address", "syslog-facility", "syslog-format", "tag"})
_OPTIONS: Final = {
    "": _STORED,
    "json-file": _STORED,
    "local": _STORED,
    "none": frozenset[str](),
    "syslog": _STORED | _SYSLOG,
}
# What dockerd's drivers of these names know besides.
_MORE_OF_DOCKER: Final = frozenset(
    {
        *("compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode"),
        *("max-buffer-size", "cache-disabled", "cache-max-file", "cache-max-size"),
        *("cache-compress", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key"),
        "syslog-tls-skip-verify",
    }
)

_LARGEST_SIZE: Final = 2**63 - 1
_SIZE_UNITS: Final = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def read_log(fields: Fields) -> LogOptions:
    """Read a create request's LogConfig. Raises a 400 in Docker's words, and 501."""
    name = fields.text("Type")
    if name in _OF_DOCKER:
        raise not_implemented(f"logging driver {name!r}")
    if name not in _DRIVERS:
        raise bad_parameter(f'error looking up logging plugin {name}: plugin "{name}" not found')
    options = fields.text_mapping("Config")
    for unknown in sorted(set(options) - _OPTIONS[name]):
        if unknown in _MORE_OF_DOCKER:
            raise not_implemented(f"log option {unknown!r}")
        raise bad_parameter(f"unknown log opt '{unknown}' for {name or 'json-file'} log driver")
    fields.finish()
    return LogOptions(
        driver=_DRIVERS[name],
        max_size_bytes=_size(options.get("max-size", "")),
        max_files=_count(options.get("max-file", "")),
        syslog=_syslog(options) if name == "syslog" else None,
    )


def _syslog(options: dict[str, str]) -> SyslogOptions:
    form = options.get("syslog-format", "")
    if form not in _FORMATS:
        raise bad_parameter("invalid syslog format")
    return SyslogOptions(
        address=options.get("syslog-address", ""),
        tag=options.get("tag", ""),
        facility=options.get("syslog-facility", ""),
        format=_FORMATS[form],
    )


def log_json(options: LogOptions) -> dict[str, Any]:
    """Return a container's LogConfig as Docker tells it."""
    config = {}
    if options.max_size_bytes:
        config["max-size"] = str(options.max_size_bytes)
    if options.max_files:
        config["max-file"] = str(options.max_files)
    if options.driver == LogDriver.LOG_DRIVER_SYSLOG:
        given = {
            "syslog-address": options.syslog.address,
            "syslog-facility": options.syslog.facility,
            "syslog-format": _FORMAT_NAMES.get(options.syslog.format, ""),
            "tag": options.syslog.tag,
        }
        config.update({name: value for name, value in given.items() if value})
    return {"Type": _NAMES.get(options.driver, "json-file"), "Config": config}


def _size(text: str) -> int:
    """A size such as ``10m``; -1 and nothing mean no bound."""
    if text in ("", "-1"):
        return 0
    number, unit = text, "b"
    if text[-1:].lower() in _SIZE_UNITS:
        number, unit = text[:-1], text[-1].lower()
    if not (number.isascii() and number.isdigit()) or len(number) > 15:
        raise bad_parameter(f"invalid size {text!r} of log option max-size")
    size = int(number) * _SIZE_UNITS[unit]
    if size > _LARGEST_SIZE:
        raise bad_parameter(f"size {text!r} of log option max-size is out of range")
    return size


def _count(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:10]) < 10_000:
        raise bad_parameter(f"invalid number {text!r} of log option max-file")
    return int(text)
