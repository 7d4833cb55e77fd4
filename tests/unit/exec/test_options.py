"""Options of a container: what is refused and how, and what limits come to in a VM."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from vic.exec.v1.container_pb2 import ContainerSpec, Resources
from vic.tether.v1.process_pb2 import Capabilities

from portlayer.errors import InvalidArgument, NotImplementedYet
from services.exec.resources import host_weight, vcpus, workload_limits
from services.exec.sandbox import capabilities_of, with_filter
from services.exec.spec import validate

MIB = 1024 * 1024


def spec(**fields: object) -> ContainerSpec:
    return ParseDict({"image": "busybox", **fields}, ContainerSpec())


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory_bytes": 4 * MIB}, "Minimum memory limit allowed is 6MB"),
        ({"memory_swap_bytes": 8 * MIB}, "You should always set the Memory limit when using"),
        (
            {"memory_bytes": 8 * MIB, "memory_swap_bytes": 7 * MIB},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        ({"memory_reservation_bytes": 1}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory_bytes": 8 * MIB, "memory_reservation_bytes": 9 * MIB},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        ({"memory_swappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"nano_cpus": 5 * 10**9}, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs"),
        ({"nano_cpus": 10**9, "cpu_period_us": 1000}, "Nano CPUs and CPU Period cannot both be"),
        ({"nano_cpus": 10**9, "cpu_quota_us": 1000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_period_us": 999}, "CPU cfs period can not be less than 1ms"),
        ({"cpu_period_us": 1_000_001}, "or larger than 1s"),
        ({"cpu_quota_us": 999}, "CPU cfs quota can not be less than 1ms"),
        ({"cpu_quota_us": 400_001}, "as there are only 4 CPUs available"),
        ({"cpu_shares": 1}, "the minimum allowed cpu-shares is 2"),
        ({"cpu_shares": 262_145}, "the maximum allowed cpu-shares is 262144"),
        ({"cpuset_cpus": "x"}, "Invalid value x for cpuset cpus"),
        ({"cpuset_cpus": "0-9999"}, "Invalid value 0-9999 for cpuset cpus"),
        ({"cpuset_cpus": ",".join(["0"] * 2049)}, "Invalid value 0,0,0,"),
        ({"cpuset_cpus": "3-1"}, "Invalid value 3-1 for cpuset cpus"),
        (
            {"cpuset_cpus": "0,4"},
            "Requested CPUs are not available - requested 0,4, available: 0-3",
        ),
        ({"cpuset_mems": "1"}, "Requested memory nodes are not available - requested 1"),
        ({"block_limits": [{"device": "vda"}]}, "invalid device path: 'vda'"),
    ],
)
def test_limits_that_cannot_be(limits: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        validate(spec(resources=limits), cpus=4)
    assert words in refusal.value.message


@pytest.mark.parametrize(
    ("asked", "has", "has_not"),
    [
        ({}, "CHOWN", "SYS_ADMIN"),
        ({"add": ["cap_sys_admin"], "drop": ["CHOWN"]}, "SYS_ADMIN", "CHOWN"),
        ({"drop": ["ALL"], "add": ["KILL"]}, "KILL", "CHOWN"),
        ({"add": ["ALL"], "drop": ["KILL"]}, "SYS_ADMIN", "KILL"),
        ({"privileged": True, "drop": ["KILL"]}, "KILL", "ALL"),
    ],
)
def test_what_a_container_may_do(asked: dict[str, Any], has: str, has_not: str) -> None:
    capabilities = capabilities_of(Capabilities(**asked))
    assert has in capabilities
    assert has_not not in capabilities


def test_a_profile_is_compiled_at_create() -> None:
    text = json.dumps({"defaultAction": "SCMP_ACT_ALLOW"})
    full = with_filter(spec(seccomp_profile=text), "6.1.0-56-cloud-amd64")
    assert len(full.process.seccomp_filter) == 7 * 8
    for wrong in (b"1234567", bytes(8 * 4097)):
        with pytest.raises(InvalidArgument, match="is no program of BPF"):
            validate(ContainerSpec(image="i", process={"seccomp_filter": wrong}), cpus=4)
    full.seccomp_profile = text
    with pytest.raises(InvalidArgument, match="exclude one another"):
        validate(full, cpus=4)


def test_the_oom_killer_is_not_switched_off() -> None:
    with pytest.raises(NotImplementedYet, match="cgroup v2 always kills"):
        validate(spec(resources={"oom_kill_disable": True}), cpus=4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"process": {"capabilities": {"add": ["FLY"]}}},
            'invalid CapAdd: unknown capability: "FLY"',
        ),
        (
            {"process": {"capabilities": {"drop": ["CAP_FLY"]}}},
            'invalid CapDrop: unknown capability: "CAP_FLY"',
        ),
        ({"process": {"rlimits": [{"name": "fly"}]}}, "invalid ulimit type: fly"),
        (
            {"process": {"rlimits": [{"name": "nofile", "soft": 5, "hard": 3}]}},
            "ulimit soft limit must be less than or equal to hard limit: 5 > 3",
        ),
        (
            {"process": {"rlimits": [{"name": "nofile", "soft": 2**64 - 1, "hard": 3}]}},
            "hard limit: -1 (unlimited) > 3",
        ),
        ({"process": {"oom_score_adj": -1001}}, "range for oom score adj is [-1000, 1000]"),
        ({"sandbox": {"sysctls": {"net..x": "1"}}}, "invalid sysctl: 'net..x'"),
        ({"sandbox": {"sysctls": {"../x": "1"}}}, "invalid sysctl"),
        ({"sandbox": {"sysctls": {"kernel.hostname": "x"}}}, "conflicts with --hostname"),
        ({"sandbox": {"sysctls": {"kernel/domainname": "x"}}}, "conflicts with --domainname"),
        ({"sandbox": {"device_rules": ["x 1:3 rwm"]}}, "invalid device cgroup rule format"),
        ({"sandbox": {"devices": [{"path": "/etc/passwd"}]}}, "not a device node"),
        ({"sandbox": {"devices": [{"path": "/dev/../x"}]}}, "an absolute one is needed"),
        (
            {"sandbox": {"devices": [{"path": "/dev/null", "permissions": "x"}]}},
            "invalid device mode: x",
        ),
        ({"sandbox": {"masked_paths": {"paths": ["/proc/../x"]}}}, "invalid path"),
    ],
)
def test_options_that_cannot_be(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        validate(spec(**fields), cpus=4)
    assert words in refusal.value.message


@pytest.mark.parametrize(
    ("limits", "cpus"),
    [
        ({}, 1),
        ({"nano_cpus": 1_500_000_000}, 2),
        ({"cpu_quota_us": 250_000}, 3),
        ({"cpu_quota_us": 50_000, "cpu_period_us": 10_000}, 5),
        ({"cpuset_cpus": "0-1,3"}, 4),
    ],
)
def test_a_vm_has_the_cpus_that_its_container_may_use(limits: dict[str, int], cpus: int) -> None:
    assert vcpus(ParseDict(limits, Resources())) == cpus


def test_limits_of_the_workload() -> None:
    limits = workload_limits(
        Resources(memory_swappiness=0, cpu_shares=1024, pids_limit=-1, cpu_quota_us=-1)
    )
    assert limits.HasField("swappiness")
    assert (limits.cpu_weight, limits.pids, limits.cpu_quota_us) == (39, 0, 0)
    assert not workload_limits(Resources()).HasField("swappiness")


def test_shares_weigh_vms_on_the_host() -> None:
    shares = (0, 2, 512, 1024, 262_144)
    assert [host_weight(Resources(cpu_shares=n)) for n in shares] == [0, 1, 50, 100, 10_000]
