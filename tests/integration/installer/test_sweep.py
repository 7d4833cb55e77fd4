"""What a killed instance has left on this host, and its removal."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from installer.slots import SlotOwner
from installer.teardown import clear_slot

DEAD, LIVING = "dead0001", "11fe0002"
# Tests have no suites in these.
SLOT, NEXT_SLOT = 251, 252


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tables() -> set[str]:
    listing = json.loads(run("nft", "-j", "list", "tables"))["nftables"]
    return {entry["table"]["name"] for entry in listing if "table" in entry}


@pytest.fixture
def left() -> Iterator[None]:
    """Make what there is of an instance in slot 251 all of which was killed, and of one in 252."""
    with ExitStack() as undo:
        for name in (f"vic{SLOT}m", f"vic{NEXT_SLOT}m"):
            run("ip", "link", "add", name, "type", "bridge")
            undo.callback(subprocess.run, ["ip", "link", "delete", name], capture_output=True)
        for family, name, slot in (
            ("inet", f"vic_{DEAD}", SLOT),
            ("bridge", f"vic_{DEAD}_l2", SLOT),
            ("inet", f"vic_{LIVING}", NEXT_SLOT),
        ):
            hook = "{ type filter hook forward priority 0; policy accept; }"
            run("nft", "add", "table", family, name)
            table = ["nft", "delete", "table", family, name]
            undo.callback(subprocess.run, table, capture_output=True)
            run("nft", "add", "chain", family, name, "forward", hook)
            run("nft", "add", "rule", family, name, "forward", "iifname", f"vic{slot}m", "drop")
        yield


@pytest.mark.parametrize("known", [True, False], ids=["by the slot's file", "by names alone"])
def test_a_dead_instances_packet_filter_does_not_stay_in_the_way(
    left: None, tmp_path: Path, known: bool
) -> None:
    former = SlotOwner(DEAD, tmp_path / "gone") if known else None
    said: list[str] = []
    assert clear_slot(SLOT, former, said.append), said
    assert tables() & {f"vic_{DEAD}", f"vic_{DEAD}_l2", f"vic_{LIVING}"} == {f"vic_{LIVING}"}
    interfaces = set(os.listdir("/sys/class/net"))
    assert f"vic{SLOT}m" not in interfaces
    assert f"vic{NEXT_SLOT}m" in interfaces
