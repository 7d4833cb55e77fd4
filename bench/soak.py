"""Create, start, log, stop and remove containers for hours, and count what grows.

Every round runs some containers in parallel through all verbs; after each, what the suite holds is
counted: processes, descriptors, taps, nft rules, files, memory, and nothing of other instances on
the host. The first sixth of the rounds, ten minutes of an hour, fills what is bounded: what is
remembered for ten minutes, caches of databases, what the garbage collector lets wait. Of the rounds
after that the last third is held against the first one; whatever grew is named, and the exit code
is 1. Both are printed, of all that is counted.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.subject import suite_with
from hostagent.outputs import MOST_CONSOLES
from installer.instance import load_instance
from tests.e2e.faults import await_held, nothing_held
from tests.e2e.suite import Suite
from tests.images import busybox_image

# More growth of a process's own memory than this is a leak.
MEMORY_SLACK = 1.05
SETTLING_PART = 6
LEAST_ROUNDS = 6
Counts = dict[str, int]


def main() -> int:
    """Run the soak. Returns 1 when something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--parallel", type=int, default=4, help="containers at a time")
    parser.add_argument("--out", type=Path, default=Path("soak.json"), help="JSON file to write")
    arguments = parser.parse_args()
    rounds: list[Counts] = []
    with suite_with(busybox_image(), "busybox") as (suite, image):
        suite.ok("run", "--rm", image, "true")
        instance = load_instance(suite.data_dir)
        assert instance is not None
        nothing = nothing_held(suite, instance)
        end = time.monotonic() + arguments.hours * 3600
        while time.monotonic() < end or len(rounds) < LEAST_ROUNDS:
            with ThreadPoolExecutor(arguments.parallel) as pool:
                list(pool.map(lambda _: live(suite, image), range(arguments.parallel)))
            await_held(suite, instance, nothing)
            rounds.append(count(suite))
            print(f"round {len(rounds)}: {rounds[-1]}", flush=True)
    arguments.out.write_text(json.dumps(rounds, indent=2) + "\n")
    thirds = Thirds.of(rounds[len(rounds) // SETTLING_PART :])
    for name, most in thirds.most.items():
        print(f"{name}: at most {most} at first, {thirds.least[name]} at least in the end")
    grown = thirds.grown()
    for name in grown:
        print("grew:", name)
    print(f"{len(rounds)} rounds; " + ("nothing grew" if not grown else f"{len(grown)} grew"))
    return 1 if grown else 0


def live(suite: Suite, image: str) -> None:
    """Take one container through its life."""
    script = "echo begun; exec sleep 1000"
    container = suite.ok("run", "-d", image, "sh", "-c", script)
    suite.await_output(container, "begun")
    suite.ok("stop", "-t", "1", container)
    suite.ok("start", container)
    suite.ok("kill", container)
    suite.ok("wait", container)
    suite.ok("rm", container)


def count(suite: Suite) -> Counts:
    """Return what the suite holds at present."""
    counts: Counts = {}
    for process in suite.status()["processes"]:
        role, pid = process["role"], process["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        # Its own: what it has mapped of files, the machine takes back when it wants it.
        counts[f"{role} memory KiB"] = int(status.partition("RssAnon:")[2].split()[0])
        counts[f"{role} descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
        counts[f"{role} restarts"] = process["restarts"]
    # Each machine has one, and of so many that have ended they are kept; see hostagent.
    agent = suite.data_dir / "hostagent"
    consoles, machines = (len(os.listdir(agent / name)) for name in ("consoles", "machines"))
    counts["consoles beyond those kept"] = max(0, consoles - machines - MOST_CONSOLES)
    for role in ("exec", "interaction", "network", "storage", "hostagent"):
        files = sum(path.is_file() for path in (suite.data_dir / role).rglob("*"))
        counts[f"{role} files"] = files - (consoles if role == "hostagent" else 0)
    return counts


@dataclass(frozen=True)
class Thirds:
    """Of some rounds the most that was counted in the first third, and the least in the last."""

    most: Counts
    least: Counts

    @classmethod
    def of(cls, rounds: Sequence[Counts]) -> Self:
        """Look at rounds. What comes and goes is no growth: a connection that is just ending."""
        third = max(1, len(rounds) // 3)
        return cls(
            {name: max(early[name] for early in rounds[:third]) for name in rounds[0]},
            {name: min(late[name] for late in rounds[-third:]) for name in rounds[0]},
        )

    def grown(self) -> list[str]:
        """Return what was more in all late rounds than in any early one."""
        return [
            name
            for name, most in self.most.items()
            if self.least[name] > most * (MEMORY_SLACK if "memory" in name else 1)
        ]


if __name__ == "__main__":
    sys.exit(main())
