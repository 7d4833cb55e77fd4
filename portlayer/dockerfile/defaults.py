"""What an image says about the containers made of it, as instructions change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration
from vic.storage.v1 import image_pb2


@dataclass(frozen=True)
class HealthCheck:
    """How to see whether a container is well; times in nanoseconds, 0 for the default."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True)
class ContainerDefaults:
    """What an image says about the containers made of it."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    working_directory: str = ""
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    health_check: HealthCheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False


def from_message(message: image_pb2.ImageConfig) -> ContainerDefaults:
    """What an image is to say of its containers."""
    health = message.health_check if message.HasField("health_check") else None
    return ContainerDefaults(
        env=tuple(message.env),
        entrypoint=tuple(message.entrypoint),
        command=tuple(message.command),
        user=message.user,
        working_directory=message.working_directory,
        exposed_ports=tuple(sorted(message.exposed_ports)),
        labels=dict(message.labels),
        stop_signal=message.stop_signal,
        volumes=tuple(sorted(message.volumes)),
        health_check=None
        if health is None
        else HealthCheck(
            test=tuple(health.test),
            interval=health.interval.ToNanoseconds(),
            timeout=health.timeout.ToNanoseconds(),
            start_period=health.start_period.ToNanoseconds(),
            start_interval=health.start_interval.ToNanoseconds(),
            retries=health.retries,
        ),
        shell=tuple(message.shell),
        on_build=tuple(message.on_build),
        args_escaped=message.args_escaped,
    )


def to_message(defaults: ContainerDefaults) -> image_pb2.ImageConfig:
    """The same as the contract has it."""
    health = defaults.health_check
    return image_pb2.ImageConfig(
        env=defaults.env,
        entrypoint=defaults.entrypoint,
        command=defaults.command,
        user=defaults.user,
        working_directory=defaults.working_directory,
        exposed_ports=defaults.exposed_ports,
        labels=defaults.labels,
        stop_signal=defaults.stop_signal,
        volumes=defaults.volumes,
        health_check=None if health is None else _health_check(health),
        shell=defaults.shell,
        on_build=defaults.on_build,
        args_escaped=defaults.args_escaped,
    )


def _health_check(health: HealthCheck) -> image_pb2.ImageHealthCheck:
    return image_pb2.ImageHealthCheck(
        test=health.test,
        interval=_duration(health.interval),
        timeout=_duration(health.timeout),
        start_period=_duration(health.start_period),
        start_interval=_duration(health.start_interval),
        retries=max(health.retries, 0),
    )


def _duration(nanoseconds: int) -> Duration | None:
    if not nanoseconds:
        return None
    message = Duration()
    message.FromNanoseconds(nanoseconds)
    return message
