"""The verdict on KVM."""

import os
from collections.abc import Callable
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
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", "7.2", trials)
    verdict = await choice.decide(open_kernel)
    assert verdict.accelerator is Accelerator.KVM
    assert trials.cpus == ["host", "host,arch-capabilities=off"]
    assert verdict.cpu == trials.cpus[1]


async def test_a_guest_that_does_not_run_ends_the_trials(
    tmp_path: Path, open_kernel: Callable[[], int]
) -> None:
    trials = Trials(first=SPINS)
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", "7.2", trials)
    assert choice.verdict is None
    await choice.decide(open_kernel)
    await choice.decide(open_kernel)
    assert trials.cpus == ["host"]


async def test_a_verdict_that_can_not_be_kept_is_one_all_the_same(
    tmp_path: Path, open_kernel: Callable[[], int]
) -> None:
    """The disk is full."""
    trials = Trials(first=WORKED)
    choice = AcceleratorChoice(tmp_path / "missing" / "verdict", "auto", "7.2", trials)
    for _ in range(2):
        assert (await choice.decide(open_kernel)).accelerator is Accelerator.KVM
    assert trials.cpus == ["host"]


async def test_the_verdict_holds_for_this_boot_and_this_qemu(
    tmp_path: Path, open_kernel: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "verdict"
    trials = Trials(first=SPINS)
    verdict = await AcceleratorChoice(cache, "auto", "7.2", trials).decide(open_kernel)
    assert AcceleratorChoice(cache, "auto", "7.2", trials).verdict == verdict
    assert AcceleratorChoice(cache, "auto", "8.0", trials).verdict is None
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    assert AcceleratorChoice(cache, "auto", "7.2", trials).verdict is None
    cache.write_text("{")
    assert AcceleratorChoice(cache, "auto", "7.2", trials).verdict is None


@pytest.mark.parametrize(
    "result", [SLOW, MSR, TrialResult(b"", ExitStatus(signal=9), 0.1)], ids=["slow", "qemu", "oom"]
)
async def test_what_may_end_otherwise_is_tried_again_by_the_next_agent(
    tmp_path: Path, open_kernel: Callable[[], int], result: TrialResult
) -> None:
    cache = tmp_path / "verdict"
    trials = Trials(first=result, second=result, third=result)
    choice = AcceleratorChoice(cache, "auto", "7.2", trials)
    verdict = await choice.decide(open_kernel)
    assert verdict.accelerator is Accelerator.TCG
    asked = len(trials.cpus)
    assert await choice.decide(open_kernel) == verdict
    assert len(trials.cpus) == asked
    later = AcceleratorChoice(cache, "auto", "7.2", Trials(first=WORKED))
    assert later.verdict is None
    assert (await later.decide(open_kernel)).accelerator is Accelerator.KVM
    assert AcceleratorChoice(cache, "auto", "7.2", Trials()).verdict == later.verdict


@pytest.mark.parametrize("result", [SPINS, TrialResult(b"no kernel", ExitStatus(0), 0.1)])
async def test_a_kernel_that_never_runs_is_tried_once_a_boot(
    tmp_path: Path, open_kernel: Callable[[], int], result: TrialResult
) -> None:
    cache = tmp_path / "verdict"
    verdict = await AcceleratorChoice(cache, "auto", "7.2", Trials(first=result)).decide(
        open_kernel
    )
    assert AcceleratorChoice(cache, "auto", "7.2", Trials()).verdict == verdict


def test_what_is_configured_or_impossible_needs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kvm", "tcg"):
        choice = AcceleratorChoice(tmp_path / "verdict", name, "7.2", Trials())
        assert choice.verdict is not None
        assert choice.verdict.accelerator == name
    monkeypatch.setattr(module, "KVM_DEVICE", tmp_path / "no-kvm")
    choice = AcceleratorChoice(tmp_path / "verdict", "auto", "7.2", Trials())
    assert choice.verdict is not None
    assert "has no" in choice.verdict.reason


def test_a_trial_is_sandboxed_as_every_machine() -> None:
    line = trial_command_line("/usr/bin/qemu", "host")
    assert "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in line
    assert "-no-reboot" in line
