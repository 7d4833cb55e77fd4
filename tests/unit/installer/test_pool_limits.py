"""A VCH's limits as its resource pool in a vCenter has them."""

import pytest

from installer.vsphere.creation import pool_spec
from installer.vsphere.wishes import VchLimits

UNLIMITED = -1


@pytest.mark.parametrize(
    ("memory_bytes", "mebibytes"),
    [(0, UNLIMITED), (512 << 10, 1), (4 << 30, 4096), ((4 << 30) + 1, 4097)],
)
def test_a_small_limit_is_not_taken_for_none(memory_bytes: int, mebibytes: int) -> None:
    spec = pool_spec(VchLimits(memory_bytes=memory_bytes, cpus=2), 2000)
    assert spec.memoryAllocation.limit == mebibytes
    assert spec.cpuAllocation.limit == 4000
    assert pool_spec(VchLimits(), 2000).cpuAllocation.limit == UNLIMITED
