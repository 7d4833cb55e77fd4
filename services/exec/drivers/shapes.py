"""Shape classes: which machine a container's limits need.

One parent for every exact memory size would mean a cold boot for each new value. So machines come
in classes, and the exact limits are the workload's cgroup inside the guest.
"""

import math
from dataclasses import dataclass

from vic.exec.v1 import container_pb2

from services.exec.resources import vcpus

MIB = 1024 * 1024
DEFAULT_MEMORY_MIB = 512
MINIMUM_MEMORY_MIB = 256
# What the guest's kernel and tether take beside the workload; measured: 75–80 MiB, and room for the
# page tables and caches that a busy workload makes them need.
GUEST_OVERHEAD_MIB = 112


@dataclass(frozen=True)
class ShapeClass:
    """Memory and CPUs of a machine."""

    memory_mib: int
    vcpus: int


def shape_class(resources: container_pb2.Resources) -> ShapeClass:
    """Return the class that holds a container's limits.

    Memory goes by powers of two; CPUs are rounded up to whole ones.
    """
    memory_mib = DEFAULT_MEMORY_MIB
    if resources.memory_bytes:
        wanted = math.ceil(resources.memory_bytes / MIB) + GUEST_OVERHEAD_MIB
        memory_mib = max(MINIMUM_MEMORY_MIB, 1 << (wanted - 1).bit_length())
    return ShapeClass(memory_mib, vcpus(resources))
