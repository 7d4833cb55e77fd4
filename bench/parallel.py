"""Creates, starts, stops and removals of small containers, all at once: how long, and what fails.

Beside each the same for a few, one after the other; what all would take so by all cores is
the measure. The CPU time that the suite spends on one, alone and among all, says the same where the
machine has other work; and how busy the machine was tells whether anything waited.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.cpu import Account, accounting, group_seconds
from installer.instance import load_instance
from tests.e2e.parallel import Answer, at_once, create, statuses, verb
from tests.e2e.suite import Suite
from tests.images import Registry, busybox_image

FEW = 6
Work = Callable[[str], Answer]


def main() -> int:
    """Run it. Returns 1 when a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--creates", type=int, default=50)
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument(
        "--memory-mib",
        type=int,
        default=0,
        help="of each container: another class than the default one is cloned, not forked",
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows: list[dict[str, float | str | int]] = []
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        services = stack.enter_context(Account("services"))
        suite = Suite()
        stack.callback(suite.remove)
        with services.charged():
            suite.up()
        instance = load_instance(suite.data_dir)
        assert instance is not None
        machines = accounting() / f"vic-{instance.id}"

        def spent() -> float:
            return services.seconds() + group_seconds(machines)

        image = registry.push(busybox_image(), "busybox")
        suite.ok("pull", image)
        suite.ok("run", "--rm", f"--memory={arguments.memory_mib}m", image, "true")
        make = create(suite, image, ["sleep", "100000"], memory_bytes=arguments.memory_mib << 20)
        count = arguments.starts
        few, many = _names("few", FEW), _names("many", count)
        verbs: list[tuple[str, Work, int]] = [
            ("create", make, 201),
            ("start", verb(suite, "/start"), 204),
            ("stop", verb(suite, "/stop?t=0"), 204),
            ("remove", verb(suite, "", "DELETE"), 204),
        ]
        alone: dict[str, float] = {}
        alone_cpu: dict[str, float] = {}
        for name, work, wanted in verbs:
            before = spent()
            alone[name], _ = _timed(lambda names, work=work: [work(n) for n in names], few, wanted)
            alone_cpu[name] = (spent() - before) / FEW
        for name, work, wanted in verbs:
            batches = [many]
            if name == "create":
                batches = [many[: arguments.creates], many[arguments.creates :]]
            for batch in filter(None, batches):
                before, ticks = spent(), _ticks()
                took, failed = _timed(lambda names, work=work: at_once(work, names), batch, wanted)
                used, (busy, passed) = spent() - before, _ticks()
                by_cores = alone[name] / FEW * len(batch) / (os.cpu_count() or 1)
                rows.append(
                    {
                        "verb": name,
                        "at once": len(batch),
                        "seconds": round(took, 2),
                        "by cores": round(by_cores, 2),
                        "CPU of one": round(used / len(batch), 2),
                        "alone": round(alone_cpu[name], 2),
                        "machine busy": f"{(busy - ticks[0]) / (passed - ticks[1]):.0%}",
                        "failed": failed,
                    }
                )
                print(rows[-1], flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if any(row["failed"] for row in rows) else 0


def _ticks() -> tuple[int, int]:
    """Return how long the processors have been busy, and all their time. Source: proc(5)."""
    fields = list(map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]))
    # Idle, and idle while a disk is waited for.
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def _timed(work: Callable[..., list[Answer]], names: list[str], wanted: int) -> tuple[float, int]:
    """Return how long something took in seconds, and how many answers were not as wanted."""
    begun = time.monotonic()
    answers = work(names)
    took = time.monotonic() - begun
    for status, body in answers:
        if status != wanted:
            print(f"  {status}: {body}")
    return took, sum(count for status, count in statuses(answers).items() if status != wanted)


if __name__ == "__main__":
    sys.exit(main())
