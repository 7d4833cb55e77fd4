"""The process that becomes QEMU: builds an empty place around itself, waits for an order, and turns
into what the order says, without a power left.

Run by the agent, as root, with the arguments ROOT DEVICE… (see :data:`PROGRAM`). It does the slow
part (namespaces, mounts) ahead of demand, so a launch costs only what comes after :func:`receive`.
It is single-threaded, and it is the agent's child: its process ID is QEMU's.

Descriptor 3 is a SOCK_SEQPACKET socket. The process sends ``ready`` on it, receives one order with
descriptors attached, and then either sends a sentence that says what failed, or the socket closes
because the exec succeeded. When the agent goes away before that, the process ends.

It starts in 13 ms of CPU time because it imports little: the module below ``socket``, for one,
costs a third of what that costs.
"""

import _socket
import ctypes
import fcntl
import os
import resource
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = (
    "-I",
    "-S",
    "-c",
    f"import sys; sys.path.append({os.path.dirname(__file__)!r}); import confine; confine.main()",
)
"""Arguments of an interpreter that sees the standard library and, after it, this module alone; as
an import, it comes from its compiled form."""

CHANNEL = 3
FIRST_DESCRIPTOR = 3
"""The order's descriptors get numbers from here on, in their order; then come idle NICs."""

IDLE_NICS = 2
MOST_DESCRIPTORS = 253  # SCM_MAX_FD of the kernel
LONGEST_ORDER = 1 << 18
OUT_OF_THE_WAY = 600  # above every number that an order can ask for

# <sched.h>
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
# <sys/mount.h>
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2
# <linux/prctl.h>
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
# <linux/capability.h>
CAPABILITY_VERSION_3 = 0x20080522
# <linux/if_tun.h>
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
TUNSETLINK = 0x400454CD
TUNSETGROUP = 0x400454CE
# <linux/sockios.h>
SIOCSIFHWADDR = 0x8924
# <linux/prctl.h>, <linux/seccomp.h>, <linux/bpf_common.h>
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_ALLOW, SECCOMP_EPERM, SECCOMP_KILL = 0x7FFF0000, 0x00050001, 0x80000000
BPF_LOAD, BPF_EQUAL, BPF_AT_LEAST, BPF_RETURN = 0x20, 0x15, 0x35, 0x06
# <linux/audit.h>, <asm/unistd.h>: what tells a host's system calls from others', ioctl(2)'s number,
# and from which number on they are of another kind (x32).
IOCTLS = {
    "x86_64": (0xC000003E, 16, 0x40000000),
    "aarch64": (0xC00000B7, 29, 0x40000000),
}

LIBC = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the C library's errno where a call failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError."""
    result = LIBC.mount(
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    check(result, f"mount on {target}")


def bind_read_only(source: str, target: str) -> None:
    """Show a file or a directory of the host, unchangeable and without setuid or devices."""
    mount(source, target, None, MS_BIND)
    mount(source, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def build_root(root: str, devices: list[str]) -> None:
    """Build a root file system on an empty directory: programs, libraries and firmware, read-only;
    a /proc that shows no other user's process; and the device nodes asked for.
    """
    mount("vic", root, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k,nr_inodes=64")
    for name in ("usr", "lib", "lib64", "lib32", "bin", "sbin"):
        source, target = f"/{name}", f"{root}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            os.mkdir(target)
            bind_read_only(source, target)
    os.mkdir(f"{root}/etc")
    if os.path.exists("/etc/ld.so.cache"):
        with open(f"{root}/etc/ld.so.cache", "xb"):
            pass
        bind_read_only("/etc/ld.so.cache", f"{root}/etc/ld.so.cache")
    os.mkdir(f"{root}/proc")
    options = "hidepid=invisible,subset=pid"
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    os.mkdir(f"{root}/dev")
    for device in devices:
        os.mknod(root + device, 0o020666, os.stat(device).st_rdev)
        os.chmod(root + device, 0o666)  # noqa: S103 - a node in a place of its own
    mount("vic", root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC)


def enter(root: str) -> None:
    """Make a directory this process's root and let go of the host's."""
    os.chdir(root)
    check(LIBC.pivot_root(b".", b"."), "pivot_root")
    # Both are now stacked on "/": this takes away the old one, which lies on top.
    check(LIBC.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def isolate(root: str, devices: list[str]) -> list[int]:
    """Move into empty namespaces. Returns descriptors for NICs that are connected to nothing: what
    is opened in the new network namespace belongs to it.
    """
    check(LIBC.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC), "unshare")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    idle = [os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK) for _ in range(IDLE_NICS)]
    build_root(root, devices)
    enter(root)
    return idle


def encode(
    uid: int,
    idle_nics: int,
    limits: dict[str, int],
    kept: "Sequence[int]",
    users: "tuple[int, int]",
    argv: list[str],
) -> bytes:
    """Return an order as the agent sends it.

    ``kept`` are capabilities that it is to keep, ``users`` the first and the number of the users
    and groups over which it has them then.
    """
    bounds = ",".join(f"{name}={limit}" for name, limit in limits.items())
    powers = ",".join(str(capability) for capability in kept)
    over = ",".join(map(str, users))
    return "\0".join([str(uid), str(idle_nics), bounds, powers, over, *argv]).encode()


def decode(
    order: bytes,
) -> tuple[int, int, dict[str, int], list[int], "tuple[int, int]", list[str]]:
    """Return what :func:`encode` was given. Raises ValueError."""
    uid, idle_nics, bounds, powers, over, *argv = order.decode().split("\0")
    limits = {name: int(limit) for name, limit in (bound.split("=") for bound in bounds.split(","))}
    kept = [int(capability) for capability in powers.split(",") if capability]
    first, count = map(int, over.split(","))
    return int(uid), int(idle_nics), limits, kept, (first, count), argv


def receive(channel: _socket.socket) -> tuple[bytes, list[int]]:
    """Wait for the order and its descriptors. Ends the process when the agent is gone."""
    space = _socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
    message, ancillary, flags, _ = channel.recvmsg(LONGEST_ORDER, space)
    if not message:
        sys.exit(0)
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        raise ValueError("the order was cut off")
    descriptors = [fd for _, _, data in ancillary for (fd,) in struct.iter_unpack("=i", data)]
    return message, descriptors


def place(descriptors: list[int], channel: _socket.socket) -> _socket.socket:
    """Give descriptors their numbers, the first as standard output and error too; close all others.

    Returns the channel under a number that is out of the way; it closes on exec.
    """
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY) for fd in descriptors]
    number = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)
    far = _socket.socket(fileno=number)
    channel.detach()
    for number, fd in enumerate(moved, FIRST_DESCRIPTOR):
        os.dup2(fd, number, inheritable=True)
    os.dup2(FIRST_DESCRIPTOR, 1)
    os.dup2(FIRST_DESCRIPTOR, 2)
    os.closerange(FIRST_DESCRIPTOR + len(moved), OUT_OF_THE_WAY)
    return far


