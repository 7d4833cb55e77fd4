"""What interaction asks for, in the words of the supervisor's link."""

from __future__ import annotations

from vic.tether.v1.process_pb2 import (
    FileTask,
    Paths,
    ProcessSpec,
    SandboxOptions,
    WorkloadLimits,
)
from vic.tether.v1.tether_pb2 import LaunchCommand, LaunchFailed

from tether.link import Message
from tether.supervisor.failures import LaunchFailure
from tether.supervisor.request import (
    FileRequest,
    ProcessRequest,
    SandboxRequest,
    process_fields,
)


def launch_message(command: LaunchCommand) -> Message:
    """A launch as the supervisor takes it; what surrounds a container comes with its init."""
    message: Message = {
        "op": "launch",
        "process_id": command.process_id,
        "init": command.init,
        "process": process_fields(process_request(command.process)),
    }
    if command.init:
        message["limits"] = limits(command.limits)
        message["sandbox"] = vars(sandbox_request(command.sandbox))
    return message


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
        oom_score_adj=spec.oom_score_adj,
        seccomp_filter=spec.seccomp_filter,
        files=_file_request(spec.files) if spec.HasField("files") else None,
    )


def _file_request(task: FileTask) -> FileRequest:
    name = task.WhichOneof("task") or ""
    match name:
        case "write":
            write = task.write
            return FileRequest(
                name,
                write.path,
                no_overwrite_dir_non_dir=write.no_overwrite_dir_non_dir,
                owner=write.owner,
                root_read_only=write.root_read_only,
                sync=write.sync,
            )
        case "read":
            return FileRequest(name, task.read.path, export=task.read.export)
        case "changes":
            return FileRequest(name, image_lun=task.changes.image_lun)
        case "layer":
            return FileRequest(name, image_lun=task.layer.image_lun, freeze=task.layer.freeze)
        case _:
            return FileRequest(name, task.stat.path)


def sandbox_request(options: SandboxOptions) -> SandboxRequest:
    """What surrounds the init process."""
    return SandboxRequest(
        init=options.init,
        sysctls=dict(options.sysctls),
        devices=[
            (device.path, device.container_path or device.path, device.permissions or "rwm")
            for device in options.devices
        ],
        device_rules=list(options.device_rules),
        masked_paths=_paths(options.masked_paths) if options.HasField("masked_paths") else None,
        readonly_paths=(
            _paths(options.readonly_paths) if options.HasField("readonly_paths") else None
        ),
        no_shm=options.no_shm,
    )


def _paths(message: Paths) -> list[str]:
    return list(message.paths)


def limits(value: WorkloadLimits) -> Message:
    """Limits of the workload's cgroup."""
    return {
        "memory_bytes": value.memory_bytes,
        "memory_swap_bytes": value.memory_swap_bytes,
        "nano_cpus": value.nano_cpus,
        "pids": value.pids,
        "memory_reservation_bytes": value.memory_reservation_bytes,
        "cpu_weight": value.cpu_weight,
        "cpu_quota_us": value.cpu_quota_us,
        "cpu_period_us": value.cpu_period_us,
        "cpuset_cpus": value.cpuset_cpus,
        "cpuset_mems": value.cpuset_mems,
        "swappiness": value.swappiness if value.HasField("swappiness") else None,
        "blocks": [
            (
                block.device,
                {
                    "rbps": block.read_bytes_per_second,
                    "wbps": block.write_bytes_per_second,
                    "riops": block.read_operations_per_second,
                    "wiops": block.write_operations_per_second,
                },
            )
            for block in value.blocks
        ],
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
