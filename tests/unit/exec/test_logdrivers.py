"""Log driver syslog: the container's wish, the administrator's choice, and what is refused."""

import pytest
from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import process_pb2

from portlayer.errors import InvalidArgument, NotImplementedYet
from services.exec.logdrivers import facility_number, parse_address, syslog_target
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import spec

SYSLOG = container_pb2.LOG_DRIVER_SYSLOG


def options(**fields: object) -> container_pb2.LogOptions:
    return container_pb2.LogOptions(driver=SYSLOG, syslog=fields)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("udp://logs.example", "udp://logs.example:514"),
        ("tcp://[2001:db8::1]:601", "tcp://[2001:db8::1]:601"),
        ("unix:///dev/log", "unix:///dev/log"),
    ],
)
def test_addresses(given: str, meant: str) -> None:
    assert parse_address(given) == meant


@pytest.mark.parametrize("given", ["logs", "http://h", "udp://", "tcp://h:99999", "tcp://h/x"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_address(given)


def test_facilities() -> None:
    assert [facility_number(name) for name in ("", "kern", "ftp", "local7", "23")] == [
        *(3, 0, 11, 23, 23)
    ]
    for wrong in ("nope", "24", "-1", "local8"):
        with pytest.raises(InvalidArgument, match="invalid syslog facility"):
            facility_number(wrong)


async def test_interaction_is_told_what_the_container_asked_for(facet: Facet) -> None:
    wish = options(
        address="udp://logs:99",
        tag="{{.Name}}/{{.ID}}",
        facility="local0",
        format=container_pb2.SYSLOG_FORMAT_RFC3164,
    )
    record = await facet.creator.create("", spec(name="web", log=wish))
    told = syslog_target(record)
    assert told == process_pb2.SyslogTarget(
        address="udp://logs:99",
        tag=f"web/{record.id[:12]}",
        facility=16,
        format=process_pb2.SYSLOG_FORMAT_RFC3164,
    )
    plain = await facet.creator.create("", spec())
    assert syslog_target(plain) is None


async def test_the_administrators_server_is_for_who_names_no_driver_or_no_address(
    facet: Facet,
) -> None:
    with pytest.raises(InvalidArgument, match="named no server"):
        await facet.creator.create("", spec(log=options()))
    await facet.vch.configure(exec_pb2.ConfigureRequest(log_syslog="unix:///dev/log"))
    for log in (None, options(), options(address="unix:///dev/log")):
        record = await facet.creator.create("", spec(log=log))
        told = syslog_target(record)
        assert told is not None
        assert (told.address, told.tag) == ("unix:///dev/log", record.id[:12])
    with pytest.raises(InvalidArgument, match="administrator's to name"):
        await facet.creator.create("", spec(log=options(address="unix:///run/docker.sock")))
    own = container_pb2.LogOptions(driver=container_pb2.LOG_DRIVER_LOCAL)
    assert syslog_target(await facet.creator.create("", spec(log=own))) is None
    assert (await facet.vch.info()).log_syslog == "unix:///dev/log"

    answer = await facet.vch.configure(exec_pb2.ConfigureRequest(log_syslog=""))
    assert answer.log_syslog == ""
    assert syslog_target(await facet.creator.create("", spec())) is None
    with pytest.raises(InvalidArgument, match="unsupported scheme: 'http'"):
        await facet.vch.configure(exec_pb2.ConfigureRequest(log_syslog="http://h"))


@pytest.mark.parametrize(
    "wish",
    [{"tag": "{{json .}}"}, {"tag": "{{.Nope}}"}, {"address": "tcp+tls://h:6514"}],
)
async def test_what_is_not_there_is_refused_by_name(facet: Facet, wish: dict[str, str]) -> None:
    with pytest.raises(NotImplementedYet, match=next(iter(wish))):
        await facet.creator.create("", spec(log=options(**{"address": "udp://h", **wish})))
