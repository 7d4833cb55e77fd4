"""A tiny guest: Debian's cloud kernel with busybox for an init, which plays the tether's part.

It reports that it is ready, reads its frame, and then does what its host name says (see ``INIT``).
Built once a kernel version, in the checkout's cache.
"""

import fcntl
import gzip
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tether.bootstrap import debian

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "hostagent-guest"
BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh",
    "insmod",
    "mount",
    "cat",
    "dd",
    "md5sum",
    "poweroff",
    "head",
    "sleep",
    "cut",
    "sync",
)
# In the order in which they depend on each other.
MODULES = (
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
)
ARGUMENTS = "console=ttyS0 quiet panic=-1 rdinit=/init"

INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
until [ -c "$config" ] && [ -c "$exit" ]; do
    for port in /sys/class/virtio-ports/*; do
        case $(cat $port/name 2>/dev/null) in
            vic.config) config=/dev/${port##*/} ;;
            vic.exit) exit=/dev/${port##*/} ;;
        esac
    done
done
say() { echo "guest: $*" > /dev/ttyS0; }
exec 3<>$config
say ready
echo '{"event": "ready", "protocol": 1}' >&3
read_frame() {
    dd bs=1 count=4 of=/length <&3 2>/dev/null
    # No frame is as long as 64 KiB here: the last two bytes tell.
    high=$(dd if=/length bs=1 skip=2 count=1 2>/dev/null | hexdump -v -e '1/1 "%u"')
    low=$(dd if=/length bs=1 skip=3 count=1 2>/dev/null | hexdump -v -e '1/1 "%u"')
    head -c $((high * 256 + low)) <&3 > /frame
}
read_frame
case $(cat /frame) in *warm_up*)
    say warm
    echo '{"event": "warm"}' >&3
    read_frame ;;
esac
task=$(sed 's/.*"hostname":"\\([^"]*\\)".*/\\1/' /frame)
say "task $task"
echo '{"event": "configured"}' >&3
case $task in
    record) echo "code 7" > $exit; sync ;;
    linger) echo "code 7" > $exit; echo "code 7" > $exit; while :; do sleep 1000; done ;;
    stay) while :; do sleep 1000; done ;;
    record-stay) echo "code 9" > $exit; say recorded; while :; do sleep 1000; done ;;
    flood) while :; do cat /dev/zero > $exit; done ;;
    disk) say "disk $(dd if=/dev/vda bs=65536 count=64 2>/dev/null | md5sum)"
          echo "written by $(cut -c1-8 /frame)" | dd of=/dev/vda bs=512 seek=2048 2>/dev/null
          sync ;;
    liar) while :; do echo '{"event": "failed", "error": "again"}' >&3; done ;;
    *) echo '{"event": "failed", "error": "no such task"}' >&3 ;;
esac
poweroff -f
"""


def build() -> Path:
    """Return the directory that holds the guest as a bootstrap image: its name is the digest."""
    kernel = debian.resolve_kernel()
    inputs = (INIT, ARGUMENTS, *MODULES, *APPLETS, kernel.sha256)
    digest = hashlib.sha256("\n".join(inputs).encode()).hexdigest()
    target = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            package = debian.fetch([kernel], CACHE / "downloads")[kernel.name]
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                _build(Path(work), package, target)
    return target


def _build(work: Path, package: Path, target: Path) -> None:
    unpacked, root, image = work / "kernel", work / "root", work / "image"
    debian.unpack(package, unpacked)
    release = next((unpacked / "lib/modules").iterdir()).name
    for name in ("bin", "dev", "proc", "sys", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in (*APPLETS, "hexdump", "sed", "echo"):
        (root / "bin" / applet).symlink_to("busybox")
    names = []
    for module in MODULES:
        (path,) = (unpacked / "lib/modules" / release / "kernel").glob(f"{module}.ko*")
        shutil.copy(path, root / "modules" / path.name)
        names.append(path.name)
    (root / "modules/order").write_text(" ".join(names))
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    listing = "\n".join(sorted(str(p.relative_to(root)) for p in root.rglob("*")))
    archive = subprocess.run(
        [str(BUSYBOX), "cpio", "-o", "-H", "newc"],
        input=listing.encode(),
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout
    image.mkdir()
    shutil.copy(unpacked / f"boot/vmlinuz-{release}", image / "vmlinuz")
    (image / "initrd.img").write_bytes(gzip.compress(archive, 1))
    manifest = {"kernel": release, "kernel_arguments": ARGUMENTS}
    (image / "manifest.json").write_text(json.dumps(manifest))
    for path in image.iterdir():
        path.chmod(0o444)
    image.chmod(0o755)
    image.rename(target)
