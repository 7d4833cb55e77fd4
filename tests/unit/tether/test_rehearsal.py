"""The agent's rehearsal: both ends of a conversation, in one process."""

from __future__ import annotations

import pytest

from tether.agent import rehearsal
from tether.agent.rehearsal import rehearse


async def test_a_mirror_leads_back_to_the_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # An address at which nobody but the machine listens, as a mirror's.
    monkeypatch.setattr(rehearsal, "MIRROR", "127.0.0.2")
    monkeypatch.setattr(rehearsal, "_LOOPBACK", "192.0.2.1")
    await rehearse(None, (), mirrored=True)


async def test_a_mirror_that_is_not_there_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_MIRROR_BOUND", 0.0)
    await rehearse(None, (), mirrored=True)
