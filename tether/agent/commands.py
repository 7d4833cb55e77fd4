"""What interaction asks for, in the words of the supervisor's link."""

from __future__ import annotations

from dataclasses import asdict

from vic.tether.v1.process_pb2 import ProcessSpec, WorkloadLimits
from vic.tether.v1.tether_pb2 import LaunchCommand, LaunchFailed

from tether.link import Message
from tether.supervisor.failures import LaunchFailure
from tether.supervisor.request import ProcessRequest


def launch_message(command: LaunchCommand) -> Message:
    """A launch as the supervisor takes it."""
    return {
        "op": "launch",
        "process_id": command.process_id,
        "init": command.init,
        "process": asdict(process_request(command.process)),
        "limits": limits(command.limits),
    }


def process_request(spec: ProcessSpec) -> ProcessRequest:
    """A process without protobuf, which the supervisor doesn't import."""
    return ProcessRequest(
        args=list(spec.args),
        env=list(spec.env),
        cwd=spec.cwd,
        user=spec.user,
        additional_groups=list(spec.additional_groups),
        tty=spec.tty,
        rows=spec.window.rows,
        columns=spec.window.columns,
        stdin=spec.stdin,
        capabilities_add=list(spec.capabilities.add),
        capabilities_drop=list(spec.capabilities.drop),
        privileged=spec.capabilities.privileged,
        no_new_privileges=spec.no_new_privileges,
        rlimits=[(limit.name, limit.soft, limit.hard) for limit in spec.rlimits],
    )


def limits(value: WorkloadLimits) -> Message:
    """Limits of the workload's cgroup."""
    return {
        "memory_bytes": value.memory_bytes,
        "memory_swap_bytes": value.memory_swap_bytes,
        "nano_cpus": value.nano_cpus,
        "pids": value.pids,
    }


def launch_failed(message: Message) -> LaunchFailed:
    """The supervisor's word that a process can't be launched."""
    failure = LaunchFailure(message["failure"])
    return LaunchFailed(
        process_id=message["process_id"],
        reason=f"LAUNCH_FAILURE_{failure.value}",
        message=message["message"],
        exit_code=message["exit_code"],
    )
