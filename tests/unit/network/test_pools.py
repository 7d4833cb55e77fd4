"""Subnets and who has them."""

import fcntl
import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from portlayer.errors import Reason, ResourceExhausted
from portlayer.management import management_subnet
from services.network import pools


def nets(*subnets: str) -> list[IPv4Network]:
    return [IPv4Network(subnet) for subnet in subnets]


def test_the_first_default_pool_is_docker_s() -> None:
    assert pools.choose([]) == IPv4Network("172.17.0.0/16")


def test_pools_that_overlap_a_route_are_passed_over() -> None:
    assert pools.choose(nets("172.17.3.0/24", "172.18.0.0/15")) == IPv4Network("172.20.0.0/16")


def test_after_the_large_pools_come_the_small_ones() -> None:
    assert pools.choose(nets("172.16.0.0/12", "192.168.1.0/24")) == IPv4Network("192.168.16.0/20")


def test_default_routes_by_whatever_name_take_nothing() -> None:
    assert pools.choose(nets("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1")) == IPv4Network(
        "172.17.0.0/16"
    )


def test_when_all_pools_are_taken_it_says_so() -> None:
    with pytest.raises(ResourceExhausted) as refusal:
        pools.choose(nets("172.16.0.0/12", "192.168.0.0/16"))
    assert refusal.value.reason is Reason.POOLS_EXHAUSTED


def test_each_slot_has_a_management_subnet_of_its_own() -> None:
    subnets = [management_subnet(slot) for slot in range(256)]
    assert str(subnets[0]) == "100.112.0.0/20"
    assert str(subnets[1]) == "100.112.16.0/20"
    assert str(subnets[255]) == "100.127.240.0/20"
    assert len(set(subnets)) == 256


def holder(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


async def test_the_machine_lock_keeps_others_out_while_it_is_held(tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    async with pools.machine_lock(tmp_path) as locked:
        assert locked
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


async def test_who_holds_the_machine_lock_for_ever_stops_nobody(tmp_path: Path) -> None:
    other = holder(tmp_path)
    async with pools.machine_lock(tmp_path, seconds=0.01) as locked:
        assert not locked
    os.close(other)
    # The attempt that was given up must not keep the lock when it gets it at last.
    async with pools.machine_lock(tmp_path, seconds=60) as locked:
        assert locked


async def test_without_the_directory_work_goes_on(tmp_path: Path) -> None:
    async with pools.machine_lock(tmp_path / "none") as locked:
        assert not locked
