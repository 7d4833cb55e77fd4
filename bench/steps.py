"""Storage is struck at each step of what it does: `python -m bench.steps [VERB…]`.

A step is a call that changes the file system. At each one storage is killed, then each fails once
as on a disk that breaks, and as on one that is full; the same in the worker processes, for the
verbs that have work for them. See `tests.unit.storage.mortal` for what must be so afterwards. Some
of these are among the unit tests. Returns 1 where something was wrong.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from tests.unit.storage.fake_registry import serving
from tests.unit.storage.mortal_verbs import VERBS
from tests.unit.storage.strikes import FAULTS
from tests.unit.storage.test_kills import IMAGES, IN_WORKERS


async def run(verbs: list[str], every: int, faults: Sequence[str] = FAULTS) -> int:
    """Go through faults, one after another, in the service and then in its workers."""
    code = 0
    async with serving() as registry:
        for name, image in IMAGES.items():
            registry.add(image, name, "latest")
        wanted = verbs or list(VERBS)
        in_workers = [verb for verb in wanted if verb in IN_WORKERS]
        for where, chosen in (([], wanted), (["--worker"], in_workers)):
            for fault in faults if chosen else ():
                print(fault, *where, flush=True)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.unit.storage.mortal", registry.address),
                    *(*chosen, f"--every={every}", f"--fault={fault}", *where),
                )
                code |= await process.wait()
    return code


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", help="of mortal's (default: all)")
    parser.add_argument("--every", type=int, default=1, help="steps to go on after each")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="(default: each)")
    arguments = parser.parse_args()
    return asyncio.run(run(arguments.verbs, arguments.every, arguments.fault or FAULTS))


if __name__ == "__main__":
    sys.exit(main())
