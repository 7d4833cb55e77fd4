"""docs/options.md can't lie: each field of the Engine API's schema is what its row says.

The fields are those of ContainerConfig, HostConfig and Resources in moby's api/swagger.yaml 1.51,
and those that older versions had.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from vic.exec.v1.container_pb2 import ContainerSpec

from gateway.errors import ApiError
from gateway.translate.create import read_create_request
from portlayer.errors import InvalidArgument, NotImplementedYet
from services.exec.spec import validate

PAGE = Path(__file__).parents[3] / "docs" / "options.md"
HOST_CPUS = 4
VERSION = (1, 51)

# A value that says something, for each field.
CONFIG: dict[str, Any] = {
    "Hostname": "box",
    "Domainname": "example.org",
    "User": "nobody",
    "AttachStdin": True,
    "AttachStdout": True,
    "AttachStderr": True,
    "ExposedPorts": {"80/tcp": {}},
    "Tty": True,
    "OpenStdin": True,
    "StdinOnce": True,
    "Env": ["A=1"],
    "Cmd": ["true"],
    "Healthcheck": {"Test": ["CMD", "true"]},
    "ArgsEscaped": True,
    "Volumes": {"/data": {}},
    "WorkingDir": "/srv",
    "Entrypoint": ["sh"],
    "NetworkDisabled": True,
    "MacAddress": "02:42:0a:01:00:99",
    "OnBuild": ["RUN true"],
    "Labels": {"a": "b"},
    "StopSignal": "SIGINT",
    "StopTimeout": 3,
    "Shell": ["sh", "-c"],
}
MIB = 1024 * 1024
HOST: dict[str, Any] = {
    "Binds": ["data:/data"],
    "ContainerIDFile": "/tmp/id",
    "LogConfig": {"Type": "local", "Config": {}},
    "NetworkMode": "none",
    "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
    "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
    "AutoRemove": True,
    "VolumeDriver": "other",
    "VolumesFrom": ["other"],
    "Mounts": [{"Type": "volume", "Source": "data", "Target": "/data"}],
    "ConsoleSize": [24, 80],
    "Annotations": {"a": "b"},
    "CapAdd": ["NET_ADMIN"],
    "CapDrop": ["CHOWN"],
    "CgroupnsMode": "private",
    "Dns": ["10.0.0.1"],
    "DnsOptions": ["ndots:1"],
    "DnsSearch": ["example.org"],
    "ExtraHosts": ["a:10.0.0.1"],
    "GroupAdd": ["7"],
    "IpcMode": "none",
    "Cgroup": "x",
    "Links": ["other:alias"],
    "OomScoreAdj": 5,
    "PidMode": "container:x",
    "Privileged": True,
    "PublishAllPorts": True,
    "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges"],
    "StorageOpt": {"size": "1g"},
    "Tmpfs": {"/run": ""},
    "UTSMode": "host",
    "UsernsMode": "host",
    "ShmSize": MIB,
    "Sysctls": {"net.ipv4.ip_forward": "1"},
    "Runtime": "runc",
    "Isolation": "default",
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "Init": True,
    # Resources
    "CpuShares": 512,
    "Memory": 64 * MIB,
    "CgroupParent": "x",
    "BlkioWeight": 10,
    "BlkioWeightDevice": [{"Path": "/dev/vda", "Weight": 10}],
    "BlkioDeviceReadBps": [{"Path": "/dev/vda", "Rate": MIB}],
    "BlkioDeviceWriteBps": [{"Path": "/dev/vda", "Rate": MIB}],
    "BlkioDeviceReadIOps": [{"Path": "/dev/vda", "Rate": 10}],
    "BlkioDeviceWriteIOps": [{"Path": "/dev/vda", "Rate": 10}],
    "CpuPeriod": 50_000,
    "CpuQuota": 20_000,
    "CpuRealtimePeriod": 1000,
    "CpuRealtimeRuntime": 1000,
    "CpusetCpus": "0-1",
    "CpusetMems": "0",
    "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "", "CgroupPermissions": "rwm"}],
    "DeviceCgroupRules": ["c 10:229 rwm"],
    "DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}],
    "KernelMemory": 64 * MIB,
    "KernelMemoryTCP": 64 * MIB,
    "MemoryReservation": 64 * MIB,
    "MemorySwap": -1,
    "MemorySwappiness": 10,
    "NanoCpus": 1_500_000_000,
    "OomKillDisable": True,
    "PidsLimit": 10,
    "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
    "CpuCount": 1,
    "CpuPercent": 10,
    "IOMaximumIOps": 1,
    "IOMaximumBandwidth": 1,
}
FIELDS = {**CONFIG, **{f"HostConfig.{name}": value for name, value in HOST.items()}}
ROW = re.compile(r"\| `([A-Za-z.]+)` \|[^|]*\| (yes|taken|refused) \|")


def rows() -> dict[str, str]:
    return dict(ROW.findall(PAGE.read_text()))


def judge(name: str, value: Any) -> ContainerSpec:
    """Return the specification that the gateway makes and exec lets pass."""
    body: dict[str, Any] = {"Image": "busybox"}
    if name.startswith("HostConfig."):
        body["HostConfig"] = {name.removeprefix("HostConfig."): value}
    else:
        body[name] = value
    spec = read_create_request(body, "", "", VERSION)
    validate(spec, cpus=HOST_CPUS)
    return spec


def test_the_page_has_each_field_once() -> None:
    assert sorted(ROW.findall(PAGE.read_text())) == sorted(rows().items())
    assert set(rows()) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_what_its_row_says(name: str) -> None:
    verdict, nothing = rows()[name], judge("Cmd", None)
    if verdict == "refused":
        with pytest.raises((ApiError, NotImplementedYet, InvalidArgument)) as refusal:
            judge(name, FIELDS[name])
        said = str(refusal.value)
        if isinstance(refusal.value, ApiError) and refusal.value.status == 400:
            assert "invalid" in said
        else:
            assert name in said or name.removeprefix("HostConfig.") in said
        return
    spec = judge(name, FIELDS[name])
    for one in (spec, nothing):
        one.ClearField("as_asked")
    assert (spec != nothing) == (verdict == "yes")


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("empty", [None, False, 0, "", [], {}])
def test_a_value_that_says_nothing_is_taken_or_is_of_the_wrong_type(name: str, empty: Any) -> None:
    assert _refusal(name, empty) in ("", "400 must be", "400 must hold")


def _refusal(name: str, value: Any) -> str:
    """Status and cause of a refusal; empty where there is none."""
    try:
        judge(name, value)
    except ApiError as error:
        found = re.search(r"must (be|hold)", error.message)
        return f"{error.status} {found[0] if found else error.message}"
    return ""


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("IpcMode", "host", 501, "HostConfig.IpcMode 'host' is not supported: each container is"),
        ("IpcMode", "container:x", 501, "HostConfig.IpcMode 'container:x' is not supported"),
        ("IpcMode", "nonsense", 400, "invalid IPC mode: nonsense"),
        ("PidMode", "host", 501, "HostConfig.PidMode 'host' is not supported"),
        ("PidMode", "nonsense", 400, "invalid PID mode: nonsense"),
        ("UTSMode", "host", 501, "HostConfig.UTSMode 'host' is not supported"),
        ("UsernsMode", "nonsense", 400, "invalid userns mode: nonsense"),
        ("CgroupnsMode", "host", 501, "HostConfig.CgroupnsMode 'host' is not supported"),
        ("Isolation", "hyperv", 400, "only supports 'default'"),
        ("Runtime", "runc", 400, "unknown or invalid runtime name: runc"),
        ("CgroupParent", "x", 501, "HostConfig.CgroupParent is not supported"),
        ("SecurityOpt", ["nonsense"], 400, 'invalid --security-opt 1: "nonsense"'),
        ("SecurityOpt", ["a=b"], 400, 'invalid --security-opt 2: "a=b"'),
        ("SecurityOpt", ["no-new-privileges:maybe"], 400, "invalid --security-opt 2"),
        ("SecurityOpt", ["apparmor=docker-default"], 501, "neither AppArmor nor SELinux"),
        ("SecurityOpt", ["label=type:x"], 501, "neither AppArmor nor SELinux"),
        ("SecurityOpt", ["seccomp={"], 400, "Decoding seccomp profile failed"),
        ("Dns", ["localhost"], 400, "bad nameserver address: localhost"),
        ("ExtraHosts", ["db"], 400, 'bad format for add-host: "db"'),
        ("ExtraHosts", ["db:nowhere"], 400, 'invalid IP address in add-host: "nowhere"'),
        ("OomScoreAdj", 1001, 400, "range for oom score adj is [-1000, 1000]"),
        ("ShmSize", -1, 400, "SHM size can not be less than 0"),
        ("Ulimits", [{"Name": "nofile", "Soft": -2, "Hard": 1}], 400, "invalid ulimit nofile"),
        ("MemorySwappiness", 101, 400, "valid memory swappiness range is 0-100"),
        ("Memory", -1, 400, "Minimum memory limit allowed is 6MB"),
        ("CpuShares", -1, 400, "the minimum allowed cpu-shares is 2"),
    ],
)
def test_what_the_gateway_refuses(name: str, value: Any, status: int, words: str) -> None:
    with pytest.raises(ApiError) as refusal:
        judge(f"HostConfig.{name}", value)
    assert refusal.value.status == status
    assert words in refusal.value.message


def test_lines_for_the_hosts_file_are_read_in_all_forms() -> None:
    lines = ["db:10.0.0.1", "v6:2001:db8::1", "wrapped:[2001:db8::2]", "host:host-gateway"]
    told = judge("HostConfig.ExtraHosts", lines).extra_hosts
    assert list(told) == [*lines[:2], "wrapped:2001:db8::2", lines[3]]


@pytest.mark.parametrize("option", ["apparmor=unconfined", "label=disable", "seccomp=unconfined"])
def test_to_be_confined_by_nothing_is_what_there_is(option: str) -> None:
    assert list(judge("HostConfig.SecurityOpt", [option]).as_asked.security_options) == [option]
