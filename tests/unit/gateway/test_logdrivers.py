"""`--log-driver` and `--log-opt`: what is read, told again, and refused."""

from typing import Any

import pytest

from gateway.errors import ApiError
from gateway.fields import Fields
from gateway.translate.logdrivers import log_json, read_log


def read(driver: str, **options: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return read_log(Fields({"Type": driver, "Config": named}, "HostConfig.LogConfig"))


def test_syslog_comes_back_as_it_was_asked_for() -> None:
    options = {
        "syslog_address": "udp://logs:514",
        "syslog_facility": "local3",
        "syslog_format": "rfc5424micro",
        "tag": "{{.Name}}",
        "max_size": "1000",
    }
    told = log_json(read("syslog", **options))
    assert told == {
        "Type": "syslog",
        "Config": {name.replace("_", "-"): value for name, value in options.items()},
    }
    assert log_json(read("")) == {"Type": "json-file", "Config": {}}


@pytest.mark.parametrize(
    ("driver", "options", "status", "message"),
    [
        ("syslog", {"syslog_format": "x"}, 400, "invalid syslog format"),
        ("syslog", {"nope": "x"}, 400, "unknown log opt 'nope' for syslog log driver"),
        ("", {"syslog_address": "x"}, 400, "unknown log opt 'syslog-address' for json-file log"),
        ("syslog", {"syslog_tls_key": "x"}, 501, "log option 'syslog-tls-key'"),
        ("syslog", {"env": "x"}, 501, "log option 'env'"),
        ("none", {"max_size": "1"}, 400, "unknown log opt 'max-size' for none log driver"),
        ("gelf", {}, 501, "logging driver 'gelf'"),
        ("nope", {}, 400, 'plugin "nope" not found'),
    ],
)
def test_what_is_refused(driver: str, options: dict[str, str], status: int, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read(driver, **options)
    assert refused.value.status == status
    assert message in str(refused.value)
