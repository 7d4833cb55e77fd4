"""The verdict on KVM."""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hostagent import accelerator as module
from hostagent.accelerator import AcceleratorChoice, TrialResult, judge, trial_command_line
from hostagent.machine import Accelerator
from hostagent.processes import ExitStatus

WORKED = TrialResult(
    b"Linux version 6.1\nKernel panic - not syncing: VFS: Unable to mount root fs", ExitStatus(0), 1
)
SPINS = TrialResult(b"Probing EDD (edd=off to disable)... ok", None, 5)
SLOW = TrialResult(b"Linux version 6.1\n", None, 5)
MSR = TrialResult(b"qemu: error: failed to set MSR 0x10a\n", ExitStatus(signal=6), 0.1)


async def old_qemu() -> str:
    return "7.2"


async def new_qemu() -> str:
    return "8.0"


def test_a_kernel_that_ran_to_its_end_speaks_for_kvm() -> None:
    verdict = judge(WORKED, "host")
    assert (verdict.accelerator, verdict.cpu) == (Accelerator.KVM, "host")


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (SPINS, "never began to run within 5.0 s"),
        (TrialResult(b"Linux version 6.1\n", None, 5), "got no further"),
        (MSR, "failed to set MSR"),
        (TrialResult(b"", ExitStatus(1), 0.1), "QEMU fails"),
        (TrialResult(b"no kernel at all", ExitStatus(0), 0.1), "never began"),
    ],
)
def test_all_else_is_emulation_with_the_reason(result: TrialResult, why: str) -> None:
    verdict = judge(result, "host")
    assert verdict.accelerator is Accelerator.TCG
    assert verdict.cpu.startswith("max")
    assert why in verdict.reason


class Trials:
    """Plays trials, and remembers which CPUs were asked for."""

    def __init__(self, **results: TrialResult) -> None:
        self.results = list(results.values())
        self.cpus: list[str] = []

    async def __call__(self, kernel: int, cpu: str) -> TrialResult:
        os.fstat(kernel)
        self.cpus.append(cpu)
        return self.results[len(self.cpus) - 1]


@pytest.fixture
def open_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    monkeypatch.setattr(module, "KVM_DEVICE", tmp_path)
    return lambda: os.open(tmp_path, os.O_RDONLY)


async def test_a_cpu_that_qemu_cannot_set_up_leads_to_the_next(
    tmp_path: Path, open_kernel: Callable[[], int]
) -> None:
    trials = Trials(first=MSR, second=WORKED)
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", old_qemu, trials)
    verdict = await choice.decide(open_kernel)
    assert verdict.accelerator is Accelerator.KVM
    assert trials.cpus == ["host", "host,arch-capabilities=off"]
    assert verdict.cpu == trials.cpus[1]


async def test_a_guest_that_does_not_run_ends_the_trials(
    tmp_path: Path, open_kernel: Callable[[], int]
) -> None:
    trials = Trials(first=SPINS)
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", old_qemu, trials)
    assert choice.verdict is None
    await choice.decide(open_kernel)
    await choice.decide(open_kernel)
    assert trials.cpus == ["host"]


async def test_a_verdict_that_can_not_be_kept_is_one_all_the_same(
    tmp_path: Path, open_kernel: Callable[[], int]
) -> None:
    """The disk is full."""
    trials = Trials(first=WORKED)
    choice = AcceleratorChoice(tmp_path / "missing" / "verdict", "auto", old_qemu, trials)
    for _ in range(2):
        assert (await choice.decide(open_kernel)).accelerator is Accelerator.KVM
    assert trials.cpus == ["host"]


