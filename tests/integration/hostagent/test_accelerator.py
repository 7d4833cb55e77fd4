"""The accelerator is what a trial says, in the confinement of every machine."""

import json
from pathlib import Path

import pytest
from vic.hostagent.v1 import hostagent_pb2 as pb

from tests.integration.hostagent.suite import new_suite


async def test_the_verdict_comes_from_a_trial_and_is_remembered(bootstrap: Path) -> None:
    if not Path("/dev/kvm").exists():
        pytest.skip("needs /dev/kvm, working or not")
    async with new_suite(bootstrap) as suite:
        info = await suite.stub.Info(pb.InfoRequest())
        assert info.accelerator in (pb.ACCELERATOR_KVM, pb.ACCELERATOR_TCG)
        assert info.accelerator_reason
        assert info.qemu_version
        assert [image.digest for image in info.bootstraps] == [bootstrap.name]
        cached = suite.data_dir / "hostagent" / "accelerator.json"
        assert json.loads(cached.read_text())["reason"] == info.accelerator_reason
        assert suite.processes() == []
        written = cached.stat().st_mtime_ns
        await suite.stop()
        await suite.start()
        assert await suite.stub.Info(pb.InfoRequest()) == info
        assert cached.stat().st_mtime_ns == written
        running = await suite.launch(suite.machine("stay"))
        assert running.accelerator == info.accelerator
        await suite.configured(running.machine_id)


async def test_without_a_bootstrap_image_nothing_is_decided(bootstrap: Path) -> None:
    if not Path("/dev/kvm").exists():
        pytest.skip("needs /dev/kvm, working or not")
    async with new_suite(bootstrap) as suite:
        link = suite.data_dir / "bootstrap" / bootstrap.name
        link.unlink()
        info = await suite.stub.Info(pb.InfoRequest())
        assert info.accelerator == pb.ACCELERATOR_UNSPECIFIED
        assert "no bootstrap image" in info.accelerator_reason
