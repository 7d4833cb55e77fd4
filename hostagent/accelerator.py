"""KVM or TCG: decided by booting a kernel, since a /dev/kvm that exists may still not run one.

Some nested hosts open /dev/kvm, make a machine, and then spin without the guest ever getting on. So
the real kernel is booted under KVM, confined as every machine is, with nothing to mount: a kernel
that works comes as far as its panic, which powers the machine off. The verdict holds until the host
boots again or QEMU changes; one that another trial may not confirm, until the agent's next start
at most. Where QEMU changed and a trial tells nothing, the last verdict stands until one does.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from hostagent import commandline
from hostagent.confine import FIRST_DESCRIPTOR
from hostagent.launchpad import Launcher, Order
from hostagent.machine import Accelerator
from hostagent.processes import ExitStatus, boot_id

log = logging.getLogger("vic.accelerator")

KVM_DEVICE = Path("/dev/kvm")
TRIAL_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""Between trials of another QEMU that told nothing."""
TRIAL_MEMORY_MIB = 128
# The kernel finds no root file system and panics, which ends the machine.
TRIAL_ARGUMENTS = "console=ttyS0 earlyprintk=ttyS0 panic=-1 nomodeset"
MOST_OUTPUT = 1 << 20
BANNER = b"Linux version "
PANIC = b"Kernel panic - not syncing: VFS"


@dataclass(frozen=True)
class Verdict:
    """Which accelerator is used, and why, in a sentence for people."""

    accelerator: Accelerator
    cpu: str
    """The guest's CPU, as QEMU names it."""
    reason: str


@dataclass(frozen=True)
class TrialResult:
    """What a trial machine did."""

    output: bytes
    status: ExitStatus | None
    """None where it had to be killed."""
    seconds: float

    @property
    def qemu_failed(self) -> bool:
        """Whether QEMU itself gave up, whatever the guest did."""
        return self.status is not None and self.status != ExitStatus(code=0)

    @property
    def is_final(self) -> bool:
        """Whether another trial would end alike: the guest ran to its end, or never began to run.

        One that had begun when its time was over may have been on a busy host, and QEMU fails for
        want of memory too, which takes no time to try again.
        """
        return not self.qemu_failed and (self.status is not None or BANNER not in self.output)