async def test_the_verdict_holds_for_this_boot_and_this_qemu(
    tmp_path: Path, open_kernel: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "verdict"
    trials = Trials(first=SPINS)
    verdict = await AcceleratorChoice(cache, "auto", old_qemu, trials).decide(open_kernel)
    kept = AcceleratorChoice(cache, "auto", old_qemu, Trials())
    assert await kept.decide(open_kernel) == verdict

    async def tried_again(qemu_version: Callable[[], Awaitable[str]]) -> bool:
        saved = cache.read_text()
        again = Trials(first=SPINS)
        await AcceleratorChoice(cache, "auto", qemu_version, again).decide(open_kernel)
        cache.write_text(saved)
        return again.cpus != []

    assert not await tried_again(old_qemu)
    assert await tried_again(new_qemu)
    with monkeypatch.context() as patch:
        patch.setattr(module, "boot_id", lambda: "another boot")
        assert await tried_again(old_qemu)
    cache.write_text("{")
    assert await tried_again(old_qemu)


async def test_a_qemu_that_is_upgraded_beneath_the_agent_is_tried_and_its_verdict_kept_as_its_own(
    tmp_path: Path, open_kernel: Callable[[], int]
) -> None:
    cache = tmp_path / "verdict"
    versions = ["7.2"]

    async def qemu() -> str:
        return versions[-1]

    trials = Trials(first=SPINS, second=WORKED)
    choice = AcceleratorChoice(cache, "auto", qemu, trials)
    assert (await choice.decide(open_kernel)).accelerator is Accelerator.TCG
    versions.append("10.0")
    for _ in range(2):
        verdict = await choice.decide(open_kernel)
        assert verdict.accelerator is Accelerator.KVM
    assert choice.verdict == verdict
    assert json.loads(cache.read_text())["qemu_version"] == "10.0"
    assert len(trials.cpus) == 2


async def test_kvm_stands_while_an_upgraded_qemu_can_not_be_tried(
    tmp_path: Path, open_kernel: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is being unpacked, or the host is busy with that."""
    versions = ["7.2"]

    async def qemu() -> str:
        return versions[-1]

    trials = Trials(first=WORKED, second=SLOW, third=SPINS)
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", qemu, trials)
    worked = await choice.decide(open_kernel)
    versions.append("10.0")
    for _ in range(2):
        assert await choice.decide(open_kernel) == worked
    assert len(trials.cpus) == 2
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    choice._again_at = 0.0
    assert (await choice.decide(open_kernel)).accelerator is Accelerator.TCG


@pytest.mark.parametrize(
    "result", [SLOW, MSR, TrialResult(b"", ExitStatus(signal=9), 0.1)], ids=["slow", "qemu", "oom"]
)
async def test_what_may_end_otherwise_is_tried_again_by_the_next_agent(
    tmp_path: Path, open_kernel: Callable[[], int], result: TrialResult
) -> None:
    cache = tmp_path / "verdict"
    trials = Trials(first=result, second=result, third=result)
    choice = AcceleratorChoice(cache, "auto", old_qemu, trials)
    verdict = await choice.decide(open_kernel)
    assert verdict.accelerator is Accelerator.TCG
    asked = len(trials.cpus)
    assert await choice.decide(open_kernel) == verdict
    assert len(trials.cpus) == asked
    later = AcceleratorChoice(cache, "auto", old_qemu, Trials(first=WORKED))
    assert later.verdict is None
    assert (await later.decide(open_kernel)).accelerator is Accelerator.KVM
    kept = AcceleratorChoice(cache, "auto", old_qemu, Trials())
    assert await kept.decide(open_kernel) == later.verdict


@pytest.mark.parametrize("result", [SPINS, TrialResult(b"no kernel", ExitStatus(0), 0.1)])
async def test_a_kernel_that_never_runs_is_tried_once_a_boot(
    tmp_path: Path, open_kernel: Callable[[], int], result: TrialResult
) -> None:
    cache = tmp_path / "verdict"
    verdict = await AcceleratorChoice(cache, "auto", old_qemu, Trials(first=result)).decide(
        open_kernel
    )
    kept = AcceleratorChoice(cache, "auto", old_qemu, Trials())
    assert await kept.decide(open_kernel) == verdict


def test_what_is_configured_or_impossible_needs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kvm", "tcg"):
        choice = AcceleratorChoice(tmp_path / "verdict", name, old_qemu, Trials())
        assert choice.verdict is not None
        assert choice.verdict.accelerator == name
    monkeypatch.setattr(module, "KVM_DEVICE", tmp_path / "no-kvm")
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", old_qemu, Trials())
    assert choice.verdict is not None
    assert "has no" in choice.verdict.reason


def test_a_trial_is_sandboxed_as_every_machine() -> None:
    line = trial_command_line("/usr/bin/qemu", "host")
    assert "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in line
    assert "-no-reboot" in line
