"""Who spends the CPU time of `docker run --rm IMAGE true`, back to back: by process and by work.

The whole machine is sampled by perf(1) while runs follow one another, so nothing else should run.
Of QEMU it is told what is the guest's own code, what is its translation and its devices, and what
the kernel does for it.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.report import Series, report
from bench.start import Engine
from bench.subject import accounted_suite, come_up, starts
from tests.images import Registry, busybox_image

# Samples a second on each CPU.
FREQUENCY = 1999
# Of the kernel's functions, what they are for; the first that a sample has in its stack counts.
KERNEL_WORK = (
    ("its end and its memory", re.compile(r"^(exit_mmap|do_exit|__mmdrop|mmput)$")),
    ("a fork", re.compile(r"^(copy_process|__do_sys_clone|dup_mmap)$")),
    ("page faults", re.compile(r"^(exc_page_fault|asm_exc_page_fault|handle_mm_fault)$")),
    ("disk", re.compile(r"^(vfs_fsync_range|ext4_sync_file|do_fsync|submit_bio.*)$")),
    ("ptrace", re.compile(r"^(__x64_sys_ptrace|ptrace_.*)$")),
    ("network", re.compile(r"^(__netif_receive_skb.*|tun_.*|sock_.*|.*sendmsg|.*recvmsg)$")),
    ("an exec", re.compile(r"^(do_execveat_common.*|load_elf_binary)$")),
)
_HEADER = re.compile(r"^(?P<comm>.{1,16}?)\s+(?P<pid>\d+)/(?P<tid>\d+)\s*$")
_FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<symbol>.*?)(\+0x[0-9a-f]+)? \((?P<file>.*)\)$")
_KERNEL = "[kernel.kallsyms]"


@dataclass(frozen=True)
class Sample:
    """What a CPU did at a moment."""

    command: str
    pid: int
    tid: int
    stack: tuple[tuple[str, str], ...]
    """Symbol and file of each frame, the innermost first."""


def samples(lines: Iterable[str]) -> Iterator[Sample]:
    """Read `perf script -F comm,pid,tid,ip,sym,dso`."""
    head: tuple[str, int, int] | None = None
    stack: list[tuple[str, str]] = []
    for line in lines:
        if (header := _HEADER.match(line)) is not None:
            head, stack = (header["comm"].strip(), int(header["pid"]), int(header["tid"])), []
        elif (frame := _FRAME.match(line)) is not None:
            stack.append((frame["symbol"], frame["file"]))
        elif head is not None and not line.strip():
            yield Sample(*head, tuple(stack))
            head = None


def work(sample: Sample) -> str:
    """Return what a sample of QEMU, or of any other process, was about."""
    file = sample.stack[0][1] if sample.stack else ""
    if file != _KERNEL:
        if "qemu" not in sample.command:
            return "its own code"
        if "qemu-system" in file:
            return "translation and devices"
        return (
            "the guest's code" if file in ("[unknown]", "//anon") or "anon" in file else "libraries"
        )
    for name, pattern in KERNEL_WORK:
        if any(pattern.match(frame) for frame, _ in sample.stack):
            return f"kernel: {name}"
    return "kernel: other"


def roles(data_dir: Path) -> dict[int, str]:
    """Return who the long-lived processes are."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if "-m" in words and "python" in words[0]:
            found[int(directory.name)] = words[words.index("-m") + 1].removeprefix("services.")
        elif "qemu-system" in words[0]:
            found[int(directory.name)] = "QEMU"
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="runs (default: %(default)s)")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="N functions of each")
    parser.add_argument("--keep", type=Path, help="keep perf's own record here")
    parser.add_argument("--out", type=Path, default=Path("spent.json"), help="JSON file to write")
    arguments = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("no perf(1): Debian's linux-perf has it")
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            come_up(suite)
        image = registry.push(busybox_image(), "busybox")
        engine = Engine("vic", suite.endpoint, account)
        engine.docker("pull", image)
        for _ in range(10):
            engine.measure(image)
        engine.seconds.clear()
        known = roles(suite.data_dir)
        before, spent = starts(suite), engine.spent()
        record = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "perf"
        perf = subprocess.Popen(
            ["perf", "record", "-a", "-g", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", record],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(2)
        spent = engine.spent()
        for _ in range(arguments.count):
            engine.measure(image)
        spent = engine.spent() - spent
        known |= roles(suite.data_dir)
        perf.terminate()
        perf.wait()
        after = starts(suite)
        script = subprocess.Popen(
            ["perf", "script", "-i", record, "-F", "comm,pid,tid,ip,sym,dso"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
        assert script.stdout is not None
        parts: Counter[tuple[str, str]] = Counter()
        functions: dict[str, Counter[str]] = {}
        for sample in samples(script.stdout):
            if sample.pid == 0 or sample.command.startswith("perf"):
                continue
            role = known.get(sample.pid, sample.command)
            if "qemu" in sample.command:
                role = "QEMU, main" if sample.pid == sample.tid else "QEMU, vCPU and others"
            parts[role, work(sample)] += 1
            if sample.stack:
                functions.setdefault(role, Counter())[" ".join(sample.stack[0])] += 1
        script.wait()
    share = 1000 / FREQUENCY / arguments.count
    table = [
        {"process": role, "work": what, "ms a run": round(count * share, 2)}
        for (role, what), count in parts.most_common()
        if count * share >= 0.5
    ]
    totals: Counter[str] = Counter()
    for (role, _), count in parts.items():
        totals[role] += count
    for role, count in totals.most_common():
        if count * share < 1:
            continue
        print(f"{role:<40}{count * share:>9.1f} ms a run")
        for row in table:
            if row["process"] == role:
                print(f"    {row['work']:<36}{row['ms a run']:>9} ms")
        for name, hits in functions.get(role, Counter()).most_common(arguments.functions):
            print(f"        {name:<60}{hits * share:>8.2f} ms")
    facts = {
        "CPU s a run": round(spent / arguments.count, 3),
        "ready clones": after.ready_clones - before.ready_clones,
        "cold boots": after.cold_boots - before.cold_boots,
        "table": table,
    }
    report(
        "docker run --rm IMAGE true", [Series("vic", tuple(engine.seconds))], facts, arguments.out
    )


if __name__ == "__main__":
    main()
