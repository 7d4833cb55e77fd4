"""Work of storage that a SIGKILL ends at a chosen step: `python -m tests.unit.storage.mortal`.

For each verb the same state is laid out, the verb is done by a process that dies before its n-th
step, and what a service then finds, when it starts, is looked at: all is as before the verb or as
after it, nothing is left over, `vic store check` has nothing to say, and the verb can be done
again. With ``--fault EIO`` (or ENOSPC) the step fails in place of the process, and the verb has to
end with an error that its callers know, or do without. With ``--worker`` it is a worker's step, and
the service lives on.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from portlayer.errors import VicError
from portlayer.web.transport import Transport
from services.storage.checking.check import check
from services.storage.checking.findings import Findings
from services.storage.compile_pool import CompilePool, LayerLimits
from services.storage.settings import StorageSettings
from tests.unit.storage.conftest import BASE_SIZE
from tests.unit.storage.mortal_verbs import (
    VERBS,
    Service,
    Verb,
    commit,
    lay_out,
    leave_behind,
    nothing,
)
from tests.unit.storage.strikes import (
    FAULTED,
    FAULTS,
    KILL,
    Faulted,
    in_child,
    struck_at,
    worker_struck_at,
)

OWNER = "0badcafe"

VOLATILE = ("processes", "turns", "leases")
"""Directories whose files mean nothing once their process has ended."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Strike:
    """Where and how."""

    step: int = 0
    fault: str = KILL
    in_worker: bool = False


NO_STRIKE = Strike()


def do(state: Path, registry: str, verb: Verb, strike: Strike = NO_STRIKE) -> None:
    """Open a service on a state, do a verb, and end in order.

    Raises Faulted where a step failed, whatever the verb made of it.
    """

    async def work() -> None:
        async with AsyncExitStack() as stack:
            pool = CompilePool(2, LayerLimits(max_bytes=64 << 20))
            stack.push_async_callback(pool.close)
            transport = Transport()
            stack.push_async_callback(transport.close)
            struck = stack.enter_context(
                worker_struck_at(strike.step, strike.fault, state.parent / "struck")
                if strike.in_worker
                else struck_at(strike.step, strike.fault)
            )
            try:
                service = Service.open(state, transport, pool)
            except OSError:
                if struck():
                    raise Faulted from None
                raise
            stack.callback(service.storage.store.close)
            try:
                await verb(service, registry)
            except (OSError, VicError):
                if not struck():
                    raise
                # Nothing of it may be in the way of who tries again at once.
                await verb(service, registry)
            if struck():
                raise Faulted

    asyncio.run(work())


def look(state: Path) -> None:
    """Let `vic store check` look. Raises AssertionError where it finds something."""

    async def work() -> None:
        pool = CompilePool(1, LayerLimits(max_bytes=64 << 20))
        fields = {"instance_id": OWNER, "slot": 0, "base_size_bytes": BASE_SIZE}
        settings = StorageSettings.model_validate({"data_dir": state.parent, **fields})
        findings = Findings(repair=False, tell=lambda finding: print(finding, file=sys.stderr))
        try:
            await check(settings, findings, pool, deep=False)
        finally:
            await pool.close()
        assert findings.exit_code == 0, list(map(str, findings.all))

    asyncio.run(work())


# --- looking ----------------------------------------------------------------------------------


def files(state: Path) -> set[str]:
    """Return every file and directory that counts."""
    return {
        str(path.relative_to(state))
        for path in state.rglob("*")
        if not any(part in VOLATILE for part in path.relative_to(state).parts)
        and not path.name.endswith("-events.jsonl")
    }


def kinds(found: set[str]) -> Counter[str]:
    """Return how many files there are of each kind, whatever digests they are named after."""
    return Counter(_DIGEST.sub("#", name) for name in found)


def struck(
    work: Path, registry: str, name: str, steps: Iterator[Strike]
) -> Iterator[tuple[int, str]]:
    """Do a verb with a death at each so many-th of its steps; yield the step and what is wrong."""
    verb, template = VERBS[name], work / "template"
    trial = work / "trial"

    def fresh() -> Path:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(template, trial, copy_function=shutil.copy2)
        state = trial / "storage"
        if name == "sweep":
            leave_behind(state)
        return state

    state = fresh()
    do_nothing = partial(do, state, registry, nothing)
    before = files(template / "storage")
    assert in_child(partial(do, state, registry, verb)) == 0
    assert in_child(do_nothing) == 0
    after = files(state)
    for strike in steps:
        state = fresh()
        code = in_child(partial(do, state, registry, verb, strike))
        if code == 0:
            return
        yield strike.step, wrong(state, registry, verb, code, before, after)


def wrong(
    state: Path, registry: str, verb: Verb, code: int, before: set[str], after: set[str]
) -> str:
    """Say what is wrong after a death, nothing if nothing is."""
    if code not in (-signal.SIGKILL, FAULTED):
        return f"it ended with {code}"
    if in_child(partial(do, state, registry, nothing)) != 0:
        return "no service can start"
    found = files(state)
    if found != before and kinds(found) != kinds(after):
        left, lost = found - before - after, (before & after) - found
        return f"left over {sorted(left)}, lost {sorted(lost)}"
    if in_child(partial(do, state, registry, verb)) != 0:
        return "it can't be done again"
    # A commit makes another image each time.
    if kinds(files(state)) != kinds(after) and verb is not commit:
        return f"done again it makes {sorted(files(state) ^ after)}"
    if in_child(partial(look, state)) != 0:
        return "the check has something to say"
    return ""


def main() -> int:
    """Go through verbs. Returns 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("registry", help="where the images old, other, loose and new are")
    parser.add_argument("verbs", nargs="*", default=list(VERBS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--fault", choices=FAULTS, default=KILL)
    parser.add_argument("--worker", action="store_true", help="strike in a worker process")
    arguments = parser.parse_args()
    failures = strikes = 0
    with tempfile.TemporaryDirectory(prefix="vic-mortal-") as directory:
        work = Path(directory)
        (work / "template" / "storage").mkdir(parents=True)
        laid = partial(do, work / "template" / "storage", arguments.registry, lay_out)
        assert in_child(laid) == 0
        for name in arguments.verbs:
            number = 0
            steps = (
                Strike(step, arguments.fault, arguments.worker)
                for step in count(arguments.first, arguments.every)
            )
            for step, problem in struck(work, arguments.registry, name, steps):
                number += 1
                if problem:
                    failures += 1
                    print(f"{name}, struck before step {step}: {problem}", flush=True)
            strikes += number
            print(f"{name}: struck {number} times", flush=True)
    print(f"struck {strikes} times, {failures} with something wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
