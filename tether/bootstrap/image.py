"""Puts the bootstrap image together, and finds it again by the digest of what went into it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import vic

import tether
from tether.bootstrap import debian, wheels
from tether.bootstrap.cpio import Archive
from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.interpreter import LOADER, interpreter_files
from tether.bootstrap.modules import ModulePlan, plan_modules
from tether.bootstrap.scratch import scratch_blocks
from tether.guestconfig import PROTOCOL_VERSION

DEFAULT_CACHE = Path("/var/cache/vic/bootstrap")
# Raised when the builder lays the image out differently from equal inputs.
_LAYOUT = 1
# What the guest boots with. panic=-1: a tether that died must end the VM, not hang it. No boot
# splash of messages on the emulated serial port, each character of which is a trap. No watchdog for
# soft lockups: a virtual processor that a busy host leaves out for long isn't one, and its timer
# wakes an idle machine.
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet loglevel=4 panic=-1 rdinit=/init cgroup_no_v1=all"
    " 8250.nr_uarts=1 net.ifnames=0 audit=0 nomodeset no_timer_check tsc=reliable"
    " random.trust_cpu=on psi=0 lsm= nowatchdog"
)
_INIT = b"#!/usr/bin/python3.11 -IBSu\nfrom tether.supervisor.__main__ import main\nmain()\n"
_INIT_PROGRAM = "usr/bin/tini-static"
_DIRECTORIES = (
    *("proc", "sys", "run", "tmp", "dev", "etc"),
    *("container/root", "container/proc", "container/sys", "container/dev"),
    "usr/lib/python3.11/lib-dynload",  # empty; CPython takes it for a sign of a complete prefix
)


@dataclass(frozen=True)
class BootstrapImage:
    """A built image: ``directory`` holds vmlinuz, initrd.img and manifest.json."""

    directory: Path

    @property
    def digest(self) -> str:
        """SHA-256 of all that went into the image."""
        return self.directory.name


@dataclass(frozen=True)
class KernelSource:
    """Where an image's kernel is from: a package that apt knows, or a package's file."""

    package: str = debian.KERNEL_META_PACKAGE
    file: Path | None = None

    def resolve(self) -> debian.DebianPackage:
        """The kernel's package. Raises BootstrapError."""
        if self.file is not None:
            return debian.read_package(self.file)
        return debian.resolve_kernel(self.package)

    def name(self) -> str:
        """What tells it from others, as far as can be told without asking apt."""
        if self.file is None:
            return self.package
        return f"sha256:{hashlib.sha256(self.file.read_bytes()).hexdigest()}"


DEFAULT_KERNEL = KernelSource()


@dataclass(frozen=True)
class _Inputs:
    sources: str
    wheels: dict[str, str]
    kernel: str

    def key(self) -> str:
        return _digest(asdict(self))


def build(
    cache: Path = DEFAULT_CACHE, *, refresh: bool = False, kernel: KernelSource = DEFAULT_KERNEL
) -> BootstrapImage:
    """Return the image for this version of the tether, building it where the cache has none.

    A cached image is taken whatever Debian has published since; ``refresh`` asks apt's lists for
    newer packages. Raises BootstrapError when packages can't be had, or the kernel lacks something.
    """
    if platform.machine() != "x86_64":
        raise BootstrapError(f"no bootstrap image for {platform.machine()}: x86_64 only")
    sources = _source_files()
    inputs = _Inputs(_sources_digest(sources), wheels.installed_versions(), kernel.name())
    pointer = cache / "current" / inputs.key()
    if not refresh and pointer.exists():
        image = BootstrapImage(cache / pointer.read_text().strip())
        if (image.directory / "manifest.json").exists():
            return image
    packages = [kernel.resolve(), *debian.resolve()]
    digest = _digest(
        {**asdict(inputs), "layout": _LAYOUT, "packages": [asdict(package) for package in packages]}
    )
    image = BootstrapImage(cache / digest)
    if not (image.directory / "manifest.json").exists():
        _build(cache, image, packages, inputs, sources, kernel.file)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(pointer, digest.encode())
    return image


