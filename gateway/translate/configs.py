"""A container's Config and HostConfig as inspect shows them: what was asked, in Docker's shape."""

from typing import Any, Literal

from google.protobuf.duration_pb2 import Duration
from vic.exec.v1.container_pb2 import (
    ContainerSpec,
    HealthCheck,
    Resources,
    RestartCondition,
)
from vic.tether.v1.process_pb2 import SandboxOptions

from gateway.translate.confinement import RUNTIME
from gateway.translate.logdrivers import log_json
from gateway.translate.mounts import binds_json, mounts_json, tmpfs_json
from gateway.translate.ports import exposed_ports, port_bindings
from gateway.translate.resources import BLOCK_FIELDS

_RESTART = {
    RestartCondition.RESTART_CONDITION_ON_FAILURE: "on-failure",
    RestartCondition.RESTART_CONDITION_ALWAYS: "always",
    RestartCondition.RESTART_CONDITION_UNLESS_STOPPED: "unless-stopped",
}

# What Docker's default runtime hides; here the guest's own /proc, hidden by the tether.
_MASKED = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_UNLIMITED = 2**63
PathsField = Literal["masked_paths", "readonly_paths"]
_DEFAULT_SHM_SIZE = 64 * 1024 * 1024


def config_json(spec: ContainerSpec) -> dict[str, Any]:
    """Docker's portable Config."""
    process = spec.process
    config: dict[str, Any] = {
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "User": process.user,
        "AttachStdin": spec.stdio.attach_stdin,
        "AttachStdout": spec.stdio.attach_stdout,
        "AttachStderr": spec.stdio.attach_stderr,
        "Tty": process.tty,
        "OpenStdin": process.stdin,
        "StdinOnce": spec.stdio.stdin_once,
        "Env": list(process.env),
        "Cmd": list(spec.command) or None,
        "Image": spec.image,
        "Volumes": {path: {} for path in spec.volumes} or None,
        "WorkingDir": process.cwd,
        "Entrypoint": list(spec.entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(spec.labels),
    }
    if spec.exposed_ports:
        config["ExposedPorts"] = exposed_ports(spec)
    if spec.HasField("health_check") and spec.health_check.test:
        config["Healthcheck"] = _health_check(spec.health_check)
    if spec.stop_signal:
        config["StopSignal"] = spec.stop_signal
    if spec.HasField("stop_timeout"):
        config["StopTimeout"] = spec.stop_timeout.seconds
    return config


def host_config_json(spec: ContainerSpec) -> dict[str, Any]:
    """Docker's HostConfig, every field of it."""
    process, resources = spec.process, spec.resources
    privileged, sandbox, asked = process.capabilities.privileged, spec.sandbox, spec.as_asked
    window = process.window
    return {
        "Binds": binds_json(spec),
        "ContainerIDFile": "",
        "LogConfig": log_json(spec.log),
        "NetworkMode": "bridge" if spec.network_mode in ("", "default") else spec.network_mode,
        "PortBindings": port_bindings(spec),
        "RestartPolicy": {
            "Name": _RESTART.get(spec.restart_policy.condition, "no"),
            "MaximumRetryCount": spec.restart_policy.maximum_retries,
        },
        "AutoRemove": spec.auto_remove,
        "VolumeDriver": spec.volume_driver,
        "VolumesFrom": list(spec.volumes_from) or None,
        **({"Tmpfs": tmpfs} if (tmpfs := tmpfs_json(spec)) else {}),
        **({"Mounts": mounts} if (mounts := mounts_json(spec)) else {}),
        "ConsoleSize": [window.rows, window.columns],
        "CapAdd": list(process.capabilities.add) or None,
        "CapDrop": list(process.capabilities.drop) or None,
        "CgroupnsMode": asked.cgroupns_mode or "private",
        "Dns": list(spec.dns.servers),
        "DnsOptions": list(spec.dns.options),
        "DnsSearch": list(spec.dns.search),
        "ExtraHosts": list(spec.extra_hosts) or None,
        "GroupAdd": list(process.additional_groups) or None,
        "IpcMode": asked.ipc_mode or "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": process.oom_score_adj,
        "PidMode": "",
        "Privileged": privileged,
        "PublishAllPorts": spec.publish_all_ports,
        "ReadonlyRootfs": spec.read_only_root,
        "SecurityOpt": list(asked.security_options) or None,
        "Sysctls": dict(sandbox.sysctls),
        "Annotations": dict(spec.annotations),
        "Init": sandbox.init or None,
        "UTSMode": "",
        "UsernsMode": asked.userns_mode,
        "ShmSize": spec.shm_bytes or _DEFAULT_SHM_SIZE,
        "Runtime": RUNTIME,
        "Isolation": asked.isolation,
        "CpuShares": resources.cpu_shares,
        "Memory": resources.memory_bytes,
        "NanoCpus": resources.nano_cpus,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        **_block_limits(resources),
        "CpuPeriod": resources.cpu_period_us,
        "CpuQuota": resources.cpu_quota_us,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "Devices": [
            {
                "PathOnHost": device.path,
                "PathInContainer": device.container_path or device.path,
                "CgroupPermissions": device.permissions or "rwm",
            }
            for device in sandbox.devices
        ],
        "DeviceCgroupRules": list(sandbox.device_rules) or None,
        "DeviceRequests": None,
        "MemoryReservation": resources.memory_reservation_bytes,
        # Without swap, memory and swap together are the memory.
        "MemorySwap": (
            -1
            if resources.memory_swap_unlimited
            else resources.memory_swap_bytes or resources.memory_bytes
        ),
        "MemorySwappiness": (
            resources.memory_swappiness if resources.HasField("memory_swappiness") else None
        ),
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": max(0, resources.pids_limit) or None,
        "Ulimits": [
            {"Name": limit.name, "Hard": _bound(limit.hard), "Soft": _bound(limit.soft)}
            for limit in process.rlimits
        ],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": _paths(sandbox, "masked_paths", [] if privileged else _MASKED),
        "ReadonlyPaths": _paths(sandbox, "readonly_paths", [] if privileged else _READ_ONLY),
    }


def _block_limits(resources: Resources) -> dict[str, Any]:
    return {
        name: [
            {"Path": limit.device, "Rate": getattr(limit, bound)}
            for limit in resources.block_limits
            if getattr(limit, bound)
        ]
        for name, bound in BLOCK_FIELDS.items()
    }


def _bound(value: int) -> int:
    return -1 if value >= _UNLIMITED else value


def _paths(sandbox: SandboxOptions, name: PathsField, default: list[str]) -> list[str]:
    return list(getattr(sandbox, name).paths) if sandbox.HasField(name) else default


def _health_check(check: HealthCheck) -> dict[str, Any]:
    spans = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    value: dict[str, Any] = {"Test": list(check.test)}
    value |= {name: _nanoseconds(span) for name, span in spans.items() if _nanoseconds(span)}
    if check.retries:
        value["Retries"] = check.retries
    return value


def _nanoseconds(span: Duration) -> int:
    return span.seconds * 1_000_000_000 + span.nanos
