"""Restart policies: whether a container that ended is started again, and when.

The rules and the figures are Docker Engine's: 100 ms at first, doubled with each end up to a
minute, and from the beginning again once a run has lasted ten seconds.
"""

from dataclasses import replace

from vic.exec.v1 import container_pb2

from portlayer.errors import InvalidArgument, Reason
from services.exec.record import Record
from services.exec.states import State

FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 60_000_000_000
STEADY_NS = 10_000_000_000

_ON_FAILURE = container_pb2.RESTART_CONDITION_ON_FAILURE
_ALWAYS = container_pb2.RESTART_CONDITION_ALWAYS
UNLESS_STOPPED = container_pb2.RESTART_CONDITION_UNLESS_STOPPED
NO_POLICY = (
    container_pb2.RESTART_CONDITION_UNSPECIFIED,
    container_pb2.RESTART_CONDITION_NO,
)


def validate_policy(policy: container_pb2.RestartPolicy, *, auto_remove: bool) -> None:
    """Return when a policy can be. Raises InvalidArgument (INVALID_SPEC) in Docker's words."""
    if policy.condition not in (*NO_POLICY, _ON_FAILURE, _ALWAYS, UNLESS_STOPPED):
        raise _invalid(f"invalid restart policy: unknown policy '{policy.condition}'")
    if policy.maximum_retries and policy.condition != _ON_FAILURE:
        raise _invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if auto_remove and policy.condition not in NO_POLICY:
        raise _invalid("can't create 'AutoRemove' container with restart policy")


def wants_restart(record: Record, exit_code: int) -> bool:
    """Tell whether a container that ended with a code, by itself, is started again."""
    policy = record.spec.restart_policy
    if policy.condition in (_ALWAYS, UNLESS_STOPPED):
        return True
    if policy.condition != _ON_FAILURE or not exit_code:
        return False
    return not policy.maximum_retries or record.restart_count < policy.maximum_retries


def wants_start_with_suite(record: Record) -> bool:
    """Tell whether an ended container is started when the suite comes up.

    One that somebody stopped is where its policy is "always", as with Docker.
    """
    if record.state is not State.EXITED or not record.started_ns:
        return False
    if record.stopped_by_hand:
        return record.spec.restart_policy.condition == _ALWAYS
    return wants_restart(record, record.exit_code)


def to_restart(record: Record, now_ns: int, ran_ns: int) -> Record:
    """Return the record of a container that is started again after its pause."""
    delay = min(max(FIRST_DELAY_NS, record.restart_delay_ns * 2), LONGEST_DELAY_NS)
    if ran_ns >= STEADY_NS:
        delay = FIRST_DELAY_NS
    return replace(
        record,
        state=State.RESTARTING,
        pid=0,
        restart_delay_ns=delay,
        restart_at_ns=now_ns + delay,
    )


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)
