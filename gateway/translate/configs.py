"""A container's Config and HostConfig as inspect shows them: what was asked, in Docker's shape."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from vic.exec.v1.container_pb2 import (
    ContainerSpec,
    HealthCheck,
    LogDriver,
    LogOptions,
    RestartCondition,
)

from gateway.translate.host_config import RUNTIME
from gateway.translate.mounts import binds_json, mounts_json, tmpfs_json
from gateway.translate.ports import exposed_ports, port_bindings

_LOG_DRIVERS = {
    LogDriver.LOG_DRIVER_UNSPECIFIED: "json-file",
    LogDriver.LOG_DRIVER_JSON_FILE: "json-file",
    LogDriver.LOG_DRIVER_LOCAL: "local",
    LogDriver.LOG_DRIVER_NONE: "none",
    LogDriver.LOG_DRIVER_SYSLOG: "syslog",
}

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
    privileged = process.capabilities.privileged
    window = process.window
    return {
        "Binds": binds_json(spec),
        "ContainerIDFile": "",
        "LogConfig": _log(spec.log),
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
        "CgroupnsMode": "private",
        "Dns": list(spec.dns.servers),
        "DnsOptions": list(spec.dns.options),
        "DnsSearch": list(spec.dns.search),
        "ExtraHosts": list(spec.extra_hosts) or None,
        "GroupAdd": list(process.additional_groups) or None,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": privileged,
        "PublishAllPorts": spec.publish_all_ports,
        "ReadonlyRootfs": spec.read_only_root,
        "SecurityOpt": ["no-new-privileges"] if process.no_new_privileges else None,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": _DEFAULT_SHM_SIZE,
        "Runtime": RUNTIME,
        "Isolation": "",
        "CpuShares": resources.cpu_shares,
        "Memory": resources.memory_bytes,
        "NanoCpus": resources.nano_cpus,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": resources.cpu_period_us,
        "CpuQuota": resources.cpu_quota_us,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": "",
        "Devices": [],
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "MemoryReservation": resources.memory_reservation_bytes,
        # Without swap, memory and swap together are the memory.
        "MemorySwap": resources.memory_swap_bytes or resources.memory_bytes,
        "MemorySwappiness": None,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids_limit or None,
        "Ulimits": [
            {"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft}
            for limit in process.rlimits
        ],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": [] if privileged else _MASKED,
        "ReadonlyPaths": [] if privileged else _READ_ONLY,
    }


def _log(options: LogOptions) -> dict[str, Any]:
    config = {}
    if options.max_size_bytes:
        config["max-size"] = str(options.max_size_bytes)
    if options.max_files:
        config["max-file"] = str(options.max_files)
    return {"Type": _LOG_DRIVERS.get(options.driver, "json-file"), "Config": config}


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
