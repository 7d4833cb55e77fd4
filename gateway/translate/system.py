"""Version and info in Docker's shapes."""

import platform
import socket
import time
from typing import Any

from vic.exec.v1.exec_pb2 import InfoResponse
from vic.storage.v1.image_pb2 import ImageServiceInfoResponse

from gateway import API_VERSION, MIN_API_VERSION
from gateway.negotiation import version_text
from gateway.translate.confinement import RUNTIME
from gateway.translate.containers import STORAGE_DRIVER
from gateway.translate.progress import human_size

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """The machine's architecture in Go's words."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def version_json(info: InfoResponse) -> dict[str, Any]:
    """The answer to ``GET /version``."""
    details = {
        "ApiVersion": version_text(API_VERSION),
        "Arch": architecture(),
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": f"none (Python {platform.python_version()})",
        "KernelVersion": info.kernel_release,
        "MinAPIVersion": version_text(MIN_API_VERSION),
        "Os": "linux",
    }
    hypervisor = {"Accelerator": info.accelerator, "Driver": info.driver}
    return {
        "Platform": {"Name": "vic: every container a virtual machine"},
        "Components": [
            {"Name": "Engine", "Version": info.version, "Details": details},
            {"Name": info.driver, "Version": info.hypervisor, "Details": hypervisor},
        ],
        "Version": info.version,
        "ApiVersion": version_text(API_VERSION),
        "MinAPIVersion": version_text(MIN_API_VERSION),
        "GitCommit": "",
        "GoVersion": details["GoVersion"],
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": info.kernel_release,
        "BuildTime": "",
    }


def info_json(info: InfoResponse, images: ImageServiceInfoResponse) -> dict[str, Any]:
    """The answer to ``GET /info``."""
    return {
        "ID": info.instance_id,
        "Containers": info.containers,
        "ContainersRunning": info.containers_running,
        "ContainersPaused": info.containers_paused,
        "ContainersStopped": info.containers_stopped,
        "Images": images.images,
        "Driver": images.driver or STORAGE_DRIVER,
        "DriverStatus": _driver_status(info, images),
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "null"],
            "Authorization": None,
            "Log": ["json-file", "local", "none", "syslog"],
        },
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsPeriod": False,
        "CpuCfsQuota": False,
        "CPUShares": False,
        "CPUSet": False,
        "PidsLimit": True,
        "OomKillDisable": False,
        "IPv4Forwarding": True,
        "Debug": False,
        "NFd": 0,
        "NGoroutines": 0,
        "SystemTime": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000000000Z",
        "LoggingDriver": "syslog" if info.log_syslog else "json-file",
        "CgroupDriver": "none",
        "CgroupVersion": "2",
        "NEventsListener": 0,
        "KernelVersion": info.kernel_release,
        "OperatingSystem": f"vic {info.version}",
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": platform.machine(),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registries(images),
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
        "GenericResources": None,
        "DockerRootDir": images.image_store,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": socket.gethostname(),
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": info.version,
        "Runtimes": {RUNTIME: {"path": info.driver}},
        "DefaultRuntime": RUNTIME,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": [f"name={RUNTIME},accelerator={info.accelerator}"],
        "CDISpecDirs": [],
        "Warnings": [f"WARNING: {warning}" for warning in info.warnings] or None,
    }


def _driver_status(info: InfoResponse, images: ImageServiceInfoResponse) -> list[list[str]]:
    free, total = human_size(images.free_bytes), human_size(images.total_bytes)
    limits, allocation = info.limits, info.allocation
    pool = max(0, info.memory_bytes - info.memory_reserved_by_others_bytes)
    overcommitted = pool * limits.memory_overcommit_percent // 100
    memory = human_size(min(limits.memory_bytes or overcommitted, overcommitted))
    storage = human_size(limits.storage_bytes) if limits.storage_bytes else "no limit"
    return [
        ["Image store", images.image_store],
        ["Space", f"{free} free of {total}"],
        ["Hypervisor", info.hypervisor],
        ["Accelerator", f"{info.accelerator} ({info.accelerator_reason})"],
        ["Containers", f"{info.containers} of {limits.containers or 'no limit'}"],
        ["Memory of VMs", f"{human_size(info.vm_memory_bytes)} of {memory}"],
        ["Memory overcommitment", f"{limits.memory_overcommit_percent / 100:g} times"],
        ["Disks of containers", f"{human_size(info.disk_bytes)} of {storage}"],
        ["CPUs of VMs", f"{info.vm_cpus} of {limits.cpus or 'no limit'}"],
        ["Reserved", _reserved(info)],
        ["Shares", f"{allocation.cpu_shares} of CPUs, {allocation.memory_shares} of memory"],
        ["Ready clones", _ready_clones(info)],
        [
            "Starts",
            f"{info.ready_clones} ready clones, {info.instant_clones} instant clones, "
            f"{info.cold_boots} cold boots",
        ],
    ]


def _reserved(info: InfoResponse) -> str:
    allocation = info.allocation
    told = (
        f"{allocation.cpu_reservation_millis / 1000:g} CPUs, "
        f"{human_size(allocation.memory_reservation_bytes)} of memory"
    )
    others = info.memory_reserved_by_others_bytes
    return told + (f"; {human_size(others)} by other hosts" if others else "")


def _ready_clones(info: InfoResponse) -> str:
    mode = info.start_mode
    if mode.cold:
        return "none: every start is cold"
    return f"{info.ready_clones_waiting} of {mode.ready_clones} wait"


def _registries(images: ImageServiceInfoResponse) -> dict[str, Any]:
    mirrors = list(images.registry_mirrors)
    configs = {"docker.io": _registry("docker.io", mirrors, secure=True, official=True)}
    networks = []
    for name in images.insecure_registries:
        if "/" in name:
            networks.append(name)
        else:
            configs[name] = _registry(name, [], secure=False, official=False)
    return {
        "AllowNondistributableArtifactsCIDRs": None,
        "AllowNondistributableArtifactsHostnames": None,
        "InsecureRegistryCIDRs": networks,
        "IndexConfigs": configs,
        "Mirrors": mirrors or None,
    }


def _registry(name: str, mirrors: list[str], *, secure: bool, official: bool) -> dict[str, Any]:
    return {"Name": name, "Mirrors": mirrors, "Secure": secure, "Official": official}
