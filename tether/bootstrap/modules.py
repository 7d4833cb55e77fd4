"""Chooses kernel modules, and the order to load them in, from what the modules say themselves.

``modules.dep`` is written by depmod when a kernel is *installed*, which never happens here, so
dependencies and device aliases come from each module's own ``.modinfo`` section.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

from tether.bootstrap.elf import ElfFile
from tether.bootstrap.errors import BootstrapError

# What the machines of both platforms need. Loaded always: what no device asks for by alias, and
# the driver of SCSI disks, which come with a container's volumes.
# fuse and tun are what containers are given by --device most of all; nothing loads modules later.
ALWAYS = ("crc32c_intel", "loop", "overlay", "sd_mod", "fuse", "tun")
# Loaded where a device of the machine asks for it: QEMU's virtio and VMware's devices.
BY_DEVICE = (
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "virtio_scsi",
    "sd_mod",
    "vmxnet3",
    "vmw_pvscsi",
)
# Must be there as a module or built in, but is no driver of a device.
FILE_SYSTEMS = ("ext4",)


@dataclass(frozen=True)
class Module:
    """A kernel module: its file's bytes, what must be loaded before, which devices it drives."""

    name: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class ModulePlan:
    """The modules of the image in an order in which each comes after what it depends on."""

    modules: tuple[Module, ...]
    always: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """What the supervisor reads: load order, dependencies, aliases of devices."""
        return {
            "always": list(self.always),
            "depends": {module.name: list(module.depends) for module in self.modules},
            "aliases": [
                [alias, module.name] for module in self.modules for alias in module.aliases
            ],
        }


def plan_modules(directory: Path) -> ModulePlan:
    """Find the modules under ``lib/modules/VERSION`` and order them by dependency.

    Raises BootstrapError when a module that the tether can't do without is missing.
    """
    files = {_module_name(path): path for path in sorted(directory.rglob("*.ko*"))}
    built_in = {
        _module_name(Path(line)) for line in (directory / "modules.builtin").read_text().split()
    }
    ordered: dict[str, Module] = {}

    def add(name: str) -> None:
        if name in ordered or name in built_in:
            return
        if name not in files:
            raise BootstrapError(f"the kernel of {directory.name} has no module {name}")
        module = _read(name, files[name])
        for dependency in module.depends:
            add(dependency)
        ordered[name] = module

    for name in (*BY_DEVICE, *FILE_SYSTEMS, *ALWAYS):
        add(name)
    always = tuple(name for name in (*FILE_SYSTEMS, *ALWAYS) if name in ordered)
    return ModulePlan(tuple(ordered.values()), always)


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _read(name: str, path: Path) -> Module:
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    info = ElfFile(data, path.name).modinfo()
    depends = [one for line in info.get("depends", []) for one in line.split(",") if one]
    return Module(
        name,
        data,
        tuple(one.replace("-", "_") for one in depends),
        tuple(
            alias
            for alias in info.get("alias", [])
            if alias.startswith(("pci:", "virtio:", "scsi:"))
        ),
    )