def own_users(first: int, count: int) -> None:
    """Move into a user namespace that has so many users and groups, each as itself, and no root.

    What capabilities this process keeps are good for nothing outside: it can mount no device, and
    become none but those users. Raises OSError.
    """
    waiting, told = os.pipe()
    outside = os.fork()
    if outside == 0:
        # Who names users in it that aren't its maker's must have root's powers, and so be outside.
        try:
            os.close(told)
            if not os.read(waiting, 1):
                os._exit(1)  # its maker has been killed
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{os.getppid()}/{name}", "w") as file:
                    file.write(f"{first} {first} {count}")
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    try:
        check(LIBC.unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    finally:
        os.write(told, b"\0")
        os.close(told)
        os.close(waiting)
        _, status = os.waitpid(outside, 0)
    number = os.waitstatus_to_exitcode(status)
    if number != 0:
        raise OSError(number, f"users can't be mapped: {os.strerror(number)}")


def keep_taps_as_they_are() -> None:
    """Let nobody from here on make a tap stay, give it away, or give it another's address.

    All that takes no power but its descriptor: it would be left on the host when the machine has
    ended, or take what a bridge has for a neighbour. Raises OSError.
    """
    if os.uname().machine not in IOCTLS:
        return
    architecture, ioctl, others = IOCTLS[os.uname().machine]
    denied = (TUNSETPERSIST, TUNSETOWNER, TUNSETLINK, TUNSETGROUP, SIOCSIFHWADDR)
    last = len(denied)
    rules = [
        (BPF_LOAD, 0, 0, 4),  # the architecture
        (BPF_EQUAL, 1, 0, architecture),
        (BPF_RETURN, 0, 0, SECCOMP_KILL),
        (BPF_LOAD, 0, 0, 0),  # the call's number
        (BPF_AT_LEAST, 0, 1, others),
        (BPF_RETURN, 0, 0, SECCOMP_KILL),
        (BPF_EQUAL, 0, last + 1, ioctl),
        (BPF_LOAD, 0, 0, 24),  # its second argument, of which the kernel takes 32 bits
        *((BPF_EQUAL, last - place, 0, request) for place, request in enumerate(denied)),
        (BPF_RETURN, 0, 0, SECCOMP_ALLOW),
        (BPF_RETURN, 0, 0, SECCOMP_EPERM),
    ]
    program = b"".join(struct.pack("=HBBI", *rule) for rule in rules)
    # struct sock_fprog, the program behind it
    area = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(rules), ctypes.addressof(area))
    check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0), "prctl(PR_SET_SECCOMP)")


def drop_powers(uid: int, kept: "Sequence[int]" = ()) -> None:
    """Become a user who has nothing but the capabilities ``kept``, and can gain nothing."""
    capability = 0
    while capability in kept or LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if capability == 0:
        check(-1, "prctl(PR_CAPBSET_DROP)")
    check(LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")
    check(LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    powers = sum(1 << capability for capability in kept)
    check(LIBC.capset(header, struct.pack("=III12x", powers, powers, powers)), "capset")
    for capability in kept:
        # The one way to have them still after an exec that isn't root's.
        raised = LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        check(raised, "prctl(PR_CAP_AMBIENT)")
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def main() -> None:
    """Prepare, wait, and become what is ordered."""
    os.closerange(CHANNEL + 1, OUT_OF_THE_WAY)
    channel = _socket.socket(fileno=CHANNEL)
    root, *devices = sys.argv[1:]
    os.umask(0o022)
    try:
        idle = isolate(root, devices)
        channel.send(b"ready")
        message, descriptors = receive(channel)
        uid, idle_nics, limits, kept, users, argv = decode(message)
        for number, fd in enumerate(idle[:idle_nics]):
            flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", f"idle{number}".encode(), flags))
            descriptors.append(fd)
        channel = place(descriptors, channel)
        os.umask(0o077)
        # When the host runs out of memory, a machine goes before what serves all of them.
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
        if kept:
            own_users(*users)
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        drop_powers(uid, kept)
        keep_taps_as_they_are()
        os.execve(argv[0], argv, {"LC_ALL": "C"})  # noqa: S606 - becomes QEMU
    except Exception as error:  # noqa: BLE001 - whatever it is, the agent must hear of it
        channel.send(f"{type(error).__name__}: {error}".encode())
        sys.exit(1)