def _build(
    cache: Path,
    image: BootstrapImage,
    packages: list[debian.DebianPackage],
    inputs: _Inputs,
    sources: dict[str, Path],
    kernel_file: Path | None,
) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    downloads = cache / "downloads"
    kernel_package, *others = packages
    files = debian.fetch(packages if kernel_file is None else others, downloads)
    fetched_wheels = wheels.fetch(inputs.wheels, downloads)
    with ExitStack() as undo:
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(dir=cache, prefix=".build-")))
        kernel_root, root, site = work / "kernel", work / "root", work / "site"
        debian.unpack(kernel_file or files[kernel_package.name], kernel_root)
        for package in others:
            debian.unpack(files[package.name], root)
        for wheel in fetched_wheels:
            wheels.unpack(wheel, site)
        for name, path in sources.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, site / name)
        release = _release(kernel_root, kernel_package.name)
        interpreter = interpreter_files(root, site, work / "compiled")
        archive = _archive(plan_modules(kernel_root / "lib/modules" / release), interpreter)
        archive.file("usr/lib/tether/scratch", scratch_blocks(interpreter[LOADER], work))
        # For ``docker run --init``; Docker's own is the same program.
        archive.file("usr/lib/tether/docker-init", (root / _INIT_PROGRAM).read_bytes(), 0o755)
        staged = work / "image"
        staged.mkdir()
        shutil.copyfile(kernel_root / f"boot/vmlinuz-{release}", staged / "vmlinuz")
        _write(archive, staged / "initrd.img")
        manifest = {
            "digest": image.digest,
            "kernel": release,
            "kernel_arguments": KERNEL_ARGUMENTS,
            "protocol": PROTOCOL_VERSION,
            "unpacked_bytes": archive.size(),
            "packages": {package.name: package.version for package in packages},
            "wheels": {wheel.name: wheel.version for wheel in fetched_wheels},
            "wheel_digests": {wheel.name: wheel.sha256 for wheel in fetched_wheels},
            "sha256": {
                name: hashlib.sha256((staged / name).read_bytes()).hexdigest()
                for name in ("vmlinuz", "initrd.img")
            },
        }
        (staged / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True))
        for path in staged.iterdir():
            path.chmod(0o444)
        staged.chmod(0o755)
        if not image.directory.exists():  # another builder may have been faster
            staged.rename(image.directory)


def _release(root: Path, package: str) -> str:
    """Release of the kernel in a package. Raises BootstrapError where there isn't just one."""
    modules = root / "lib/modules"
    releases = [path.name for path in modules.iterdir()] if modules.is_dir() else []
    if len(releases) != 1 or not (root / f"boot/vmlinuz-{releases[0]}").is_file():
        raise BootstrapError(
            f"{package} is no kernel's package: /boot/vmlinuz-RELEASE and /lib/modules/RELEASE "
            "of one release are needed"
        )
    return releases[0]


def _archive(plan: ModulePlan, files: dict[str, Path]) -> Archive:
    archive = Archive()
    for directory in _DIRECTORIES:
        archive.directory(directory)
    # The kernel opens this for PID 1's own output before anything can be mounted.
    archive.character_device("dev/console", 5, 1, 0o600)
    archive.file("init", _INIT, 0o755)
    archive.file("etc/modules.json", json.dumps(plan.to_json(), sort_keys=True).encode())
    for module in plan.modules:
        archive.file(f"usr/lib/modules/{module.name}.ko", module.data)
    for name, path in files.items():
        executable = path.stat().st_mode & 0o111
        archive.file(name, path.read_bytes(), 0o755 if executable else 0o644)
    return archive


def _write(archive: Archive, target: Path) -> None:
    """Write the archive as it is: 35 MB.

    Not compressed, because the guest would have to undo that: under emulation zstd costs a cold
    boot some 0.4 s out of 5 (median of three rounds, one of which said otherwise), and reading
    35 MB from the host's page cache costs it nothing.
    """
    with target.open("wb") as out:
        for chunk in archive.chunks():
            out.write(chunk)


def _source_files() -> dict[str, Path]:
    """Our own modules that go into the guest: the tether without this builder, and its protocol."""
    found: dict[str, Path] = {}
    for package in (tether, vic):
        base = Path(next(iter(package.__path__)))
        for path in sorted(base.rglob("*.py")):
            name = path.relative_to(base)
            if package is vic and name.parts[0] not in ("__init__.py", "tether"):
                continue
            if package is tether and name.parts[0] == "bootstrap":
                continue
            found[f"{package.__name__}/{name}"] = path
    return found


def _sources_digest(sources: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    builder = {path.name: path for path in sorted(Path(__file__).parent.glob("*.py"))}
    for name, path in (*sorted(sources.items()), *builder.items()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