class AcceleratorChoice:
    """Knows the accelerator, or finds it out once for each QEMU that is here."""

    def __init__(
        self,
        cache: Path,
        configured: str,
        qemu_version: Callable[[], Awaitable[str]],
        trial: Callable[[int, str], Awaitable[TrialResult]],
    ) -> None:
        """``configured`` is auto, kvm or tcg; ``trial`` boots a kernel on a CPU under KVM."""
        self._cache = cache
        self._trial = trial
        self._qemu_version = qemu_version
        self._deciding = asyncio.Lock()
        self._verdict = _without_trial(configured)
        self._needs_trial = self._verdict is None
        # Of the QEMU that the verdict is on, where it needed a trial.
        self._tried_version = ""
        # Before then a trial that told nothing of another QEMU isn't repeated, by time.monotonic.
        self._again_at = 0.0

    @property
    def verdict(self) -> Verdict | None:
        """The last verdict, where there is one; QEMU may have been replaced since."""
        return self._verdict

    async def decide(self, open_kernel: Callable[[], int]) -> Verdict:
        """Return the verdict, after a trial with the kernel where there is none on this QEMU yet.

        Raises VicError and OSError where that can't be had.
        """
        async with self._deciding:
            if self._needs_trial:
                version = await self._qemu_version()
                if self._verdict is None or version != self._tried_version:
                    await self._learn(version, open_kernel)
            assert self._verdict is not None
            return self._verdict

    async def _learn(self, version: str, open_kernel: Callable[[], int]) -> None:
        """Take the verdict that is kept on a QEMU, or make one by a trial."""
        verdict = self._kept(version)
        if verdict is None:
            before = self._verdict
            if before is not None and time.monotonic() < self._again_at:
                return
            result, verdict = await self._try_all(open_kernel)
            if result.is_final:
                self._save(verdict, version)
            elif before is not None:
                # While a package is unpacked its program may not run, and the host is busy: what
                # stood stands until a trial tells more.
                self._again_at = time.monotonic() + AGAIN_SECONDS
                log.warning("a trial told nothing of another QEMU", extra=asdict(verdict))
                return
            log.info("accelerator", extra=asdict(verdict))
        self._verdict, self._tried_version = verdict, version

    async def _try_all(self, open_kernel: Callable[[], int]) -> tuple[TrialResult, Verdict]:
        """Try each CPU that may do; QEMU's failure with one leads to the next."""
        kernel = open_kernel()
        try:
            for cpu in commandline.KVM_CPUS:
                result = await self._trial(kernel, cpu)
                verdict = judge(result, cpu)
                if not result.qemu_failed:
                    break
            return result, verdict
        finally:
            os.close(kernel)

    def _kept(self, version: str) -> Verdict | None:
        """Return the verdict on this QEMU that was found out since the host was started."""
        try:
            fields = json.loads(self._cache.read_text())
            if fields["boot_id"] != boot_id() or fields["qemu_version"] != version:
                return None
            return Verdict(
                Accelerator(fields["accelerator"]), str(fields["cpu"]), str(fields["reason"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _save(self, verdict: Verdict, version: str) -> None:
        fields = {**asdict(verdict), "boot_id": boot_id(), "qemu_version": version}
        staged = self._cache.with_suffix(".new")
        try:
            staged.write_text(json.dumps(fields, indent=1))
            os.replace(staged, self._cache)
        except OSError as error:
            # The disk is full, most likely. It is known here; the next agent tries once more.
            log.warning("the accelerator's verdict is not kept: %s", error)


def _without_trial(configured: str) -> Verdict | None:
    """Return the verdict where the setting, or the host, leaves nothing to try."""
    if configured != "auto":
        cpu = commandline.KVM_CPUS[0] if configured == Accelerator.KVM else commandline.TCG_CPU
        return Verdict(Accelerator(configured), cpu, "it is configured")
    if not KVM_DEVICE.exists():
        return _emulation(f"this host has no {KVM_DEVICE}")
    return None


def judge(result: TrialResult, cpu: str) -> Verdict:
    """Return the verdict on a trial with a CPU."""
    took = f"{result.seconds:.1f} s"
    if PANIC in result.output and result.status == ExitStatus(code=0):
        return Verdict(Accelerator.KVM, cpu, f"a trial kernel ran under KVM in {took}")
    if result.qemu_failed:
        lines = result.output.decode("utf-8", "replace").strip().splitlines()
        return _emulation(f"QEMU fails under KVM: {lines[-1][:200] if lines else result.status}")
    did = "began to boot and got no further" if BANNER in result.output else "never began to run"
    return _emulation(f"{KVM_DEVICE} opens, but a trial kernel {did} within {took}")


def _emulation(reason: str) -> Verdict:
    return Verdict(Accelerator.TCG, commandline.TCG_CPU, reason)


async def run_trial(
    launcher: Launcher,
    qemu: str,
    cpu: str,
    limits: dict[str, int],
    kernel: int,
) -> TrialResult:
    """Boot a kernel under KVM for :data:`TRIAL_SECONDS` at most. Raises Internal (LAUNCH_FAILED).

    ``launcher`` becomes QEMU; discarding it is the caller's.
    """
    console = os.memfd_create("vic-trial-console", os.MFD_CLOEXEC)
    # QEMU finds a descriptor only where its mode is the one that it would open with.
    output = os.open(f"/proc/self/fd/{console}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    status: ExitStatus | None = None
    try:
        began = time.monotonic()
        try:
            order = Order(trial_command_line(qemu, cpu), [output, kernel], 0, limits)
            await launcher.become(order)
            launcher.watch(ended.set_result)
            async with asyncio.timeout(TRIAL_SECONDS):
                status = await asyncio.shield(ended)
        except TimeoutError:
            await launcher.end()
        return TrialResult(os.pread(console, MOST_OUTPUT, 0), status, time.monotonic() - began)
    finally:
        os.close(output)
        os.close(console)


def trial_command_line(qemu: str, cpu: str) -> list[str]:
    """Return the command line of a trial machine: as every machine's, but with a kernel alone."""
    output, kernel = FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + 1
    return [
        *commandline.frame(qemu, "accelerator-trial", Accelerator.KVM),
        *("-machine", "q35,usb=off,sata=off,smbus=off,hpet=off,vmport=off,smm=off,i8042=off"),
        *("-cpu", cpu),
        *("-m", f"{TRIAL_MEMORY_MIB}M"),
        *("-kernel", f"/proc/self/fd/{kernel}"),
        *("-append", TRIAL_ARGUMENTS),
        *("-add-fd", f"fd={output},set=1"),
        *("-chardev", "file,id=console,path=/dev/fdset/1,append=on"),
        *("-serial", "chardev:console"),
    ]
