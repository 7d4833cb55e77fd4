"""`python -m services.storage.checking`: what `vic store check` runs, as the service's own user.

Settings are the service's. Exit status: 0 nothing is wrong, 3 all that was wrong is repaired, 4
something is wrong still, 1 the check could not be done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from portlayer.errors import VicError
from services.storage.checking.check import Counts, check
from services.storage.checking.findings import Finding, Findings
from services.storage.compile_pool import CompilePool
from services.storage.settings import SHARED_UMASK, StorageSettings


def main() -> int:
    """Run the check, telling each finding when it is made."""
    parser = argparse.ArgumentParser(prog="python -m services.storage.checking")
    parser.add_argument("--repair", action="store_true")
    parser.add_argument("--deep", action="store_true")
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    sys.argv[1:] = []
    settings = StorageSettings.from_command_line()
    if settings.image_store_directory is not None:
        os.umask(SHARED_UMASK)

    def tell(finding: Finding) -> None:
        shown = {
            "subject": finding.subject.value,
            "name": finding.name,
            "what": finding.what,
            "outcome": finding.outcome.name.lower(),
        }
        print(json.dumps(shown) if wish.json else finding, flush=True)

    async def run() -> Counts:
        pool = CompilePool(1, settings.layer_limits)
        try:
            return await check(settings, findings, pool, deep=wish.deep)
        finally:
            await pool.close()

    findings = Findings(repair=wish.repair, tell=tell)
    try:
        counts = asyncio.run(run())
    except (OSError, VicError) as error:
        print(f"the check can't go on: {error}", file=sys.stderr)
        return 1
    if not wish.json:
        print(
            f"{counts.images} images, {counts.layers} layers, {counts.blobs} blobs, "
            f"{counts.containers} containers: {len(findings.all)} findings"
        )
    return findings.exit_code


if __name__ == "__main__":
    sys.exit(main())
