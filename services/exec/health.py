"""Health checks: what is asked for, and what the tether is told to run.

Source of defaults and rules: dockerd's daemon/health.go and daemon/container.go.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from vic.exec.v1 import container_pb2
from vic.storage.v1 import image_pb2
from vic.tether.v1 import health_pb2, process_pb2

from portlayer.errors import InvalidArgument, Reason
from services.exec.record import is_checked

_NO_CHECK: Final = "NONE"
_ARGUMENTS: Final = "CMD"
_LINE: Final = "CMD-SHELL"
_SHORTEST_NS: Final = 1_000_000
_DEFAULT_SHELL: Final = ("/bin/sh", "-c")
_DEFAULT_INTERVAL: Final = Duration(seconds=30)
_DEFAULT_TIMEOUT: Final = Duration(seconds=30)
_DEFAULT_START_INTERVAL: Final = Duration(seconds=5)
_DEFAULT_RETRIES: Final = 3


def validate_health_check(check: container_pb2.HealthCheck) -> None:
    """Return when a check can be. Raises InvalidArgument (INVALID_SPEC) in Docker's words."""
    spans = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    for name, span in spans.items():
        if _nanoseconds(span) and _nanoseconds(span) < _SHORTEST_NS:
            raise _invalid(f"{name} in Healthcheck cannot be less than 1ms")
    if not check.test:
        return
    kind, *rest = check.test
    if kind not in (_NO_CHECK, _ARGUMENTS, _LINE):
        raise _invalid(f"Unknown healthcheck type '{kind}' (expected 'CMD')")
    if kind != _NO_CHECK and not any(rest):
        raise _invalid(f"Healthcheck {kind} has no command")
    if any("\0" in text for text in rest):
        raise _invalid("a NUL byte can't be part of an argument")


def complete_health_check(
    own: container_pb2.HealthCheck, image: image_pb2.ImageConfig
) -> container_pb2.HealthCheck:
    """Return a container's check with what the image's has and it leaves open."""
    full = container_pb2.HealthCheck()
    full.CopyFrom(own)
    check = image.health_check
    if not full.test:
        full.test.extend(check.test)
    for name in ("interval", "timeout", "start_period", "start_interval"):
        if not _nanoseconds(getattr(full, name)) and _nanoseconds(getattr(check, name)):
            getattr(full, name).CopyFrom(getattr(check, name))
    full.retries = own.retries or check.retries
    del full.shell[:]
    if is_checked(full):
        full.shell.extend(image.shell or _DEFAULT_SHELL)
    return full


def probe(
    spec: container_pb2.ContainerSpec, init: process_pb2.ProcessSpec
) -> health_pb2.HealthProbe | None:
    """Return what a tether is to run beside a container's init process; None for nothing."""
    check = spec.health_check
    if not is_checked(check):
        return None
    process = process_pb2.ProcessSpec()
    process.CopyFrom(init)
    process.tty = process.stdin = False
    process.ClearField("window")
    process.args[:] = _arguments(check)
    return health_pb2.HealthProbe(
        process=process,
        interval=_or_default(check.interval, _DEFAULT_INTERVAL),
        timeout=_or_default(check.timeout, _DEFAULT_TIMEOUT),
        start_period=check.start_period,
        start_interval=_or_default(check.start_interval, _DEFAULT_START_INTERVAL),
        retries=check.retries or _DEFAULT_RETRIES,
    )


def _arguments(check: container_pb2.HealthCheck) -> Sequence[str]:
    kind, *rest = check.test
    # As in Docker, a line is all that follows, and the shell gets it as one argument.
    return [*(check.shell or _DEFAULT_SHELL), *rest] if kind == _LINE else rest


def _or_default(span: Duration, default: Duration) -> Duration:
    return span if _nanoseconds(span) else default


def _nanoseconds(span: Duration) -> int:
    return span.seconds * 1_000_000_000 + span.nanos


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)
