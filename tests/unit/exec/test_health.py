"""Health checks: what is asked for, what a tether is told, what is recorded of it."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import process_pb2 as interaction_process_pb2
from vic.storage.v1 import image_pb2
from vic.tether.v1 import health_pb2, process_pb2

from portlayer.errors import InvalidArgument
from services.exec.health import complete_health_check, probe, validate_health_check
from services.exec.record import Record
from tests.unit.exec.conftest import Facet

STARTING, HEALTHY = health_pb2.HEALTH_STATUS_STARTING, health_pb2.HEALTH_STATUS_HEALTHY
UNHEALTHY = health_pb2.HEALTH_STATUS_UNHEALTHY
IMAGE = image_pb2.ImageConfig(
    health_check={"test": ["CMD-SHELL", "ask || exit 1"], "interval": {"seconds": 7}, "retries": 2},
    shell=["/bin/bash", "-c"],
)


def check(*test: str, **more: Any) -> container_pb2.HealthCheck:
    """A check as a client asks for it."""
    return container_pb2.HealthCheck(test=test, **more)


def told(full: container_pb2.HealthCheck) -> health_pb2.HealthProbe | None:
    """What a tether is told of it."""
    spec = container_pb2.ContainerSpec(health_check=full)
    init = process_pb2.ProcessSpec(args=["serve"], user="app", tty=True, stdin=True, env=["A=b"])
    return probe(spec, init)


def test_the_images_check_and_dockers_defaults_fill_what_is_left_open() -> None:
    inherited = told(complete_health_check(check(), IMAGE))
    assert inherited is not None
    assert list(inherited.process.args) == ["/bin/bash", "-c", "ask || exit 1"]
    assert (inherited.process.user, inherited.process.tty, inherited.process.stdin) == (
        "app",
        False,
        False,
    )
    assert (inherited.interval.seconds, inherited.timeout.seconds, inherited.retries) == (7, 30, 2)
    assert (inherited.start_period.seconds, inherited.start_interval.seconds) == (0, 5)

    own = check("CMD", "ask", "twice", timeout=Duration(seconds=1))
    changed = told(complete_health_check(own, IMAGE))
    assert changed is not None
    assert list(changed.process.args) == ["ask", "twice"]
    assert (changed.interval.seconds, changed.timeout.seconds) == (7, 1)


def test_none_switches_the_images_check_off() -> None:
    assert told(complete_health_check(check("NONE"), IMAGE)) is None
    assert told(complete_health_check(check(), image_pb2.ImageConfig())) is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (check(interval=Duration(nanos=10)), "Interval in Healthcheck cannot be less than 1ms"),
        (check(timeout=Duration(seconds=-1)), "Timeout in Healthcheck cannot be less than 1ms"),
        (check("SHOUT", "x"), "Unknown healthcheck type 'SHOUT'"),
        (check("CMD"), "has no command"),
    ],
)
def test_what_cannot_be_is_refused(wrong: container_pb2.HealthCheck, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        validate_health_check(wrong)


def state(status: Any, *ends: int) -> health_pb2.Health:
    """A state after probes that ended at these seconds."""
    results = [health_pb2.HealthResult(finished_at=Timestamp(seconds=end)) for end in ends]
    return health_pb2.Health(status=status, results=results)


async def started(facet: Facet) -> Record:
    """A running container with a check."""
    spec = container_pb2.ContainerSpec(image="busybox", health_check={"test": ["CMD", "ask"]})
    record = await facet.creator.create("", spec)
    assert not record.message().status.HasField("health")
    return await start(facet, record.id)


async def start(facet: Facet, container_id: str) -> Record:
    """Start it."""
    await facet.lifecycle.start(container_id)
    record = await facet.containers.get(container_id)
    assert record is not None
    return record


async def tell(
    facet: Facet, record: Record, sequence: int, health: health_pb2.Health, boot_id: str = ""
) -> None:
    """Have interaction tell of a container's health."""
    event = interaction_process_pb2.ProcessEvent(
        sequence=sequence,
        container_id=record.id,
        boot_id=boot_id or record.boot_id,
        process_id="init",
        health=health,
    )
    await facet.reports.take(event)


async def test_states_are_recorded_and_changes_told(facet: Facet) -> None:
    record = await started(facet)
    assert record.message().status.health.status == STARTING
    await tell(facet, record, 1, state(UNHEALTHY, 1), boot_id="another")
    await tell(facet, record, 1, state(STARTING, 4))
    await tell(facet, record, 2, state(UNHEALTHY, 5))
    await tell(facet, record, 3, state(HEALTHY, 10))
    # Told again, as after a restart, and to another replica.
    await tell(facet, record, 2, state(UNHEALTHY, 5))
    await tell(facet, record, 3, state(HEALTHY, 10))
    await tell(facet, record, 4, state(HEALTHY, 10, 20))
    await tell(facet, record, 6, state(UNHEALTHY, 10, 20, 30))
    current = await facet.containers.get(record.id)
    assert current is not None
    assert current.message().status.health == state(UNHEALTHY, 10, 20, 30)
    kind = exec_pb2.EVENT_KIND_HEALTH_STATUS
    events = [event for event in await facet.history.after(0) if event.kind == kind]
    assert [event.detail for event in events] == ["unhealthy", "healthy", "unhealthy"]


async def test_another_run_begins_anew(facet: Facet) -> None:
    record = await started(facet)
    await tell(facet, record, 1, state(HEALTHY, 10))
    await facet.lifecycle.stop(record.id, 5, "")
    ended = await facet.containers.get(record.id)
    assert ended is not None
    assert ended.message().status.health.status == HEALTHY
    again = await start(facet, record.id)
    assert again.message().status.health == health_pb2.Health(status=STARTING)


async def test_what_clients_run_is_told_in_its_order(facet: Facet) -> None:
    record = await started(facet)
    what: dict[str, Any] = {"created": {}, "running": {"pid": 7}, "ended": {"exit_code": 3}}
    events = [
        interaction_process_pb2.ProcessEvent(
            sequence=number,
            container_id=record.id,
            process_id="e1",
            command="ls -l",
            **{name: value},
        )
        for number, (name, value) in enumerate(what.items(), 1)
    ]
    await asyncio.gather(*(facet.reports.take(event) for event in events))
    told = (await facet.history.after(0))[-3:]
    names = [exec_pb2.EventKind.Name(event.kind) for event in told]
    assert names == ["EVENT_KIND_EXEC_CREATE", "EVENT_KIND_EXEC_START", "EVENT_KIND_EXEC_DIE"]
    assert [event.detail for event in told] == ["ls -l", "ls -l", ""]
    assert {event.attributes["execID"] for event in told} == {"e1"}
    assert told[2].attributes["exitCode"] == "3"
