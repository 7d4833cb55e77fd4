"""Cgroups of either version."""

from pathlib import Path

import pytest

from hostagent.cgroups import Hierarchy, Limits, MachineGroups, find_hierarchies

LIMITS = Limits(memory_bytes=1 << 29, pids=130, cpu_weight=200)
V1 = """\
30 1 0:26 / {root}/memory rw,relatime - cgroup cgroup rw,memory
31 1 0:27 / {root}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 1 0:28 / {root}/pids rw,relatime - cgroup cgroup rw,pids
33 1 0:29 / {root}/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 1 0:30 / {root}/unified rw,relatime - cgroup2 cgroup2 rw
35 1 0:31 / /mnt rw shared:1 - ext4 /dev/vda rw
"""
V2 = "30 1 0:26 / {root} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


class Tree(MachineGroups):
    """Groups in ordinary directories, in which files must be removed before their directory."""

    def remove(self, machine: str) -> None:
        for path in self.root.rglob(f"{machine}/*"):
            path.unlink()
        super().remove(machine)

    root: Path


def groups(root: Path, mountinfo: str) -> Tree:
    made = Tree("0badcafe", find_hierarchies(mountinfo.format(root=root)))
    made.root = root
    return made


def test_each_controller_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").write_text("hugetlb\n")
    found = find_hierarchies(V1.format(root=tmp_path))
    assert [(h.root.name, h.version, h.controllers) for h in found] == [
        ("memory", 1, ["memory"]),
        ("cpu", 1, ["cpu"]),
        ("pids", 1, ["pids"]),
    ]


def test_version_1_gets_its_own_files(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "pids"):
        (tmp_path / name).mkdir()
    made = groups(tmp_path, V1)
    made.prepare(Limits(memory_bytes=1 << 33))
    assert made.warnings == []
    assert made.bounds_memory
    parent = tmp_path / "memory" / "vic-0badcafe"
    assert (parent / "memory.limit_in_bytes").read_text() == str(1 << 33)
    made.create("m")
    made.limit("m", LIMITS)
    assert (parent / "m" / "memory.limit_in_bytes").read_text() == str(1 << 29)
    assert (tmp_path / "cpu/vic-0badcafe/m/cpu.shares").read_text() == "2048"
    assert (tmp_path / "pids/vic-0badcafe/m/pids.max").read_text() == "130"
    made.add("m", 4711)
    assert made.pids("m") == {4711}
    assert made.machines() == {"m"}
    made.remove("m")
    made.remove("m")
    assert made.machines() == set()


def test_version_2_enables_its_controllers_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    made = groups(tmp_path, V2)
    made.prepare(Limits(memory_bytes=1 << 33))
    group = tmp_path / "vic-0badcafe"
    for directory in (tmp_path, group):
        assert (directory / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (group / "memory.max").read_text() == str(1 << 33)
    made.create("m")
    made.limit("m", LIMITS)
    assert (group / "m" / "memory.max").read_text() == str(1 << 29)
    assert (group / "m" / "cpu.weight").read_text() == "200"
    assert (group / "m" / "pids.max").read_text() == "130"


def test_a_host_without_cgroups_is_warned_about(tmp_path: Path) -> None:
    made = groups(tmp_path, "")
    made.prepare(Limits(memory_bytes=1 << 33))
    assert len(made.warnings) == 1
    assert "memory, pids, cpu" in made.warnings[0]
    assert not made.bounds_memory
    made.create("m")
    made.limit("m", LIMITS)
    made.add("m", 1)
    made.remove("m")


def test_a_hierarchy_that_cannot_be_used_is_left_and_named(tmp_path: Path) -> None:
    made = MachineGroups("0badcafe", [Hierarchy(tmp_path / "gone", 1, ["memory"])])
    made.prepare(Limits(memory_bytes=1))
    assert any("memory" in warning for warning in made.warnings)
    assert not made.bounds_memory


def test_a_group_that_cannot_be_made_whole_is_not_left(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "vic-0badcafe").mkdir(parents=True)
    hierarchies = [
        Hierarchy(tmp_path / "memory", 1, []),
        Hierarchy(tmp_path / "missing", 1, ["pids"]),
    ]
    made = MachineGroups("0badcafe", hierarchies)
    with pytest.raises(OSError, match="missing"):
        made.create("m")
    assert not (tmp_path / "memory" / "vic-0badcafe" / "m").exists()
